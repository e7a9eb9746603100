"""The ops in plain torch, written as in the paper: the oracle of every test, and a backend.

Runs on any device, differentiates by autograd (also twice) and keeps all its intermediates. The
kernels compute the same numbers without ever storing the target distribution.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dldl_fast.options import LossOptions
from dldl_fast.value_checks import UNDERFLOW, bad_rows, raises

# Target mass below this fraction of the row's largest counts as zero, in every backend: a label
# that far out (7.1 sigma) may have a logit of -inf without making the loss infinite.
TAIL = 1e-11

# A cell whose density changes by less than this fraction has mass density * width, to within its
# square.
FLAT_CELL = 1e-6


def double_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that have none."""
    return torch.float32 if device.type == "mps" else torch.float64


def accumulation_dtype(logits: Tensor) -> torch.dtype:
    """float64 for float64 logits, float32 for everything else."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def nearest_label(target: Tensor, labels: Tensor) -> Tensor:
    """Index of the label nearest to each target, the lower one on a tie."""
    midpoints = (labels[:-1] + labels[1:]) / 2
    return torch.searchsorted(midpoints, target.contiguous())


def label_distribution(target: Tensor, labels: Tensor, sigma: Tensor, kind: str) -> Tensor:
    """Target distribution p of shape [..., K] for finite targets and sigma >= 0, in float64."""
    y = target.unsqueeze(-1)
    s = sigma.unsqueeze(-1)
    nearest = nearest_label(target, labels)
    l_near = labels[nearest].unsqueeze(-1)
    if kind == "one_hot":
        return torch.nn.functional.one_hot(nearest, len(labels)).to(labels.dtype)
    if kind == "two_hot":
        y = y.clamp(labels[0], labels[-1])
        lower = torch.searchsorted(labels, y, right=True).sub(1).clamp(0, len(labels) - 2)
        share = (y - labels[lower]) / (labels[lower + 1] - labels[lower])
        p = labels.new_zeros(*target.shape, len(labels))
        return p.scatter(-1, lower, 1 - share).scatter(-1, lower + 1, share)

    # Relative to the nearest label, by products and sums which neither cancel for y far away nor
    # underflow for a small sigma. The excess is 0 for the nearest label, and for both neighbours on
    # a tie, so that sigma = 0 is the limit of sigma -> 0.
    if kind == "laplace":  # |l - y| - |l_near - y|: no label lies between l_near and y
        excess = torch.minimum((labels - l_near).abs(), (labels + l_near - 2 * y).abs())
        exponent = -excess / s
    else:  # Eq. 1: (l - y)^2 - (l_near - y)^2
        excess = (labels - l_near) * (labels + l_near - 2 * y)
        exponent = -excess / (2 * s * s)
    density = torch.where(excess == 0, 1.0, torch.exp(exponent))
    if kind == "gaussian_bin":
        log_mass = _log_bin_mass(y, labels, s)
        peak = log_mass.amax(-1, keepdim=True)
        in_reach = torch.isfinite(peak) & (s > 0)
        p = torch.where(in_reach, torch.exp(log_mass - peak), (excess == 0).to(labels.dtype))
    else:
        p = density
    p = torch.where(p < TAIL, 0.0, p)
    if kind == "gaussian_pdf":
        at_nearest = torch.exp(-((l_near - y) ** 2) / (2 * s * s))
        return p * at_nearest / (math.sqrt(2 * math.pi) * s)
    return p / p.sum(-1, keepdim=True)


def _log_bin_mass(y: Tensor, labels: Tensor, sigma: Tensor) -> Tensor:
    """Log of the normal mass between the borders of each label's cell."""
    midpoints = (labels[:-1] + labels[1:]) / 2
    first = labels[:1] - (midpoints[:1] - labels[:1])
    last = labels[-1:] + (labels[-1:] - midpoints[-1:])
    borders = torch.cat([first, midpoints, last])
    width = borders[1:] - borders[:-1]
    z = (borders - y) / sigma
    # A cell right of y is mirrored, so that the difference of two c.d.f. values never cancels.
    right = z[..., :-1] > 0
    lo = torch.where(right, -z[..., 1:], z[..., :-1])
    hi = torch.where(right, -z[..., :-1], z[..., 1:])
    log_lo, log_hi = torch.special.log_ndtr(lo), torch.special.log_ndtr(hi)
    log_mass = torch.where(
        torch.isinf(log_hi), log_hi, log_hi + torch.log1p(-torch.exp(log_lo - log_hi))
    )
    # Where the density hardly changes inside a cell, the difference of the c.d.f. loses its digits.
    z_centre = (z[..., :-1] + z[..., 1:]) / 2
    log_density = -(z_centre**2) / 2 - torch.log(sigma) - math.log(2 * math.pi) / 2
    flat = (1 + z_centre.abs()) * width / sigma < FLAT_CELL
    return torch.where(flat, log_density + torch.log(width), log_mass)


