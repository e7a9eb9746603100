"""Hybrid pooling on a GPU against torch's max_pool2d in float64, and in CUDA graphs."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from dldl_fast import backends
from dldl_fast.functional import hybrid_pool2d
from tests.cases import DTYPES, needs_gpu
from tests.gpu.test_graphs import assert_replays
from tests.pool_cases import LARGE_PLANES, LAYOUTS, PROBLEMS, Shape, assert_pooling
from tests.test_hybrid_pool2d import (  # noqa: F401
    test_backward_twice,
    test_compile,
    test_gradcheck,
    test_gradient_has_the_layout_of_its_input,
    test_half_sums_do_not_overflow,
    test_large_planes_are_as_exact_as_small_ones,
    test_nan_and_infinities,
    test_nothing_to_pool,
    test_storage_offset,
    test_values_and_gradients,
)

pytestmark = [pytest.mark.gpu, needs_gpu]


class Launchers:
    """The ops of a backend on CPU tensors, with the names of tests/simt/launchers.py."""

    def __init__(self, backend: str) -> None:
        self._ops = backends.OPS[backend]

    def pool(self, x: Tensor, kernel_size: int, needs_grad: bool) -> tuple[Tensor, Tensor | None]:
        # On the device at the same place of a 16-byte packet.
        offset = x.storage_offset()
        storage = torch.empty(offset + x.numel(), dtype=x.dtype, device="cuda")
        there = storage.as_strided(x.shape, x.stride(), offset).copy_(x)
        pooled, choices = self._ops.hybrid_pool2d(there, kernel_size, needs_grad)
        return pooled.cpu(), None if choices is None else choices.cpu()

    def pool_backward(
        self, grad_pooled: Tensor, choices: Tensor, height: int, width: int, k: int, last: bool
    ) -> Tensor:
        arguments = grad_pooled.cuda(), choices.cuda(), height, width, k, last
        grad: Tensor = self._ops.hybrid_pool2d_backward(*arguments)
        return grad.cpu()


@pytest.mark.parametrize(("problem", "layout", "dtype"), [*product(PROBLEMS, LAYOUTS, DTYPES)])
def test_every_kernel(
    backend: str, problem: tuple[int, Shape], layout: str, dtype: torch.dtype
) -> None:
    """Choices bit by bit."""
    k, shape = problem
    with torch.device("cpu"):
        for offset in (0, 3):
            assert_pooling(Launchers(backend), shape, k, dtype, layout, offset)


@pytest.mark.parametrize(("shape", "dtype"), [*product(LARGE_PLANES, DTYPES)])
def test_large_planes(backend: str, shape: Shape, dtype: torch.dtype) -> None:
    with torch.device("cpu"):
        assert_pooling(Launchers(backend), shape, 2, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_than_2_to_the_31_values(backend: str, layout: str) -> None:
    """Offsets of 64 bits: the last image differs from all others."""
    free, _ = torch.cuda.mem_get_info()
    shape = (17, 32, 2048, 2048)
    if free < 3 * 2 * 17 * 32 * 2048 * 2048:
        pytest.skip("14 GB of free memory are needed")
    memory_format = torch.contiguous_format if layout == "nchw" else torch.channels_last
    x = torch.empty(shape, dtype=torch.bfloat16, memory_format=memory_format).zero_()
    x[-1, :, 1::2, 1::2] = 1
    x.requires_grad_()
    pooled = hybrid_pool2d(x, backend=backend)
    assert pooled[:-1].eq(0).all() and pooled[-1].eq(1).all()
    (grad,) = torch.autograd.grad(pooled.sum(), x)
    assert grad[0, -1, 0, 0] == grad[-1, -1, -1, -1] == 2.0**-20
    assert grad[-1, -1, -2, -2] == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_graph(backend: str, layout: str) -> None:
    memory_format = torch.contiguous_format if layout == "nchw" else torch.channels_last
    x = torch.randn(4, 32, 14, 14).contiguous(memory_format=memory_format).requires_grad_()

    def step() -> tuple[Tensor, ...]:
        pooled = hybrid_pool2d(x, backend=backend)
        (grad,) = torch.autograd.grad(pooled.square().sum(), x)
        return pooled.detach(), grad

    assert_replays(step, x.normal_)
