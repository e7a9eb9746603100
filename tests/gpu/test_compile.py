"""torch.compile(fullgraph=True) on a GPU: the tests of the CPU, and CUDA graphs made by it."""

from __future__ import annotations

import pytest
import torch

from dldl_fast import DLDLv2Loss
from tests.cases import DTYPES, KINDS, needs_gpu
from tests.test_compile import (  # noqa: F401
    assert_same,
    compiled,
    fresh_compiler,
    step,
    test_expectation,
    test_function_with_its_grid_given_in_any_way,
    test_module_through_the_default_compiler,
    test_terms_and_given_distribution,
    test_whole_model_with_its_loss,
    test_without_grad,
    test_wrong_shape_is_said_while_tracing,
)

pytestmark = [pytest.mark.gpu, needs_gpu]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_through_the_default_compiler(backend: str, dtype: torch.dtype) -> None:
    criterion = DLDLv2Loss(backend=backend)
    x, y, weight = torch.randn(70, 101).to(dtype), 100 * torch.rand(70), torch.rand(70)
    fast = compiled(criterion, "inductor")
    assert_same(step(fast, x, y, 2.0, weight), step(criterion, x, y, 2.0, weight))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(backend: str, kind: str) -> None:
    criterion = DLDLv2Loss(0, 20, kind=kind, regression="smooth_l1", backend=backend)
    x, y = torch.randn(6, 21), 20 * torch.rand(6)
    assert_same(step(compiled(criterion), x, y), step(criterion, x, y))


def test_reduce_overhead(backend: str) -> None:
    """The mode that captures and replays CUDA graphs."""
    criterion = DLDLv2Loss(backend=backend)
    fast = torch.compile(criterion, mode="reduce-overhead", fullgraph=True)
    for _ in range(5):
        x, y = torch.randn(64, 101), 100 * torch.rand(64)
        torch.compiler.cudagraph_mark_step_begin()
        loss, grad = step(fast, x, y)
        assert_same((loss.clone(), grad.clone()), step(criterion, x, y))
