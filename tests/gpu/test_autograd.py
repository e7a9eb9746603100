"""Second passes on a GPU: what the first one took has to be computed again."""

from __future__ import annotations

import pytest
import torch

from dldl_fast import DLDLv2Loss, functional
from tests.cases import DTYPES, REDUCTIONS, needs_gpu
from tests.test_autograd import (  # noqa: F401
    test_logits_are_never_written,
    test_nothing_is_recorded_without_grad,
    test_terms_are_detached_and_from_the_same_pass,
)

pytestmark = [pytest.mark.gpu, needs_gpu]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_second_backward_equals_the_first(backend: str, dtype: torch.dtype, reduction: str) -> None:
    x = torch.randn(400, 101).to(dtype).requires_grad_()
    y, weight = 100 * torch.rand(400), torch.rand(400)
    loss = DLDLv2Loss(reduction=reduction, backend=backend)(x, y, weight=weight).sum()
    first, second, third = (
        torch.autograd.grad(loss, x, retain_graph=True)[0].clone() for _ in range(3)
    )
    tol = {"rtol": torch.finfo(dtype).eps * 2, "atol": 1e-7 if dtype.itemsize == 2 else 1e-9}
    torch.testing.assert_close(second, first, **tol)
    assert torch.equal(second, third)


@pytest.mark.parametrize("chosen", [None, "reference"])
def test_training_after_inference(backend: str, chosen: str | None) -> None:
    """The copy of the label grid that inference mode made can be used in training."""
    criterion = DLDLv2Loss(backend=chosen or backend)
    labels = criterion.labels
    x, y = torch.randn(40, 101), 100 * torch.rand(40)
    with torch.inference_mode():
        want = criterion(x, y)
        functional.expectation(x, labels, backend=chosen or backend)
    x.requires_grad_()
    loss = criterion(x, y)
    assert torch.equal(loss, want)
    mean = functional.expectation(x, labels, backend=chosen or backend)
    (loss + mean.sum()).backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


def test_double_backward_raises(backend: str) -> None:
    x = torch.randn(40, 101, requires_grad=True)
    loss = DLDLv2Loss(backend=backend)(x, 100 * torch.rand(40))
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="use backend='reference'"):
        (grad**2).sum().backward()
