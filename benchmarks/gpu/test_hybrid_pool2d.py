"""Hybrid pooling on a GPU, forward and forward+backward, with its input in the L2 cache and not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dldl_fast.functional import hybrid_pool2d

from ..cases import dtype_name, mode
from ..variants import DIRECTIONS, Direction, Step, compiled
from .device_time import Instant
from .record import GpuMeasurement
from .variants import OURS, skip_reason

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False"),
]

Shape = tuple[int, int, int, int]
GpuCase = tuple[Shape, torch.dtype, str]

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def eager_pool(x: Tensor) -> Tensor:
    """The definition."""
    return F.max_pool2d(x, 2).mean((2, 3))


POOLS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    **{name: lambda name=name: functools.partial(hybrid_pool2d, backend=name) for name in OURS},
    "eager": lambda: eager_pool,
    "compile": lambda: compiled(eager_pool),
}


def gpu_cases() -> list[GpuCase]:
    """What the fifth pooling of a thin VGG-16 gets of 224 x 224 and, twice as wide, 112 x 112."""
    shapes: list[Shape] = [(32, 256, 14, 14)]
    if mode() == "smoke":
        shapes = [(2, 64, 14, 14)]
    elif mode() != "bars":
        shapes += [(256, 256, 14, 14), (32, 512, 7, 7), (256, 512, 7, 7), (32, 64, 112, 112)]
    return list(product(shapes, (torch.float32, torch.bfloat16), LAYOUTS))


def case_id(case: GpuCase) -> str:
    """``32x256x14x14-float32-NCHW``."""
    shape, dtype, layout = case
    return f"{'x'.join(map(str, shape))}-{dtype_name(dtype)}-{layout}"


def pool_step(variant: str, x: Tensor, direction: Direction) -> Step:
    """One step of a variant; the caller holds ``torch.no_grad()`` around a forward."""
    if variant == "copy":
        there = torch.empty_like(x)
        return lambda: there.copy_(x.detach())
    pool = POOLS[variant]()
    if direction == "forward":
        return lambda: pool(x)
    grad_pooled = torch.randn(x.shape[:2], dtype=x.dtype, device=x.device)

    def step() -> None:
        x.grad = None
        pool(x).backward(grad_pooled)

    return step


def bytes_moved(variant: str, x: Tensor, direction: Direction) -> int:
    """Bytes that a step must move: the input, and for backward its gradient; means aside."""
    return (2 if variant == "copy" or direction != "forward" else 1) * x.nbytes


@pytest.mark.benchmark(timer=Instant)
@pytest.mark.parametrize("variant", ["copy", *POOLS])
@pytest.mark.parametrize("cache", ["cold", "warm"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", gpu_cases(), ids=case_id)
def test_pool(
    variant: str,
    case: GpuCase,
    direction: Direction,
    cache: str,
    measure_on_gpu: Callable[..., None],
) -> None:
    """One variant on one case; pytest-benchmark groups the variants."""
    if reason := skip_reason(variant):
        pytest.skip(reason)
    shape, dtype, layout = case
    x = torch.randn(shape, device="cuda").to(dtype, memory_format=LAYOUTS[layout]).requires_grad_()
    if variant in OURS:
        tolerance = 4 * torch.finfo(dtype).eps
        got = POOLS[variant]()(x)
        torch.testing.assert_close(got, eager_pool(x), rtol=tolerance, atol=tolerance)
    n, c, height, width = shape
    blank = GpuMeasurement(
        f"hybrid_pool2d {layout}", direction, n * c, height * width, dtype_name(dtype),
        variant=variant, cache=cache,
    )  # fmt: skip
    measure_on_gpu(
        blank, lambda: pool_step(variant, x, direction), bytes_moved(variant, x, direction)
    )