def expectation(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Expectation (Eq. 10) and standard deviation of softmax(logits), float64 [...]."""
    middle = (labels[0] + labels[-1]) / 2
    p_hat = torch.softmax(logits.to(accumulation_dtype(logits)), -1)
    centred = (labels - middle).to(p_hat.dtype)
    mean = (p_hat * centred).sum(-1)
    variance = (p_hat * (centred - mean.unsqueeze(-1)) ** 2).sum(-1)
    # The square root has no derivative at 0: a one-hot prediction gets the sub-gradient 0.
    std = torch.where(variance > 0, torch.where(variance > 0, variance, 1.0).sqrt(), variance)
    return mean.to(labels.dtype) + middle, std.to(labels.dtype)


class CheckedRows(NamedTuple):
    """Per row, with values that can be computed with where the row is left out or bad."""

    target: Tensor
    weight: Tensor
    target_distribution: Tensor
    """p, [N, K] in the accumulation dtype."""
    ignored: Tensor
    bad: Tensor


def check_rows(
    logits: Tensor,
    target: Tensor | None,
    sigma: float | Tensor,
    weight: Tensor | None,
    target_distribution: Tensor | None,
    labels: Tensor,
    options: LossOptions,
) -> CheckedRows:
    """Everything about the rows of logits [N, K] that does not depend on their values.

    Raises:
        ValueError: naming the argument, the first bad row and its value, if the options ask for it.
    """
    acc = accumulation_dtype(logits)
    rows = torch.ones(len(logits), dtype=labels.dtype, device=labels.device)
    s = rows * sigma
    w = rows if weight is None else weight.to(labels.dtype)
    y = rows if target is None else target.to(labels.dtype)

    ignored = torch.isnan(y) & options.ignore_nan
    y, s, w = (torch.where(ignored, fill, v) for v, fill in ((y, labels[0]), (s, 1.0), (w, 0.0)))
    q = None
    if target_distribution is not None:
        q = torch.where(ignored.unsqueeze(-1), 1.0, target_distribution.to(labels.dtype))
    bad = bad_rows(None if target is None else y, s, w, q, labels, options)
    y, s, w = (torch.where(bad, fill, v) for v, fill in ((y, labels[0]), (s, 1.0), (w, 1.0)))
    if options.out_of_range == "clamp":
        y = y.clamp(labels[0], labels[-1])

    if q is None:
        p = label_distribution(y, labels, s, options.kind).to(acc)
        underflow = (p.sum(-1) == 0) & ~ignored
        if raises(options, underflow) and bool(underflow.any()):
            row = int(underflow.nonzero()[0])
            raise ValueError(f"{UNDERFLOW}, got {float(y[row]):g} at row {row}")
        bad = bad | underflow
    else:
        q = torch.where(bad.unsqueeze(-1), 1.0, q)
        p = q / q.sum(-1, keepdim=True)
        if target is None:
            y = (p * labels).sum(-1)
    return CheckedRows(y, w, p.to(acc), ignored, bad)


def label_distribution_loss(
    logits: Tensor,
    target: Tensor | None,
    sigma: float | Tensor,
    weight: Tensor | None,
    target_distribution: Tensor | None,
    labels: Tensor,
    options: LossOptions,
) -> tuple[Tensor, Tensor]:
    """Loss (Eq. 12) of logits [N, K], and per row both terms and the expectation, [3, N]."""
    acc = accumulation_dtype(logits)
    double = double_dtype(logits.device)
    labels = labels.to(double)
    y, w, p, ignored, bad = check_rows(
        logits, target, sigma, weight, target_distribution, labels, options
    )
    # Rows that are left out get no gradient, whatever their logits are.
    x = logits.to(acc)
    x = torch.where((w == 0).unsqueeze(-1), x.detach(), x)

    middle = (labels[0] + labels[-1]) / 2
    log_p_hat = torch.log_softmax(x, -1)  # Eq. 8
    p_hat = log_p_hat.exp()
    centred = (labels - middle).to(acc)
    if options.divergence == "likelihood":
        divergence = -(p * p_hat).sum(-1)
    else:
        # 0 * (-inf) counts as 0: a label without target mass may have a logit of -inf.
        positive = p > 0
        divergence = -(p * torch.where(positive, log_p_hat, 0.0)).sum(-1)  # Eq. 13
        if options.divergence == "kl":
            divergence = divergence + torch.special.xlogy(p, p).sum(-1)  # Eq. 9
    centred_expectation = (p_hat * centred).sum(-1)  # Eq. 10
    error = centred_expectation - (y - middle).to(acc)
    regression = _rho(error, options)  # Eq. 11

    # 0, also where the divergence is inf, and a function of the logits even if all terms are off.
    loss = divergence.masked_fill(torch.ones_like(bad), 0.0)
    if options.ld_weight != 0:
        loss = loss + options.ld_weight * divergence
    if options.lambda_ != 0:
        loss = loss + options.lambda_ * regression  # Eq. 12
    if options.variance_weight != 0:
        deviation = centred - centred_expectation.unsqueeze(-1)
        loss = loss + options.variance_weight * (p_hat * deviation**2).sum(-1)
    loss = loss * torch.where(bad, math.nan, 1.0).to(acc)
    loss = _reduce(loss, w.to(acc), options.reduction)
    y_hat = centred_expectation.to(double) + middle
    terms = torch.stack([divergence.to(double), regression.to(double), y_hat]).detach()
    terms[:2] = torch.where(ignored, 0.0, torch.where(bad, math.nan, terms[:2]))
    terms[2] = torch.where(ignored, math.nan, terms[2])
    return loss, terms


def _rho(error: Tensor, options: LossOptions) -> Tensor:
    if options.regression == "l2":
        return error * error
    if options.regression == "smooth_l1":
        beta = options.smooth_l1_beta
        return torch.nn.functional.smooth_l1_loss(
            error, torch.zeros_like(error), reduction="none", beta=beta
        )
    return error.abs()


def _reduce(loss: Tensor, weight: Tensor, reduction: str) -> Tensor:
    # A row of weight 0 is left out, also where its loss is inf or NaN (padding).
    counted = weight * torch.where(weight == 0, 0.0, loss)
    if reduction == "none":
        return counted
    if reduction == "sum":
        return counted.sum()
    total = weight.sum()
    return counted.sum() / torch.where(total == 0, 1.0, total)


def hybrid_pool2d(x: Tensor, kernel_size: int) -> Tensor:
    """Hybrid pooling of [N, C, H, W] (Section 3.4): max over each window, mean over the windows."""
    if x.numel() == 0:  # which max_pool2d refuses where there are no channels
        return x.sum(dim=(2, 3))
    return torch.nn.functional.max_pool2d(x, kernel_size).mean(dim=(2, 3))
