"""The loss on a GPU, forward and forward+backward, with its logits in the L2 cache and not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch

from ..bars import BARS
from ..cases import dtype_name, mode
from ..variants import DIRECTIONS, Direction, make_problem, verify
from .device_time import Instant
from .record import GpuMeasurement
from .variants import FACTORIES, OURS, VARIANTS, bytes_moved, gpu_step, skip_reason

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False"),
]

GpuCase = tuple[int, int, torch.dtype]  # rows, labels, dtype of the logits


def gpu_cases() -> list[GpuCase]:
    """The cases of the present mode, equal sizes side by side (they share their inputs)."""
    if mode() == "smoke":
        return [(128, 101, torch.float32)]
    if mode() == "quick":
        return [(bar.rows, bar.labels, torch.float32) for bar in BARS]
    rows, labels = (128, 1024, 8192, 65536), (16, 101, 401, 1024)
    return list(product(rows, labels, (torch.float32, torch.bfloat16)))


def case_id(case: GpuCase) -> str:
    """``65536x101-float32``."""
    rows, labels, dtype = case
    return f"{rows}x{labels}-{dtype_name(dtype)}"


@pytest.mark.benchmark(timer=Instant)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cache", ["cold", "warm"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", gpu_cases(), ids=case_id)
def test_loss(
    variant: str,
    case: GpuCase,
    direction: Direction,
    cache: str,
    measure_on_gpu: Callable[..., None],
) -> None:
    """One variant on one case; pytest-benchmark groups the variants."""
    if reason := skip_reason(variant):
        pytest.skip(reason)
    problem = make_problem(*case, "cuda")
    if variant in OURS:
        verify(problem, FACTORIES[variant])
    rows, labels, dtype = case
    measure_on_gpu(
        GpuMeasurement(
            "loss", direction, rows, labels, dtype_name(dtype), variant=variant, cache=cache
        ),
        lambda: gpu_step(variant, problem, direction),
        bytes_moved(variant, problem, direction),
    )
    problem.logits.grad = None
