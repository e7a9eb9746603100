"""Expectation and standard deviation of softmax(logits) (Eq. 10), and their gradient."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dldl_fast.triton.tiles import (
    centred_labels,
    device_of,
    exponentials,
    grid_of,
    load_logits,
    middle_of,
    store_gradient,
    tile_for,
    values,
    with_contiguous_rows,
)


@triton.jit
def _moments(x, label):
    """Exponentials, one over their sum, expectation and variance, and l_k - expectation."""
    _, e = exponentials(x)
    inverse_sum = 1 / tl.sum(e, 1)
    mean = tl.sum(e * label[None, :], 1) * inverse_sum
    distance = label[None, :] - mean[:, None]
    variance = tl.sum(e * distance * distance, 1) * inverse_sum
    return e, inverse_sum, mean, variance, distance


@triton.jit
def expectation_kernel(
    logits,
    labels,
    mean,
    std,
    n_rows,
    row_stride,
    step: tl.float64,
    K: tl.constexpr,
    IS_UNIFORM: tl.constexpr,
    ROWS: tl.constexpr,
    LABELS: tl.constexpr,
):
    """A tile of rows: their expectations and, if asked for, standard deviations."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    k = tl.arange(0, LABELS)
    x = load_logits(logits, rows, n_rows, row_stride, k, K)
    label = centred_labels(labels, step, k, x.dtype, K, IS_UNIFORM)
    _, _, centred_mean, variance, _ = _moments(x, label)
    exists = rows < n_rows
    tl.store(mean + rows, centred_mean.to(tl.float64) + middle_of(labels, K), mask=exists)
    if std is not None:
        tl.store(std + rows, tl.sqrt(variance.to(tl.float64)), mask=exists)


@triton.jit
def expectation_backward_kernel(
    grad_mean,
    grad_std,
    logits,
    labels,
    grad_logits,
    n_rows,
    row_stride,
    step: tl.float64,
    K: tl.constexpr,
    IS_UNIFORM: tl.constexpr,
    ROWS: tl.constexpr,
    LABELS: tl.constexpr,
):
    """With d = l_k - mean: d mean / dx_k = p_k d, d std / dx_k = p_k (d^2 - std^2) / (2 std)."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    exists = rows < n_rows
    k = tl.arange(0, LABELS)
    x = load_logits(logits, rows, n_rows, row_stride, k, K)
    label = centred_labels(labels, step, k, x.dtype, K, IS_UNIFORM)
    e, inverse_sum, _, variance, distance = _moments(x, label)
    factor = tl.zeros_like(e)
    if grad_mean is not None:
        g = tl.load(grad_mean + rows, mask=exists, other=0.0).to(x.dtype)
        factor += g[:, None] * distance
    if grad_std is not None:
        g = tl.load(grad_std + rows, mask=exists, other=0.0)
        deviation = tl.sqrt(variance.to(tl.float64))
        # The square root has no derivative at 0: a one-hot prediction gets the sub-gradient 0.
        g = tl.where(deviation != 0, g / (2 * tl.where(deviation != 0, deviation, 1.0)), 0.0)
        factor += g.to(x.dtype)[:, None] * (distance * distance - variance[:, None])
    gradient = e * inverse_sum[:, None] * factor
    store_gradient(grad_logits, rows, n_rows, k, K, gradient)


def expectation(
    logits: Tensor, labels: Tensor, label_step: float, return_std: bool
) -> tuple[Tensor, Tensor | None]:
    """The op of that name."""
    logits = with_contiguous_rows(logits)
    n_rows, n_labels = logits.shape
    labels = grid_of(labels, n_labels)
    mean = logits.new_empty(n_rows, dtype=torch.float64)
    std = torch.empty_like(mean) if return_std else None
    if n_rows == 0:
        return mean, std
    tile = tile_for(n_labels, is_float64=logits.dtype == torch.float64)
    with device_of(logits):
        expectation_kernel[tile.programs(n_rows)](
            logits,
            labels,
            mean,
            std,
            n_rows,
            logits.stride(0),
            label_step,
            K=n_labels,
            IS_UNIFORM=label_step > 0,
            **tile.settings(),
        )
    return mean, std


def expectation_backward(
    grad_mean: Tensor | None,
    grad_std: Tensor | None,
    logits: Tensor,
    labels: Tensor,
    label_step: float,
) -> Tensor:
    """The op of that name."""
    logits = with_contiguous_rows(logits)
    n_rows, n_labels = logits.shape
    labels = grid_of(labels, n_labels)
    grad_logits = logits.new_empty(n_rows, n_labels)
    if n_rows == 0:
        return grad_logits
    tile = tile_for(n_labels, is_float64=logits.dtype == torch.float64)
    with device_of(logits):
        expectation_backward_kernel[tile.programs(n_rows)](
            values("grad_mean", grad_mean, n_rows),
            values("grad_std", grad_std, n_rows),
            logits,
            labels,
            grad_logits,
            n_rows,
            logits.stride(0),
            label_step,
            K=n_labels,
            IS_UNIFORM=label_step > 0,
            **tile.settings(),
        )
    return grad_logits
