"""The loss of every row and its gradient, in one pass over the logits (Eqs. 8 to 13 and 17).

With z_k = x_k - max x, s = sum e^z_k, P = sum p_k and the scale c that makes p a distribution
(1 / P; a constant for gaussian_pdf), S = c P:

    D    = c sum p log p - c sum p z + S (log c + log s)
    dx_k = e^z_k / s (w_ld S + lambda rho' (l_k - y_hat)) - w_ld c p_k

The likelihood is D = -Q with Q = c sum p e^z / s, and has w_ld (Q - c p_k) e^z_k / s in the place
of w_ld (S e^z_k / s - c p_k). A variance V adds w_v ((l_k - y_hat)^2 - V) e^z_k / s.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dldl_fast import reference
from dldl_fast.options import DIVERGENCES, KINDS, OUT_OF_RANGE, REDUCTIONS, REGRESSIONS, LossOptions
from dldl_fast.triton.scale_rows import scale_rows_
from dldl_fast.triton.target_distribution import log_of, target_distribution
from dldl_fast.triton.tiles import (
    centred_labels,
    device_of,
    exponentials,
    grid_of,
    load_logits,
    store_gradient,
    tile_for,
    values,
    with_contiguous_rows,
)

_GAUSSIAN_PDF = tl.constexpr(KINDS.index("gaussian_pdf"))
_KL = tl.constexpr(DIVERGENCES.index("kl"))
_LIKELIHOOD = tl.constexpr(DIVERGENCES.index("likelihood"))
_L2 = tl.constexpr(REGRESSIONS.index("l2"))
_SMOOTH_L1 = tl.constexpr(REGRESSIONS.index("smooth_l1"))
_MEAN = tl.constexpr(REDUCTIONS.index("mean"))
_ERROR = tl.constexpr(OUT_OF_RANGE.index("error"))
_CLAMP = tl.constexpr(OUT_OF_RANGE.index("clamp"))
_LOG_SQRT_TWO_PI = tl.constexpr(0.91893853320467274178)

_REDUCE_BLOCK = 1024


@triton.jit
def load_row_values(values, number, rows, exists):
    """float64 of each row: from memory, or the number where there is none."""
    if values is None:
        loaded = tl.full(rows.shape, 0.0, tl.float64) + number
    else:
        loaded = tl.load(values + rows, mask=exists, other=1.0).to(tl.float64)
    return loaded


@triton.jit
def is_finite(value):
    """Neither NaN nor infinite."""
    return value - value == 0


@triton.jit
def penalty(error, beta, REGRESSION: tl.constexpr):
    """Eq. 11, and its derivative by the error; NaN where the error is."""
    size = tl.abs(error)
    sign = tl.where(error > 0, 1.0, tl.where(error < 0, -1.0, error))
    if REGRESSION == _L2:
        value = error * error
        slope = error + error
    elif REGRESSION == _SMOOTH_L1:
        is_linear = size >= beta
        value = tl.where(is_linear, size - 0.5 * beta, 0.5 * error * error / beta)
        slope = tl.where(is_linear, sign, error / beta)
    else:
        value = size
        slope = sign
    return value, slope


@triton.jit
def label_distribution_loss_kernel(
    logits,
    target,
    sigma,
    weight,
    distribution,
    labels,
    loss,
    grad_logits,
    terms,
    workspace,
    n_rows,
    row_stride,
    sigma_number: tl.float64,
    step: tl.float64,
    lambda_: tl.float64,
    ld_weight: tl.float64,
    variance_weight: tl.float64,
    smooth_l1_beta: tl.float64,
    grad_scale: tl.float64,
    HAS_LAMBDA: tl.constexpr,
    HAS_LD_WEIGHT: tl.constexpr,
    HAS_VARIANCE: tl.constexpr,
    KIND: tl.constexpr,
    DIVERGENCE: tl.constexpr,
    REGRESSION: tl.constexpr,
    OUT_OF_RANGE: tl.constexpr,
    IGNORE_NAN: tl.constexpr,
    IS_UNIFORM: tl.constexpr,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    LABELS: tl.constexpr,
):
    """A tile of rows: what is asked for of loss, gradient, terms and parts of the reduction."""
    program = tl.program_id(0).to(tl.int64)
    rows = program * ROWS + tl.arange(0, ROWS)
    exists = rows < n_rows
    k = tl.arange(0, LABELS)
    x = load_logits(logits, rows, n_rows, row_stride, k, K)
    dtype: tl.constexpr = x.dtype
    label = centred_labels(labels, step, k, x.dtype, K, IS_UNIFORM)
    first, last = tl.load(labels), tl.load(labels + K - 1)
    middle = (first + last) / 2

    # The values of each row, replaced where they cannot be used.
    y = load_row_values(target, first, rows, exists)
    s = load_row_values(sigma, sigma_number, rows, exists)
    w = load_row_values(weight, 1.0, rows, exists)
    bad = ~is_finite(y) | ~((w >= 0) & is_finite(w))
    outside = (y < first) | (y > last)
    if OUT_OF_RANGE == _ERROR:
        bad |= outside
    if distribution is None:
        bad |= ~((s >= 0) & is_finite(s))
        if KIND == _GAUSSIAN_PDF:
            bad |= s == 0
    ignored = y < y  # nowhere
    if IGNORE_NAN:
        ignored = y != y
        bad &= ~ignored
        w = tl.where(ignored, 0.0, w)
    unused = bad | ignored
    y = tl.where(unused, first, y)
    s = tl.where(unused, 1.0, s)
    # Weight 1, so that a bad weight makes its own row NaN and not the factor of all others.
    w = tl.where(bad, 1.0, w)
    if OUT_OF_RANGE == _CLAMP:
        y = tl.minimum(tl.maximum(y, first), last)

    z, e = exponentials(x)
    sum_e = tl.sum(e, 1)
    y_hat = tl.sum(e * label[None, :], 1) / sum_e  # Eq. 10
    wanted = (y - middle).to(dtype)

    divergence = tl.zeros_like(sum_e)
    mass = tl.zeros_like(sum_e)
    scale = tl.zeros_like(sum_e)
    NEEDS_TARGET: tl.constexpr = (
        HAS_LD_WEIGHT
        or terms is not None
        or (target is None and HAS_LAMBDA)
        or KIND == _GAUSSIAN_PDF
    )
    if NEEDS_TARGET:
        if distribution is None:
            p, log_p, l_near = target_distribution(
                labels, label, y, s, step, k, KIND, K, IS_UNIFORM
            )
        else:
            in_tile = exists[:, None] & (k < K)[None, :]
            place = distribution + rows[:, None] * K + k[None, :]
            q = tl.load(place, mask=in_tile, other=0.0).to(tl.float64)
            # Normalised before it is rounded to float32: counts may have any scale.
            total = tl.sum(q, 1)
            wrong = tl.max(((q < 0) | ~is_finite(q)).to(tl.int32), 1) > 0
            wrong |= ~((total > 0) & is_finite(total))
            bad |= wrong & ~ignored
            w = tl.where(bad, 1.0, w)
            p = (q / tl.where(wrong, 1.0, total)[:, None]).to(dtype)
            log_p = log_of(p)
        mass = tl.sum(p, 1)
        if KIND == _GAUSSIAN_PDF and distribution is None:
            distance = (l_near - y) / s
            log_scale_double = -0.5 * distance * distance - _LOG_SQRT_TWO_PI - tl.log(s)
            scale = tl.exp(log_scale_double).to(dtype)
            log_scale = log_scale_double.to(dtype)
            mass = scale * mass
            # Eq. 1 to the letter can have no mass at all on the grid.
            bad |= (mass == 0) & ~ignored
        else:
            scale = 1 / mass
            log_scale = tl.log(scale)
            mass = tl.full(sum_e.shape, 1.0, dtype)
        if DIVERGENCE == _LIKELIHOOD:
            divergence = -scale * tl.sum(p * e, 1) / sum_e
        else:
            # 0 * (-inf) counts as 0: a label without target mass may have a logit of -inf.
            sum_pz = tl.sum(tl.where(p > 0, p * z, 0.0), 1)
            divergence = mass * tl.log(sum_e) - scale * sum_pz  # Eq. 13
            if DIVERGENCE == _KL:  # Eq. 9
                divergence += scale * tl.sum(p * log_p, 1) + mass * log_scale
        if target is None:
            wanted = scale * tl.sum(p * label[None, :], 1)

    regression, slope = penalty(y_hat - wanted, tl.cast(smooth_l1_beta, dtype), REGRESSION)
    row_loss = tl.zeros_like(sum_e)
    from_softmax = tl.zeros_like(sum_e)
    from_expectation = tl.zeros_like(sum_e)
    from_variance = tl.zeros_like(sum_e)
    from_target = tl.zeros_like(sum_e)
    factor = tl.cast(grad_scale, dtype)
    if HAS_LD_WEIGHT:
        row_loss += tl.cast(ld_weight, dtype) * divergence
        from_softmax = factor * tl.cast(ld_weight, dtype) * mass / sum_e
        from_target = factor * tl.cast(ld_weight, dtype) * scale
        if DIVERGENCE == _LIKELIHOOD:
            from_softmax = -factor * tl.cast(ld_weight, dtype) * divergence / sum_e
            from_target = from_target / sum_e
    if HAS_LAMBDA:
        row_loss += tl.cast(lambda_, dtype) * regression
        from_expectation = factor * tl.cast(lambda_, dtype) * slope / sum_e
    if HAS_VARIANCE:
        deviation = label[None, :] - y_hat[:, None]
        variance = tl.sum(e * deviation * deviation, 1) / sum_e
        row_loss += tl.cast(variance_weight, dtype) * variance
        from_variance = factor * tl.cast(variance_weight, dtype) / sum_e
        from_softmax -= from_variance * variance
    # Whatever the row's other values are: nothing where it is left out, NaN where it is bad.
    unused = bad | ignored
    fill = tl.where(ignored, 0.0, float("nan"))
    row_loss = tl.where(unused, fill, row_loss)

    # A row of weight 0 is left out, also where its loss is inf or NaN.
    weight_as_loss = w.to(dtype)
    share = tl.where(weight_as_loss == 0, 0.0, weight_as_loss * row_loss)
    if loss is not None:
        tl.store(loss + rows, share, mask=exists)
    if workspace is not None:
        total_loss = tl.sum(tl.where(exists, share.to(tl.float64), 0.0), 0)
        total_weight = tl.sum(tl.where(exists, weight_as_loss.to(tl.float64), 0.0), 0)
        tl.store(workspace + 2 * program, total_loss)
        tl.store(workspace + 2 * program + 1, total_weight)
    if terms is not None:
        tl.store(terms + rows, tl.where(unused, fill, divergence).to(tl.float64), mask=exists)
        place = terms + (rows + n_rows)
        tl.store(place, tl.where(unused, fill, regression).to(tl.float64), mask=exists)
        expectation = tl.where(ignored, float("nan"), middle + y_hat.to(tl.float64))
        tl.store(place + n_rows, expectation, mask=exists)
    if grad_logits is not None:
        distance = label[None, :] - y_hat[:, None]
        pull = from_expectation[:, None]
        if HAS_VARIANCE:
            pull = pull + from_variance[:, None] * distance
        gradient = e * (from_softmax[:, None] + pull * distance)
        if HAS_LD_WEIGHT:
            towards = from_target[:, None] * p
            if DIVERGENCE == _LIKELIHOOD:
                towards = towards * e
            gradient -= towards
        gradient = tl.where(unused[:, None], fill[:, None], gradient)
        store_gradient(grad_logits, rows, n_rows, k, K, gradient)


@triton.jit
def reduce_loss_kernel(
    workspace,
    loss,
    scale,
    n_programs,
    grad_scale: tl.float64,
    REDUCTION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The end of a sum or mean: in one order, so that the result is the same every time."""
    sums = tl.zeros((BLOCK,), tl.float64)
    weights = tl.zeros((BLOCK,), tl.float64)
    for begin in range(0, n_programs, BLOCK):
        i = begin + tl.arange(0, BLOCK).to(tl.int64)
        sums += tl.load(workspace + 2 * i, mask=i < n_programs, other=0.0)
        weights += tl.load(workspace + 2 * i + 1, mask=i < n_programs, other=0.0)
    total = tl.sum(sums, 0)
    divisor = tl.sum(weights, 0)
    if REDUCTION != _MEAN:
        divisor = 1.0 + 0 * divisor
    empty = divisor == 0
    safe = tl.where(empty, 1.0, divisor)
    tl.store(loss, tl.where(empty, 0.0, total / safe).to(loss.dtype.element_ty))
    if scale is not None:
        tl.store(scale, tl.where(empty, 0.0, 1 / (grad_scale * safe)))


