"""Threads follow torch.set_num_threads, and results do not depend on their number."""

from __future__ import annotations

import pytest
import torch

from dldl_fast import functional
from tests.cases import DTYPES, needs_cpp, uniform_grid

pytestmark = needs_cpp


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bitwise_the_same_for_any_number_of_threads(dtype: torch.dtype, reduction: str) -> None:
    labels = uniform_grid(101)
    x = torch.randn(1503, 101).to(dtype)
    y, weight = 100 * torch.rand(1503), torch.rand(1503)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        logits = x.clone().requires_grad_()
        terms = functional.label_distribution_loss(
            logits, y, labels=labels, weight=weight, reduction=reduction, backend="cpp",
            return_terms=True,
        )  # fmt: skip
        terms.loss.sum().backward()
        mean, std = functional.expectation(logits, labels, return_std=True, backend="cpp")
        (again,) = torch.autograd.grad(mean.sum() + std.sum(), logits)
        results.append([*terms, logits.grad, mean, std, again])
    assert results[0][0].isfinite().all()
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_first_bad_row_is_the_same_for_any_number_of_threads() -> None:
    y = torch.full((1503,), 50.0)
    y[[700, 1300, 1500]] = -1
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with pytest.raises(ValueError, match="at row 700$"):
            functional.label_distribution_loss(
                torch.zeros(1503, 101), y, labels=range(101), backend="cpp"
            )
