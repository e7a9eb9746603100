"""What each op launches, executed by the interpreter of tests/ptx.

A source gives the launchers of one implementation: `forward`, `scale_rows`, `moments`,
`moments_backward`, `pool` and `pool_backward` as `tests.ptx.launchers.PtxLaunchers` has them, and
`launches` of the last call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dldl_fast.options import LossOptions
from tests.ptx.launchers import PtxLaunchers, compile_kernels
from tests.ptx.runtime import Launch

from .gpu_lines import LABELS, PLANE_SIZES
from .variants import SIGMA


def _cuda(folder: Path, architecture: int) -> PtxLaunchers:
    library = folder / "launchers.so"
    compile_kernels(library, architecture)
    return PtxLaunchers(library)


def _triton(folder: Path, architecture: int) -> Any:
    from .gpu_triton import TritonLaunchers  # needs Triton

    return TritonLaunchers(architecture)


SOURCES: dict[str, Callable[[Path, int], Any]] = {"cuda": _cuda, "triton": _triton}


class Problem(NamedTuple):
    """Sizes and data type of the logits; of images, a plane is a row and each value a label."""

    rows: int
    labels: int
    dtype: torch.dtype

    @property
    def logits_bytes(self) -> int:
        """Those of the logits, and of their gradient."""
        return self.rows * self.labels * self.dtype.itemsize


class Kernel(NamedTuple):
    """An op.

    Args:
        run: Calls it on launchers.
        passes: How often it must read or write as many bytes as the logits have.
        row_bytes: What it must read and write beside them, a row.
        sizes: Labels a row, or values a plane, that it is run with.
    """

    run: Callable[[Any, Problem], object]
    passes: int
    row_bytes: Callable[[Problem], float]
    sizes: tuple[int, ...] = LABELS

    def bytes_min(self, problem: Problem) -> int:
        """The fewest bytes it can read and write; labels and single values left aside."""
        beside = math.ceil(self.row_bytes(problem) * problem.rows)
        return self.passes * problem.logits_bytes + beside


def launches_of(launchers: Any, kernel: Kernel, problem: Problem) -> list[Launch]:
    """Run an op on random logits."""
    torch.manual_seed(0)
    kernel.run(launchers, problem)
    return list(launchers.launches)


def _logits(problem: Problem) -> torch.Tensor:
    return torch.randn(problem.rows, problem.labels).to(problem.dtype)


def _labels(problem: Problem) -> torch.Tensor:
    return torch.arange(problem.labels, dtype=torch.float64)


def _loss(launchers: Any, problem: Problem) -> None:
    target = torch.rand(problem.rows) * (problem.labels - 1)
    launchers.forward(
        _logits(problem), target, SIGMA, None, None, _labels(problem), 1.0, LossOptions(),
        needs_grad=True,
    )  # fmt: skip


def _scale(launchers: Any, problem: Problem) -> None:
    # The mean of float16 logits leaves a factor for this kernel.
    scale = torch.tensor(0.5, dtype=torch.float64) if problem.dtype == torch.float16 else None
    accumulation = torch.float64 if problem.dtype == torch.float64 else torch.float32
    launchers.scale_rows(_logits(problem), torch.tensor(3.0, dtype=accumulation), scale, None)


def _expectation(launchers: Any, problem: Problem) -> None:
    launchers.moments(_logits(problem), _labels(problem), 1.0)


def _expectation_backward(launchers: Any, problem: Problem) -> None:
    grad_mean = torch.rand(problem.rows, dtype=torch.float64)
    launchers.moments_backward(_logits(problem), _labels(problem), 1.0, grad_mean, None)


def _side(problem: Problem) -> int:
    """Of square planes."""
    return math.isqrt(problem.labels)


def _pool(launchers: Any, problem: Problem) -> None:
    side = _side(problem)
    launchers.pool(_logits(problem).view(1, -1, side, side), 2, True)


def _pool_backward(launchers: Any, problem: Problem) -> None:
    side = _side(problem)
    grad_pooled = torch.rand(1, problem.rows).to(problem.dtype)
    n_bytes = math.ceil(problem.rows * (side // 2) ** 2 / 4)
    choices = torch.randint(256, (n_bytes,), dtype=torch.uint8)
    launchers.pool_backward(grad_pooled, choices, side, side, 2, False)


def _pooled_bytes(problem: Problem) -> float:
    """A mean and the choices of 2 bits."""
    return problem.dtype.itemsize + (_side(problem) // 2) ** 2 / 4


KERNELS = {
    "label_distribution_loss": Kernel(_loss, 2, lambda _: 4),  # float32 target
    "scale_rows_": Kernel(_scale, 2, lambda _: 0),
    "expectation": Kernel(_expectation, 1, lambda _: 16),  # mean and standard deviation
    "expectation_backward": Kernel(_expectation_backward, 2, lambda _: 8),  # of the mean
    "hybrid_pool2d": Kernel(_pool, 1, _pooled_bytes, PLANE_SIZES),
    "hybrid_pool2d_backward": Kernel(_pool_backward, 1, _pooled_bytes, PLANE_SIZES),
}
