"""Logits of any strides and leading dimensions, and no logits at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dldl_fast import functional
from tests.cases import DTYPES, loss_and_grad, uniform_grid

LABELS = uniform_grid(21)

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.mT.contiguous().mT,
    "every second row": lambda x: x.repeat_interleave(2, 0)[::2],
    "every third column": lambda x: x.repeat_interleave(3, 1)[:, ::3],
    "columns of a wider tensor": lambda x: torch.cat([x, x], 1)[:, 21:],
    "rows with an offset": lambda x: torch.cat([x[:1], x])[1:],
    "odd storage offset": lambda x: torch.cat([x.new_zeros(3), x.flatten()])[3:].view_as(x),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_strides(backend: str, dtype: torch.dtype, layout: str) -> None:
    x = torch.randn(19, 21).to(dtype)
    y, sigma, weight = 20 * torch.rand(19), 1 + torch.rand(19), torch.rand(19)
    given = LAYOUTS[layout](x)
    assert torch.equal(given, x)
    strided = [torch.stack([v, v], 1)[:, 1] for v in (y, sigma, weight)]
    settings = {"labels": LABELS, "backend": backend}
    want = loss_and_grad(x, y, sigma=sigma, weight=weight, **settings)
    got = loss_and_grad(given, strided[0], sigma=strided[1], weight=strided[2], **settings)
    torch.testing.assert_close(got, want)
    q = torch.rand(21, 19).mT
    want = loss_and_grad(x, None, target_distribution=q.contiguous(), **settings)
    torch.testing.assert_close(loss_and_grad(given, None, target_distribution=q, **settings), want)


def test_expanded_rows(backend: str) -> None:
    row = torch.randn(1, 21)
    y = torch.tensor([0.0, 7.5, 20.0])
    settings = {"labels": LABELS, "backend": backend}
    want = loss_and_grad(row.repeat(3, 1), y, **settings)
    x = row.clone().requires_grad_()
    loss = functional.label_distribution_loss(x.expand(3, 21), y, **settings)
    (0.5 * loss).backward()
    torch.testing.assert_close(loss.detach(), want[0])
    torch.testing.assert_close(x.grad, want[1].sum(0, keepdim=True))
    # one target for all rows
    x3 = torch.randn(3, 21)
    one = torch.tensor([4.0])
    got = loss_and_grad(x3, one.expand(3), **settings)
    torch.testing.assert_close(got, loss_and_grad(x3, one.repeat(3), **settings))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_leading_dimensions(backend: str, reduction: str) -> None:
    x = torch.randn(3, 4, 21)
    y, sigma, weight = 20 * torch.rand(3, 4), 1 + torch.rand(3, 4), torch.rand(3, 4)
    settings = {"labels": LABELS, "reduction": reduction, "backend": backend}
    flat = loss_and_grad(
        x.flatten(0, 1), y.flatten(), sigma=sigma.flatten(), weight=weight.flatten(), **settings
    )
    for given in (x, x.transpose(0, 1).contiguous().transpose(0, 1)):
        loss, grad = loss_and_grad(given, y, sigma=sigma, weight=weight, **settings)
        torch.testing.assert_close(loss.flatten(), flat[0].flatten())
        assert loss.shape == ((3, 4) if reduction == "none" else ())
        torch.testing.assert_close(grad, flat[1].view(3, 4, 21))
    terms = functional.label_distribution_loss(x, y, return_terms=True, **settings)
    rows = functional.label_distribution_loss(
        x.flatten(0, 1), y.flatten(), return_terms=True, **settings
    )
    for a, b in zip(terms[1:], rows[1:], strict=True):
        assert torch.equal(a, b.view(3, 4))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_single_row_without_batch(backend: str, reduction: str) -> None:
    x, y = torch.randn(21), torch.tensor(7.3)
    settings = {"labels": LABELS, "reduction": reduction, "backend": backend}
    loss, grad = loss_and_grad(x, y, **settings)
    want, want_grad = loss_and_grad(x.unsqueeze(0), y.unsqueeze(0), **settings)
    assert torch.equal(loss, want.squeeze())
    assert torch.equal(grad, want_grad[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(0,), (0, 3), (2, 0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_no_rows(backend: str, dtype: torch.dtype, lead: tuple[int, ...], weighted: bool) -> None:
    x, y = torch.randn(*lead, 21, dtype=dtype), torch.rand(lead)
    weight = torch.rand(lead) if weighted else None
    for reduction in ("mean", "sum"):
        loss, grad = loss_and_grad(
            x, y, labels=LABELS, weight=weight, reduction=reduction, backend=backend
        )
        assert loss.item() == 0
        assert grad.shape == x.shape
    terms = functional.label_distribution_loss(
        x, y, labels=LABELS, weight=weight, reduction="none", return_terms=True, backend=backend
    )
    assert [t.shape for t in terms] == [lead] * 4
