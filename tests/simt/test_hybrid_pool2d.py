"""The CUDA kernels of hybrid pooling, run thread by thread on the CPU, against torch's."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from tests.cases import DTYPES
from tests.pool_cases import LARGE_PLANES, LAYOUTS, PROBLEMS, Shape, assert_pooling
from tests.simt.launchers import Launchers


@pytest.mark.parametrize(("problem", "layout", "dtype"), [*product(PROBLEMS, LAYOUTS, DTYPES)])
def test_every_kernel(
    launchers: Launchers, problem: tuple[int, Shape], layout: str, dtype: torch.dtype
) -> None:
    k, shape = problem
    assert_pooling(launchers, shape, k, dtype, layout)


@pytest.mark.parametrize(("shape", "dtype"), [*product(LARGE_PLANES, DTYPES)])
def test_large_planes(launchers: Launchers, shape: Shape, dtype: torch.dtype) -> None:
    """The threads take their turns in several orders."""
    for seed in range(3):
        launchers.set_seed(seed)
        assert_pooling(launchers, shape, 2, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("k", [4, 16, 256, 257])
def test_choices_of_every_width(launchers: Launchers, k: int, layout: str) -> None:
    """4, 8, 16 and 32 bits; one window ends with the image, another one column before."""
    assert_pooling(launchers, (1, 3, k, 2 * k + 1), k, torch.float32, layout)


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_that_start_anywhere(launchers: Launchers, dtype: torch.dtype) -> None:
    for offset in (1, 2, 5):
        assert_pooling(launchers, (3, 50, 7, 9), 2, dtype, "nchw", offset)
        assert_pooling(launchers, (3, 5, 33, 37), 2, dtype, "nchw", offset)
        assert_pooling(launchers, (3, 8, 5, 4), 2, dtype, "channels_last", offset)
