"""Expectation and standard deviation of the prediction, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dldl_fast import functional
from tests.cases import DTYPES, bent_grid, needs_cpp, uniform_grid


def in_float64(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """By the definition, from moments about zero, on a grid that is small there."""
    p = torch.exp(x.double() - x.double().amax(-1, keepdim=True))
    p = p / p.sum(-1, keepdim=True)
    mean = (p * labels).sum(-1)
    variance = (p * labels**2).sum(-1) - mean**2
    return mean, variance.clamp_min(0).sqrt()


# One value at a time; vectors of 4, 8 and 16, whole and overlapping; long rows.
@pytest.mark.parametrize("n_labels", [2, 3, 4, 7, 8, 15, 16, 17, 31, 101, 401, 1025])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(backend: str, dtype: torch.dtype, n_labels: int) -> None:
    for labels in (uniform_grid(n_labels), bent_grid(n_labels)):
        x = (2 * torch.randn(19, n_labels)).to(dtype).requires_grad_()
        mean, std = functional.expectation(x, labels, return_std=True, backend=backend)
        assert mean.dtype == std.dtype == torch.float64
        exact = x.detach().double().requires_grad_()
        want_mean, want_std = in_float64(exact, labels)
        span = float(labels[-1])
        eps = 1e-13 if dtype == torch.float64 else 3e-6
        torch.testing.assert_close(mean, want_mean, rtol=0, atol=eps * span)
        torch.testing.assert_close(std, want_std, rtol=0, atol=10 * eps * span)

        up = torch.randn(2, 19, dtype=torch.float64)
        torch.autograd.backward([mean, std], [up[0], up[1]])
        torch.autograd.backward([want_mean, want_std], [up[0], up[1]])
        assert x.grad is not None and exact.grad is not None and x.grad.dtype == dtype
        rounding = torch.finfo(dtype).eps if dtype.itemsize == 2 else 0
        off = (x.grad.double() - exact.grad).abs()
        assert bool((off <= rounding * exact.grad.abs() + 40 * eps * span + 1e-7 * rounding).all())

        alone = functional.expectation(x.detach(), labels, backend=backend)
        assert torch.equal(alone, mean)


def test_only_one_of_the_two_is_used(backend: str) -> None:
    labels = uniform_grid(9)
    for which in (0, 1):
        x = torch.randn(3, 9, dtype=torch.float64, requires_grad=True)
        functional.expectation(x, labels, return_std=True, backend=backend)[which].sum().backward()
        exact = x.detach().requires_grad_()
        in_float64(exact, labels)[which].sum().backward()
        torch.testing.assert_close(x.grad, exact.grad)


def test_certain_prediction_has_std_zero_and_a_finite_gradient(backend: str) -> None:
    for x in (torch.tensor([[0.0, 900.0, 0.0]]), torch.tensor([[-math.inf, 0.0, -math.inf]])):
        x.requires_grad_()
        mean, std = functional.expectation(x, [1, 2, 4], return_std=True, backend=backend)
        assert (mean.item(), std.item()) == (2, 0)
        (mean + std).sum().backward()
        assert torch.equal(x.grad, torch.zeros(1, 3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_near_a_million_are_as_exact_as_near_zero(backend: str, dtype: torch.dtype) -> None:
    x = torch.randn(8, 31).to(dtype)
    labels = uniform_grid(31)
    mean, std = functional.expectation(x, labels, return_std=True, backend=backend)
    far, far_std = functional.expectation(x, labels + 1_000_000, return_std=True, backend=backend)
    torch.testing.assert_close(far - 1_000_000, mean, rtol=0, atol=3e-10)
    assert torch.equal(far_std, std)


def test_leading_dimensions_and_layouts(backend: str) -> None:
    x = torch.randn(3, 4, 11)
    want, want_std = in_float64(x, uniform_grid(11))
    for given in (x, x.transpose(0, 1).contiguous().transpose(0, 1), x.mT.contiguous().mT):
        mean, std = functional.expectation(given, range(11), return_std=True, backend=backend)
        torch.testing.assert_close(mean, want, rtol=0, atol=1e-5)
        torch.testing.assert_close(std, want_std, rtol=0, atol=1e-5)
    row = functional.expectation(x[1, 2], range(11), backend=backend)
    torch.testing.assert_close(row, want[1, 2], rtol=0, atol=1e-5)
    assert functional.expectation(x[:0, 0], range(11), backend=backend).shape == (0,)


def test_extreme_logits(backend: str) -> None:
    x = torch.zeros(4, 5)
    x[0, 3], x[1, 2], x[2, 2] = 1e4, math.nan, -math.inf
    mean, std = functional.expectation(x, range(5), return_std=True, backend=backend)
    assert mean.isnan().tolist() == std.isnan().tolist() == [False, True, False, False]
    assert mean[[0, 2, 3]].tolist() == pytest.approx([3, 2, 2])
    assert std[[0, 2, 3]].tolist() == pytest.approx([0, math.sqrt(2.5), math.sqrt(2)])


def test_gradcheck(backend: str) -> None:
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    labels = bent_grid(6)
    torch.autograd.gradcheck(
        lambda x: functional.expectation(x, labels, return_std=True, backend=backend), x
    )


def test_wrong_logits(backend: str) -> None:
    with pytest.raises(ValueError, match=r"logits must have shape \[\.\.\., 5\].*got \[3, 4\]"):
        functional.expectation(torch.zeros(3, 4), range(5), backend=backend)
    with pytest.raises(TypeError, match="got torch.int64"):
        functional.expectation(torch.zeros(3, 5, dtype=torch.int64), range(5), backend=backend)
    with pytest.raises(TypeError, match="logits must be a tensor, got list"):
        functional.expectation([[0.0] * 5], range(5), backend=backend)


@needs_cpp
def test_double_backward_raises() -> None:
    x = torch.randn(3, 5, requires_grad=True)
    mean = functional.expectation(x, range(5), backend="cpp")
    (grad,) = torch.autograd.grad(mean.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward through expectation is not supported"):
        (grad**2).sum().backward()
