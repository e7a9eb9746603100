"""Hybrid pooling as nvcc compiled it, by its own host code, against torch's max_pool2d."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from tests import ptx
from tests.cases import DTYPES
from tests.pool_cases import (
    LARGE_PLANES,
    LAYOUTS,
    PROBLEMS,
    Shape,
    assert_pooling,
    images,
)
from tests.ptx.launchers import PtxLaunchers


@pytest.fixture(scope="module")
def launchers(launchers_library: Path) -> PtxLaunchers:
    return PtxLaunchers(launchers_library)


@pytest.mark.parametrize(("problem", "layout", "dtype"), [*product(PROBLEMS, LAYOUTS, DTYPES)])
def test_every_kernel(
    launchers: PtxLaunchers, problem: tuple[int, Shape], layout: str, dtype: torch.dtype
) -> None:
    k, shape = problem
    assert_pooling(launchers, shape, k, dtype, layout)


@pytest.mark.parametrize(("shape", "dtype"), [*product(LARGE_PLANES, DTYPES)])
def test_large_planes(launchers: PtxLaunchers, shape: Shape, dtype: torch.dtype) -> None:
    assert_pooling(launchers, shape, 2, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [1, 3])
def test_images_that_start_anywhere(
    launchers: PtxLaunchers, offset: int, dtype: torch.dtype
) -> None:
    """On no 16-byte boundary: packets begin inside of planes, channels are read one at a time."""
    assert_pooling(launchers, (2, 5, 7, 7), 2, dtype, "nchw", offset)
    assert_pooling(launchers, (1, 3, 37, 33), 2, dtype, "nchw", offset)
    assert_pooling(launchers, (1, 8, 5, 4), 2, dtype, "channels_last", offset)


def test_which_kernels(launchers: PtxLaunchers) -> None:
    """So that the shapes above mean what they say."""

    def kinds(shape: Shape, layout: str, offset: int = 0) -> list[str]:
        """Of the forward kernel and the backward kernel."""
        x = images(shape, torch.float32, layout, offset)
        pooled, choices = launchers.pool(x, 2, needs_grad=True)
        names = [*launchers.counters]
        assert choices is not None
        launchers.pool_backward(pooled, choices, *shape[2:], 2, layout != "nchw")
        names += launchers.counters
        found = ("planes", "strips", "channels", "any")
        return [kind for name in names for kind in found if kind in name]

    assert kinds((1, 4, 4, 4), "nchw") == 2 * ["planes"]
    assert kinds((1, 2, 33, 32), "nchw") == 2 * ["strips"]
    assert kinds((1, 1, 2, 2800), "nchw") == 2 * ["any"]
    assert kinds((1, 4, 4, 4), "channels_last") == 2 * ["channels"]
    assert kinds((1, 4, 4, 4), "channels_last", offset=1) == ["any", "channels"]
    assert kinds((1, 6, 4, 4), "channels_last") == 2 * ["any"]


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 0, 4, 4)])
def test_no_images(launchers: PtxLaunchers, shape: Shape) -> None:
    """Nothing is launched."""
    x = torch.zeros(shape)
    pooled, choices = launchers.pool(x, 2, needs_grad=True)
    assert choices is not None
    assert pooled.shape == shape[:2] and choices.numel() == 0 and launchers.launches == []
    launchers.pool_backward(pooled, choices, 4, 4, 2, False)
    assert launchers.launches == []


def test_a_refused_launch(launchers: PtxLaunchers) -> None:
    with launchers.runtime.refusing():
        with pytest.raises(RuntimeError, match="^hybrid_pool2d: the stand-in"):
            launchers.pool(torch.zeros(1, 1, 4, 4), 2, needs_grad=True)
        with pytest.raises(RuntimeError, match="^hybrid_pool2d_backward: the stand-in"):
            launchers.pool_backward(torch.zeros(1, 1), torch.zeros(1).byte(), 4, 4, 2, False)


def sectors(counters: dict[str, ptx.Counters]) -> int:
    (one,) = counters.values()
    return one.sectors_loaded + one.sectors_stored


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [7, 14])
def test_bytes_that_are_moved(
    launchers: PtxLaunchers, size: int, dtype: torch.dtype, layout: str
) -> None:
    """At most 1.05 times the fewest 32-byte sectors that hold images, choices and pooled values."""
    shape = (2, 256 if size == 7 else 64, size, size)
    x = images(shape, dtype, layout)
    pooled, choices = launchers.pool(x, 2, needs_grad=True)
    assert choices is not None
    least = (x.nbytes + pooled.nbytes + choices.nbytes) / 32
    assert sectors(launchers.counters) <= 1.05 * least
    launchers.pool_backward(pooled, choices, size, size, 2, layout != "nchw")
    assert sectors(launchers.counters) <= 1.05 * least
