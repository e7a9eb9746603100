"""What several test files share: inputs, calls of both backends, and how exact a kernel must be."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import functional, ops, reference

KINDS = ("gaussian", "gaussian_pdf", "gaussian_bin", "two_hot", "one_hot", "laplace")
DIVERGENCES = ("kl", "ce", "likelihood")
REGRESSIONS = ("l1", "l2", "smooth_l1")
REDUCTIONS = ("none", "mean", "sum")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

needs_cpp = pytest.mark.skipif(
    ops.load_error is not None, reason=f"without the CPU library: {ops.load_error}"
)
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch.cuda.is_available() is False"
)
BACKENDS = (pytest.param("cpp", marks=needs_cpp), "reference")


def uniform_grid(n_labels: int) -> Tensor:
    return torch.arange(n_labels, dtype=torch.float64)


def bent_grid(n_labels: int) -> Tensor:
    """Steps that grow from 1/2 to 3/2, over the same range as the uniform grid."""
    k = uniform_grid(n_labels)
    return k / 2 + k * k / (2 * (n_labels - 1))


def targets_on(labels: Tensor, n_rows: int) -> Tensor:
    """Targets on and between labels, both ends among them."""
    low, high = float(labels[0]), float(labels[-1])
    y = low + (high - low) * torch.rand(n_rows, dtype=torch.float64, device=labels.device)
    y[::3] = labels[torch.randint(len(labels), (len(y[::3]),), device=labels.device)]
    y[:1], y[-1:] = low, high
    return y


def loss_and_grad(logits: Tensor, target: Tensor | None, **settings: Any) -> tuple[Tensor, Tensor]:
    """Loss, and its gradient where every entry of the loss gets a factor of its own."""
    x = logits.detach().requires_grad_()
    loss = functional.label_distribution_loss(x, target, **settings)
    assert isinstance(loss, Tensor)
    loss.backward(row_factors(loss))
    assert x.grad is not None and x.grad.dtype == logits.dtype
    return loss.detach(), x.grad


def row_factors(loss: Tensor) -> Tensor:
    """What a later layer may send back: another number for each entry of the loss."""
    n = loss.numel()
    return (0.5 + torch.arange(n, dtype=loss.dtype, device=loss.device) % 3).reshape(loss.shape)


def assert_kernel_matches(
    logits: Tensor, target: Tensor | None, *, labels: Tensor, backend: str = "cpp", **settings: Any
) -> None:
    """Loss, terms and gradient of the kernel against the reference in float64."""
    exact = logits.to(torch.float64)
    settings = {"labels": labels.to(logits.device), **settings}
    loss, grad = loss_and_grad(logits, target, backend=backend, **settings)
    want_loss, want_grad = loss_and_grad(exact, target, backend="reference", **settings)
    row_tol, grad_tol = _tolerances(logits, target, **settings)

    factor = _row_factors_of_reduction(want_loss, len(logits), target, settings)
    assert loss.dtype == reference.accumulation_dtype(logits)
    loss_tol = row_tol * (factor / row_factors(want_loss))
    if want_loss.dim() == 0:
        loss_tol = loss_tol.sum()
    _assert_within(loss, want_loss, loss_tol, "loss")

    grad_tol = grad_tol * factor.unsqueeze(-1)
    info = torch.finfo(logits.dtype)
    if logits.dtype in (torch.float16, torch.bfloat16):
        # Rounded when written and again when scaled; float16 runs into its smallest number.
        smallest = info.tiny * info.eps
        grad_tol = grad_tol + 1.01 * info.eps * want_grad.abs() + 1.5 * smallest
    _assert_within(grad, want_grad, grad_tol, "gradient")

    terms = functional.label_distribution_loss(
        logits, target, backend=backend, return_terms=True, **settings
    )
    want = functional.label_distribution_loss(
        exact, target, backend="reference", return_terms=True, **settings
    )
    _assert_within(terms.loss, want_loss, loss_tol, "loss beside the terms")
    one_each = _row_tolerances(logits, target, **settings)
    for name, tol in zip(("divergence", "regression", "expectation"), one_each, strict=True):
        _assert_within(getattr(terms, name), getattr(want, name), tol, name)


def _assert_within(got: Tensor, want: Tensor, tol: Tensor, what: str) -> None:
    got, want = got.to(torch.float64), want.to(torch.float64)
    same_infinity = torch.isinf(want) & (got == want)
    off = torch.where(same_infinity, 0.0, (got - want).abs())
    worst = (off / tol).max()
    assert bool((off <= tol).all()), (
        f"{what} is off by {float(worst):.3g} times what is allowed; got "
        f"{got.flatten()[(off / tol).argmax()]}, expected {want.flatten()[(off / tol).argmax()]}"
    )


def _row_factors_of_reduction(
    loss: Tensor, n_rows: int, target: Tensor | None, settings: dict[str, Any]
) -> Tensor:
    """|d result / d loss_i| for every row i."""
    weight = settings.get("weight")
    factors = row_factors(loss).to(torch.float64)
    w = factors.new_ones(n_rows) if weight is None else weight.to(torch.float64)
    if settings.get("reduction", "mean") == "mean":
        w = w / w.sum().clamp_min(1e-300)
    return (w * factors).clamp_min(1e-300)


def _distributions(
    logits: Tensor, target: Tensor | None, *, labels: Tensor, **settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """p, p_hat and the targets, in float64."""
    q = settings.get("target_distribution")
    if q is not None:
        q = q.to(torch.float64)
        p = q / q.sum(-1, keepdim=True)
        y = (p * labels).sum(-1) if target is None else target.to(torch.float64)
    else:
        assert target is not None
        y = target.to(torch.float64)
        if settings.get("out_of_range") == "clamp":
            y = y.clamp(labels[0], labels[-1])
        sigma = settings.get("sigma", 2.0)
        p = functional.label_distribution(y, labels, sigma, settings.get("kind", "gaussian"))
    return p, torch.softmax(logits.to(torch.float64), -1), y


def _row_tolerances(
    logits: Tensor, target: Tensor | None, **settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """How exact divergence, regression and expectation of a row can be in the accumulation type."""
    eps = _eps(logits)
    labels = settings["labels"]
    p, p_hat, y = _distributions(logits, target, **settings)
    x = logits.to(torch.float64)
    depth = torch.where(p > 0, x.amax(-1, keepdim=True) - x, 0.0)
    shaky = p * _rounding_of_labels(logits, y, **settings)
    # Mass beyond the tail is cut by both, but not at the same last digit.
    tail = 1e-9 * (1 + depth.amax(-1)) * p.amax(-1)
    if settings.get("divergence", "kl") == "likelihood":
        divergence = ((shaky + eps * p) * p_hat).sum(-1) + tail
    else:
        mass = p.sum(-1)
        entropy = torch.special.xlogy(p, p).abs().sum(-1)
        constant = entropy + (mass + 1) * (2 + math.log(len(labels)))
        divergence = eps * ((p * depth).sum(-1) + constant) + (shaky * (depth + 10)).sum(-1) + tail
    span = float(labels[-1] - labels[0])
    expectation = eps * (span + (y - labels[0]).abs() + (y - labels[-1]).abs())
    middle = (labels[0] + labels[-1]) / 2
    error = (torch.softmax(x, -1) * (labels - middle)).sum(-1) - (y - middle)
    rho = settings.get("regression", "l1")
    beta = settings.get("smooth_l1_beta", 1.0)
    slope = {"l1": 1.0, "l2": 2 * error.abs(), "smooth_l1": (error.abs() / beta).clamp(max=1)}[rho]
    curve = {"l1": 0.0, "l2": 1.0, "smooth_l1": 0.5 / beta}[rho]
    regression = slope * expectation + curve * expectation**2 + eps * error.abs()
    expectation = eps * span + torch.finfo(torch.float64).eps * labels.abs().max()
    return divergence, regression, expectation.expand_as(y)


def _tolerances(logits: Tensor, target: Tensor | None, **settings: Any) -> tuple[Tensor, Tensor]:
    eps = _eps(logits)
    ld_weight, lambda_ = settings.get("ld_weight", 1.0), settings.get("lambda_", 1.0)
    variance_weight = settings.get("variance_weight", 0.0)
    divergence, regression, _ = _row_tolerances(logits, target, **settings)

    labels = settings["labels"]
    p, p_hat, y = _distributions(logits, target, **settings)
    mass = p.sum(-1, keepdim=True)
    span = float(labels[-1] - labels[0])
    y_hat = (p_hat * labels).sum(-1, keepdim=True)
    error = (y_hat - y.unsqueeze(-1)).abs()
    rho, beta = settings.get("regression", "l1"), settings.get("smooth_l1_beta", 1.0)
    # The slope of rho times the distance of the labels, and the change of the slope.
    pull = {"l1": span, "l2": 2 * (error + span) * span, "smooth_l1": span * (1 + span / beta)}[rho]
    grad = eps * p_hat * lambda_ * pull
    shaky = p * (eps + _rounding_of_labels(logits, y, **settings))
    if settings.get("divergence", "kl") == "likelihood":
        grad = grad + ld_weight * p_hat * (shaky + (shaky * p_hat).sum(-1, keepdim=True))
    else:
        grad = grad + ld_weight * (shaky + eps * p_hat * mass)
    # Of the variance: each square, and the shift of all by that of the expectation.
    off = (labels - y_hat).abs()
    squares = eps * (off * off + 2 * off * span) + (eps * span) ** 2
    variance = (p_hat * squares).sum(-1, keepdim=True)
    grad = grad + variance_weight * p_hat * (squares + variance)
    row = ld_weight * divergence + lambda_ * regression + variance_weight * variance.squeeze(-1)
    if rho == "l1":
        # So near to the kink that rounding decides which side y_hat is on.
        at_kink = error < eps * (span + y_hat.abs())
        grad = grad + torch.where(at_kink, 2 * lambda_ * p_hat * (labels - y_hat).abs(), 0.0)
    return row, grad + 2e-11 * (1 + mass)


def _rounding_of_labels(logits: Tensor, y: Tensor, **settings: Any) -> Tensor:
    """Relative error of a density whose labels were rounded to float32 around their middle."""
    labels = settings["labels"]
    if "target_distribution" in settings or logits.dtype == torch.float64:
        return torch.zeros_like(labels)
    centred = labels - (labels[0] + labels[-1]) / 2
    off = (centred - centred.float().double()).abs().max()
    sigma = torch.as_tensor(settings.get("sigma", 2.0), dtype=torch.float64, device=y.device)
    sigma = sigma.expand_as(y).unsqueeze(-1)
    # Narrower ones are computed in float64.
    step = float((labels[1:] - labels[:-1]).min())
    if settings.get("kind") == "laplace":
        return 2 * off / sigma.clamp_min(step / 25).expand(-1, len(labels))
    return 2 * off * ((labels - y.unsqueeze(-1)).abs() + off) / sigma.clamp_min(step / 2) ** 2


def _eps(logits: Tensor) -> float:
    dtype = reference.accumulation_dtype(logits)
    # Sums over K labels lose digits as a random walk does.
    return torch.finfo(dtype).eps * (24 + math.sqrt(logits.shape[-1]))