def _half_headroom(options: LossOptions, label_range: float) -> float:
    """The power of 2 by which float16 gradients are written too small, if they could overflow."""
    # p_hat_k |l_k - y_hat| <= range / 4, and |y_hat - y| <= range; p_hat_k (l_k - y_hat)^2 is part
    # of the variance, which is at most range^2 / 4.
    slope = 2 * label_range if options.regression == "l2" else 1.0
    pull = options.lambda_ * slope + options.variance_weight * label_range
    bound = options.ld_weight + pull * label_range / 4
    greatest = torch.finfo(torch.float16).max
    return 1.0 if bound <= greatest else 2.0 ** math.floor(math.log2(greatest / bound))


def label_distribution_loss(
    logits: Tensor,
    target: Tensor | None,
    sigma_number: float,
    sigma: Tensor | None,
    weight: Tensor | None,
    target_distribution: Tensor | None,
    labels: Tensor,
    label_step: float,
    lambda_: float,
    ld_weight: float,
    variance_weight: float,
    kind: int,
    divergence: int,
    regression: int,
    smooth_l1_beta: float,
    reduction: int,
    out_of_range: int,
    ignore_nan: bool,
    validate: bool,
    return_terms: bool,
    needs_grad: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """The op of that name."""
    logits = with_contiguous_rows(logits)
    n_rows, n_labels = logits.shape
    if target is None and target_distribution is None:
        raise ValueError("target or target_distribution must be given")
    target = values("target", target, n_rows)
    sigma = values("sigma", sigma, n_rows)
    weight = values("weight", weight, n_rows)
    target_distribution = values("target_distribution", target_distribution, n_rows * n_labels)
    labels = grid_of(labels, n_labels)
    options = LossOptions(
        lambda_,
        ld_weight,
        variance_weight,
        KINDS[kind],
        DIVERGENCES[divergence],
        REGRESSIONS[regression],
        smooth_l1_beta,
        REDUCTIONS[reduction],
        OUT_OF_RANGE[out_of_range],
        ignore_nan,
        validate,
    )
    if validate:
        reference.check_rows(
            logits,
            target,
            sigma_number if sigma is None else sigma,
            weight,
            target_distribution,
            labels,
            options,
        )
    # How the gradient is written: where the mean's 1 / N is known before, with it, so that backward
    # has nothing to do for an incoming 1. Not in float16, where such gradients would vanish.
    is_mean, is_half = options.reduction == "mean", logits.dtype == torch.float16
    scale_later = is_half or (is_mean and (weight is not None or ignore_nan))
    grad_scale = 1.0
    if is_half:
        grad_scale = _half_headroom(options, label_step * (n_labels - 1))
    elif is_mean and not scale_later and n_rows > 0:
        grad_scale = 1 / n_rows

    keep_rows = options.reduction == "none"
    dtype = reference.accumulation_dtype(logits)
    loss = logits.new_empty((n_rows,) if keep_rows else (), dtype=dtype)
    grad_logits = logits.new_empty(n_rows, n_labels) if needs_grad else None
    scale = logits.new_empty((), dtype=torch.float64) if scale_later else None
    terms = logits.new_empty(3, n_rows, dtype=torch.float64) if return_terms else None
    tile = tile_for(n_labels, is_float64=dtype == torch.float64 or options.kind == "gaussian_bin")
    (n_programs,) = tile.programs(n_rows)
    workspace = None if keep_rows else logits.new_empty(n_programs, 2, dtype=torch.float64)
    with device_of(logits):
        if n_rows > 0:
            label_distribution_loss_kernel[(n_programs,)](
                logits,
                target,
                sigma,
                weight,
                target_distribution,
                labels,
                loss if keep_rows else None,
                grad_logits,
                terms,
                workspace,
                n_rows,
                logits.stride(0),
                sigma_number,
                label_step,
                lambda_,
                ld_weight,
                variance_weight,
                smooth_l1_beta,
                grad_scale,
                HAS_LAMBDA=lambda_ != 0,
                HAS_LD_WEIGHT=ld_weight != 0,
                HAS_VARIANCE=variance_weight != 0,
                KIND=kind,
                DIVERGENCE=divergence,
                REGRESSION=regression,
                OUT_OF_RANGE=out_of_range,
                IGNORE_NAN=ignore_nan,
                IS_UNIFORM=label_step > 0,
                K=n_labels,
                **tile.settings(),
            )
        if workspace is not None:
            reduce_loss_kernel[(1,)](
                workspace,
                loss,
                scale,
                n_programs,
                grad_scale,
                REDUCTION=reduction,
                BLOCK=_REDUCE_BLOCK,
                num_warps=4,
            )
        elif scale is not None:
            scale.fill_(1 / grad_scale)
    return loss, grad_logits, scale, terms


def label_distribution_loss_backward(grad_loss: Tensor, *inputs: Any) -> Tensor:
    """The op of that name; `inputs` are those of `label_distribution_loss` up to `validate`."""
    _, grad_logits, scale, _ = label_distribution_loss(*(*inputs, False, True))
    assert grad_logits is not None  # for the type checker
    scale_rows_(grad_logits, grad_loss, scale, weight=inputs[4])
    return grad_logits
