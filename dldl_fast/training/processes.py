"""The processes of a training: one, or those that torchrun started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
import torch.distributed as dist
from torch import Tensor


class WorkerLostError(RuntimeError):
    """Another process of the training is gone, so that this one cannot go on."""


class _TerminatedError(BaseException):
    """Raised by SIGTERM, wherever the process is."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.

    Example:
        >>> alone = Processes()
        >>> alone.is_first, alone.total(torch.tensor(3.0))
        (True, tensor(3.))
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes for all."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """Sum of a tensor over all processes."""
        if self.count == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value

    def gather_rows(self, rows: Tensor, count: int) -> Tensor:
        """Rows of all processes, in order, where process r has the rows r, r + R, r + 2 R, ...

        Args:
            rows: this process's rows, [M, ...], on a device that the processes communicate from.
            count: number of rows of all processes.

        Returns:
            [count, ...], the same in every process.
        """
        if self.count == 1:
            return rows
        most = -(-count // self.count)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, 1).flatten(0, 1)[:count]


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started; alone without it.

    Args:
        device: NCCL for a CUDA device, gloo for the CPU.

    Raises:
        WorkerLostError: if another process ends before this one is done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    # torchrun ends the others with SIGTERM when one is gone.
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield Processes(dist.get_rank(), dist.get_world_size())
        dist.barrier()
    except _TerminatedError as error:
        raise WorkerLostError(_LOST.format(reason="this one was told to end")) from error
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise WorkerLostError(_LOST.format(reason=str(error).splitlines()[0])) from error
    finally:
        signal.signal(signal.SIGTERM, before)
        if dist.is_initialized():
            dist.destroy_process_group()


def process_device(device: torch.device) -> torch.device:
    """The device of this process: under torchrun the CUDA device of its own number."""
    local_rank = os.environ.get("LOCAL_RANK")
    if str(device) != "cuda" or local_rank is None:
        return device
    own = torch.device("cuda", int(local_rank))
    torch.cuda.set_device(own)
    return own


_LOST = (
    "another process of this training ended ({reason}); the last complete epoch is kept: start the "
    "same command again with --resume"
)


def _is_lost_connection(error: RuntimeError) -> bool:
    # gloo raises plain RuntimeErrors, NCCL and the store DistBackendError and the like.
    text = f"{type(error).__name__}: {error}"
    return any(word in text for word in ("gloo", "Dist", "onnection", "ocket"))


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _TerminatedError
