"""Logits whose elements a 32-bit index cannot count."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from dldl_fast import functional
from tests.cases import assert_kernel_matches, needs_gpu, targets_on, uniform_grid

pytestmark = [pytest.mark.gpu, needs_gpu]


@pytest.mark.parametrize(("elements", "n_labels"), [*product((2**31, 2**32), (101, 1025))])
def test_more_elements_than_32_bits_count(backend: str, elements: int, n_labels: int) -> None:
    """Rows in a tile and rows with a block each; signed and unsigned numbers run out."""
    n_rows = elements // n_labels + 1000
    needed = 4 * n_rows * n_labels + 100 * n_rows  # logits and gradient in bfloat16, the rows' own
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    if free < needed:
        pytest.skip(
            f"{free / 2**30:.1f} GiB of device memory are free, {needed / 2**30:.1f} needed"
        )
    labels = uniform_grid(n_labels)
    x = torch.empty(n_rows, n_labels, dtype=torch.bfloat16).normal_().requires_grad_()
    y = targets_on(labels, n_rows)
    settings = {"labels": labels, "reduction": "none", "backend": backend}
    terms = functional.label_distribution_loss(x, y, return_terms=True, **settings)
    terms.loss.sum().backward()
    assert x.grad is not None
    mean = functional.expectation(x.detach(), labels, backend=backend)

    # The first rows, those around the element that is the first out of range, and the last.
    middle = elements // n_labels
    for rows in (slice(0, 200), slice(middle - 100, middle + 100), slice(n_rows - 200, n_rows)):
        part = x.detach()[rows].clone().requires_grad_()
        assert_kernel_matches(part.detach(), y[rows], **settings)
        want = functional.label_distribution_loss(part, y[rows], return_terms=True, **settings)
        want.loss.sum().backward()
        for got, expected in zip(terms, want, strict=True):
            torch.testing.assert_close(got[rows], expected, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(x.grad[rows], part.grad, rtol=2e-2, atol=1e-6)
        torch.testing.assert_close(mean[rows], want.expectation, rtol=0, atol=1e-3)
