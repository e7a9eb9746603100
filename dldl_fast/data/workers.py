"""Worker processes that read or change pictures for the main process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader, Dataset


def loader(
    dataset: Dataset[Any], sampler: Any, workers: int, *, keep: bool = False, pin: bool = False
) -> DataLoader[Any]:
    """A DataLoader that gives ``dataset[key]`` for the keys of a sampler, in their order.

    Workers are forked: they start within milliseconds, share what the main process has in memory
    or mapped (others would get a copy of it), and compute with one thread each.

    Args:
        dataset: makes an item, itself a batch, from a key.
        sampler: an iterable of keys, begun anew for every pass.
        workers: number of processes; 0 computes in this one.
        keep: whether the workers live on until the next pass.
        pin: whether the items go into page-locked memory, for a GPU.

    Raises:
        ValueError: if `workers` is negative.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}")
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        persistent_workers=keep and workers > 0,
        pin_memory=pin,
    )


def _as_it_is(item: Any) -> Any:
    return item


@contextmanager
def clear_errors() -> Iterator[None]:
    """Say what to do if a worker ended without saying why.

    Raises:
        RuntimeError: in place of the one that torch raises.
    """
    try:
        yield
    except RuntimeError as error:
        # The errors that a worker reports are of another type or start with its traceback.
        if not str(error).startswith("DataLoader worker"):
            raise
        raise RuntimeError(
            f"a process that loads pictures ended unexpectedly ({error}); the system ends them if "
            "memory, or shared memory (/dev/shm), runs out: use fewer workers or smaller batches, "
            "or workers=0 to load in the main process"
        ) from error
