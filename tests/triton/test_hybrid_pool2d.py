"""Hybrid pooling as Triton compiles it, by its own host code, against torch's max_pool2d."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from tests.cases import DTYPES
from tests.pool_cases import LAYOUTS, Shape, assert_pooling, images

jit = pytest.importorskip("triton.runtime.jit", reason="triton is not installed")

from dldl_fast.triton import hybrid_pool2d, hybrid_pool2d_backward  # noqa: E402  (needs Triton)
from tests.triton.launches import PtxLaunches, spilled_bytes  # noqa: E402


class Launchers:
    """The ops, with the names of tests/simt/launchers.py."""

    pool = staticmethod(hybrid_pool2d)
    pool_backward = staticmethod(hybrid_pool2d_backward)


@pytest.fixture(scope="module")
def ptx_launches() -> PtxLaunches:
    return PtxLaunches()


@pytest.fixture
def launches(ptx_launches: PtxLaunches, monkeypatch: pytest.MonkeyPatch) -> PtxLaunches:
    ptx_launches.install(monkeypatch)
    ptx_launches.launches.clear()
    return ptx_launches


# Kernel size and shape, by what a program has of NCHW and of channels last.
PROBLEMS = [
    (1, (1, 3, 3, 4)),  # 4 choices a byte
    (2, (2, 6, 7, 7)),  # four planes; bytes of several pixels
    (2, (1, 20, 4, 5)),  # two planes; a ragged block of channels
    (2, (1, 72, 4, 4)),  # one plane; two blocks
    (3, (1, 5, 10, 7)),  # 4 bits
    (5, (1, 3, 11, 10)),  # 8 bits
]


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize(("problem", "layout"), [*product(PROBLEMS, LAYOUTS)])
def test_every_kernel(
    launches: PtxLaunches, problem: tuple[int, Shape], layout: str, turn: int
) -> None:
    """Two data types, which take turns."""
    k, shape = problem
    dtype = DTYPES[(PROBLEMS.index(problem) + LAYOUTS.index(layout) + 2 * turn) % 4]
    assert_pooling(Launchers, shape, k, dtype, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_choices_of_16_bits(launches: PtxLaunches, layout: str) -> None:
    assert_pooling(Launchers, (1, 2, 17, 35), 17, torch.float32, layout)


def test_large_planes(launches: PtxLaunches) -> None:
    """Several turns over the windows, of which the last has few."""
    assert_pooling(Launchers, (1, 3, 31, 47), 2, torch.float32)
    assert_pooling(Launchers, (1, 16, 18, 17), 2, torch.float32, "channels_last")


# For sm_100 LLVM computes integers of the half types' kernel in pairs, of which one half may be
# undefined and unused: the interpreter refuses that.
@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [(90, torch.float32), (90, torch.bfloat16), (90, torch.float16), (100, torch.float32)],
)
def test_later_architectures(
    architecture: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their code compares bfloat16 in pairs."""
    PtxLaunches(architecture).install(monkeypatch)
    for layout in LAYOUTS:
        assert_pooling(Launchers, (1, 8, 5, 4), 2, dtype, layout)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_that_start_anywhere(launches: PtxLaunches, dtype: torch.dtype) -> None:
    for layout in LAYOUTS:
        assert_pooling(Launchers, (1, 8, 7, 6), 2, dtype, layout, offset=3)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 0, 4, 4)])
def test_no_images(launches: PtxLaunches, shape: Shape) -> None:
    pooled, choices = hybrid_pool2d(torch.zeros(shape), 2, True)
    assert choices is not None and choices.numel() == 0
    assert hybrid_pool2d_backward(pooled, choices, 4, 4, 2, False).shape == shape
    assert launches.launches == []


def test_arguments_that_a_kernel_would_read_beyond() -> None:
    """Of a direct call of the op; the public function checks its own before."""
    with pytest.raises(ValueError, match="kernel_size must be .* got 3 for 2 x 5"):
        hybrid_pool2d(torch.zeros(1, 1, 2, 5), 3, True)
    with pytest.raises(ValueError, match=r"choices must be a uint8 tensor of shape \[1\]"):
        hybrid_pool2d_backward(torch.zeros(1, 1), torch.zeros(2).byte(), 4, 4, 2, False)


@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_no_spills(architecture: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launches = PtxLaunches(architecture)
    launches.install(monkeypatch)
    launches.interprets = False
    for shape, layout, dtype in product(
        [(1, 64, 14, 14), (1, 64, 7, 7)], LAYOUTS, [torch.float32, torch.bfloat16]
    ):
        x = images(shape, dtype, layout)
        pooled, choices = hybrid_pool2d(x, 2, True)
        assert choices is not None
        hybrid_pool2d_backward(pooled, choices, *shape[2:], 2, layout != "nchw")
        assert len(launches.compiled) > 1
        for name, kernel in launches.compiled.items():
            assert spilled_bytes(kernel, tmp_path) == 0, (name, shape, dtype)
        launches.compiled.clear()
