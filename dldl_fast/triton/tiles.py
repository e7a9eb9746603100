"""Tiles of rows x labels: their sizes, and what every kernel does with them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# Numbers that a thread holds of each quantity of its tile: more of them spill from its registers.
_PER_THREAD = 16
_PER_THREAD_FLOAT64 = 4
_WARP = 32
_MAX_WARPS = 32


class Tile(NamedTuple):
    """What the kernels are compiled for."""

    rows: int
    labels: int  # K, rounded up to a power of 2
    warps: int

    def programs(self, n_rows: int) -> tuple[int]:
        """The grid that covers all rows."""
        return (triton.cdiv(n_rows, self.rows),)

    def settings(self) -> dict[str, int | bool]:
        """As keyword arguments of a launch."""
        return {
            "ROWS": self.rows,
            "LABELS": self.labels,
            "num_warps": self.warps,
            # Where a lane has one label, the product in sum p l would be fused with the addition of
            # the neighbour's rounded product, and the lanes' sums would differ in their last bits.
            "enable_fp_fusion": self.labels > _WARP,
        }


def tile_for(n_labels: int, *, is_float64: bool) -> Tile:
    """One warp, so that sums over a row are made by shuffles, or as many as one row needs."""
    labels = max(16, triton.next_power_of_2(n_labels))
    of_warp = _WARP * (_PER_THREAD_FLOAT64 if is_float64 else _PER_THREAD)
    return Tile(max(1, of_warp // labels), labels, min(max(1, labels // of_warp), _MAX_WARPS))


def with_contiguous_rows(logits: Tensor) -> Tensor:
    """Logits whose labels are contiguous; the distance of the rows is free."""
    return logits if logits.stride(1) == 1 else logits.contiguous()


def values(name: str, tensor: Tensor | None, count: int) -> Tensor | None:
    """An argument with one value a row, or K a row: the kernels read so many."""
    if tensor is None:
        return None
    if tensor.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {tensor.dtype}")
    if tensor.numel() != count:
        raise ValueError(f"{name} must hold {count} values, got {tensor.numel()}")
    return tensor.contiguous()


def grid_of(labels: Tensor, n_labels: int) -> Tensor:
    """The label grid: the kernels read its K float64 values."""
    if labels.dtype != torch.float64 or labels.shape != (n_labels,) or n_labels < 2:
        raise ValueError(
            f"labels must be a float64 tensor of shape [{n_labels}], K >= 2, "
            f"got {labels.dtype} {list(labels.shape)}"
        )
    return labels.contiguous()


def device_of(tensor: Tensor) -> torch.cuda.device_of:
    """Triton launches on the current device and its current stream."""
    return torch.cuda.device_of(tensor)


@triton.jit
def load_logits(logits, rows, n_rows, row_stride, k, K: tl.constexpr):
    """Tile of logits in the accumulation type, float64 for float64 and float32 for all others.

    -inf beyond the last label, 0 beyond the last row.
    """
    in_tile = (rows < n_rows)[:, None] & (k < K)[None, :]
    x = tl.load(logits + rows[:, None] * row_stride + k[None, :], mask=in_tile, other=0.0)
    if x.dtype != tl.float64:
        x = x.to(tl.float32)
    return tl.where((k < K)[None, :], x, -float("inf"))


@triton.jit
def store_gradient(grad_logits, rows, n_rows, k, K: tl.constexpr, gradient):
    """Store a tile to a contiguous [N, K] tensor in its own data type."""
    in_tile = (rows < n_rows)[:, None] & (k < K)[None, :]
    place = grad_logits + rows[:, None] * K + k[None, :]
    tl.store(place, gradient.to(grad_logits.dtype.element_ty), mask=in_tile)


@triton.jit
def middle_of(labels, K: tl.constexpr):
    """Labels are taken relative to it: those near 1,000,000 are as exact as those near 0."""
    return (tl.load(labels) + tl.load(labels + K - 1)) / 2


@triton.jit
def centred_labels(labels, step, k, dtype: tl.constexpr, K: tl.constexpr, IS_UNIFORM: tl.constexpr):
    """Labels relative to the middle of the grid. In float32 equally spaced ones are computed."""
    if IS_UNIFORM and dtype == tl.float32:
        centred = (2 * k - (K - 1)).to(tl.float32) * tl.cast(0.5 * step, tl.float32)
    else:
        centred = (tl.load(labels + k, mask=k < K, other=0.0) - middle_of(labels, K)).to(dtype)
    return centred


@triton.jit
def exponentials(x):
    """Numerators of the softmax (Eq. 8) relative to the row's largest logit, and its exponents."""
    z = x - tl.max(x, 1)[:, None]
    return z, tl.exp(z)
