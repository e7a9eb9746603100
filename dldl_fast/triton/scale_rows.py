"""grad_logits[i] *= grad_loss * scale * weight[i]."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dldl_fast.triton.tiles import device_of, load_logits, store_gradient, tile_for, values


@triton.jit
def scale_rows_kernel(
    grad_logits,
    grad_loss,
    scale,
    weight,
    n_rows,
    PER_ROW: tl.constexpr,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    LABELS: tl.constexpr,
):
    """A tile of rows, in place."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    exists = rows < n_rows
    factor = tl.full((ROWS,), 1.0, tl.float64)
    is_one = not PER_ROW and weight is None
    if not PER_ROW:
        factor *= tl.load(grad_loss).to(tl.float64)
    else:
        factor *= tl.load(grad_loss + rows, mask=exists, other=1.0).to(tl.float64)
    if scale is not None:
        factor *= tl.load(scale)
    left_out = rows < 0
    if weight is not None:
        w = tl.load(weight + rows, mask=exists, other=1.0).to(tl.float64)
        left_out = w == 0
        # Any other weight is bad: the row holds NaN already, or the zeros of an ignored row.
        good = (w > 0) & (w < float("inf"))
        factor = tl.where(good, factor * tl.where(good, w, 1.0), 1.0)
    # Nothing to do for a mean whose factor the gradient has already.
    if not is_one or tl.max(factor, 0) != 1:
        k = tl.arange(0, LABELS)
        value = load_logits(grad_logits, rows, n_rows, K, k, K)
        # A row of weight 0 becomes 0, also where it is NaN.
        value = tl.where(left_out[:, None], 0.0, value * factor.to(value.dtype)[:, None])
        store_gradient(grad_logits, rows, n_rows, k, K, value)


def scale_rows_(
    grad_logits: Tensor, grad_loss: Tensor, scale: Tensor | None, weight: Tensor | None
) -> None:
    """The op of that name."""
    n_rows, n_labels = grad_logits.shape
    if n_rows == 0:
        return
    if not grad_logits.is_contiguous():
        raise ValueError("grad_logits must be contiguous")
    per_row = grad_loss.dim() == 1
    tile = tile_for(n_labels, is_float64=grad_logits.dtype == torch.float64)
    with device_of(grad_logits):
        scale_rows_kernel[tile.programs(n_rows)](
            grad_logits,
            values("grad_loss", grad_loss, n_rows if per_row else 1),
            scale,
            values("weight", weight, n_rows),
            n_rows,
            PER_ROW=per_row,
            K=n_labels,
            **tile.settings(),
        )
