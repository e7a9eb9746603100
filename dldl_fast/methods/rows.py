"""Rows of a batch for the losses in plain torch, treated as the fused loss treats its own."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import torch
from torch import Tensor

from dldl_fast.functional import as_rows
from dldl_fast.labels import on_device
from dldl_fast.options import LossOptions
from dldl_fast.reference import accumulation_dtype
from dldl_fast.value_checks import bad_rows, raises


class Rows(NamedTuple):
    """Checked rows; those that are bad or left out hold numbers that can be computed with."""

    outputs: Tensor
    """[N, M] in float32, or float64 for float64 outputs."""
    target: Tensor
    """[N], float32 or float64."""
    weight: Tensor | None
    """[N] in the dtype of the outputs; None if all rows count alike."""
    bad: Tensor | None
    """[N], True where the loss is NaN; None where a bad row raises."""


def check_rows(
    outputs: Tensor,
    target: Tensor,
    weight: Tensor | None,
    labels: Tensor,
    ends: tuple[float, float],
    options: LossOptions,
) -> Rows:
    """Check and flatten the arguments of a loss; outputs have been checked, ends are the labels'.

    Raises:
        ValueError: naming the argument, and the first bad row and what it holds.
        TypeError: for arguments that are not real-valued tensors.
    """
    lead = outputs.shape[:-1]
    y = as_rows("target", target, outputs, lead)
    w = None if weight is None else as_rows("weight", weight, outputs, lead)
    x = outputs if outputs.dim() == 2 else outputs.reshape(-1, outputs.shape[-1])
    x = x.to(accumulation_dtype(outputs))
    if options.ignore_nan:
        ignored = torch.isnan(y)
        y = y.masked_fill(ignored, ends[0])
        w = (torch.ones_like(y) if w is None else w).masked_fill(ignored, 0.0)

    bad = None
    if not raises(options, y) or not _all_good(y, w, ends, options):
        labels = on_device(labels, y.device)
        ones = torch.ones(len(y), dtype=labels.dtype, device=labels.device)
        weights = ones if w is None else w.to(labels.dtype)
        bad = bad_rows(y.to(labels.dtype), ones, weights, None, labels, options)
        y = y.masked_fill(bad, ends[0])
    if options.out_of_range == "clamp":
        y = y.clamp(ends[0], ends[1])
    if w is not None:
        w = w.to(x.dtype)
        x = torch.where((w == 0).unsqueeze(-1), 0.0, x)
    return Rows(x, y, w, bad)


def _all_good(y: Tensor, w: Tensor | None, ends: tuple[float, float], options: LossOptions) -> bool:
    """Whether no row is bad, in few steps: with small batches `bad_rows` would take most time."""
    if y.numel() == 0:
        return True
    low, high = -sys.float_info.max, sys.float_info.max
    if options.out_of_range == "error":
        low, high = ends
    smallest, largest = y.aminmax()  # NaN if there is one
    if not (low <= smallest.item() and largest.item() <= high):
        return False
    if w is None:
        return True
    smallest, largest = w.aminmax()
    return smallest.item() >= 0 and largest.item() <= sys.float_info.max


def weighted_mean(terms: Tensor, rows: Rows, count: Tensor | None = None) -> Tensor:
    """sum(w L) / sum(w count) where L is a row's sum of terms [N, M]; count [N] is 1 by default."""
    if rows.bad is not None:
        terms = terms * torch.where(rows.bad, math.nan, 1.0).to(terms.dtype).unsqueeze(-1)
    if rows.weight is None:
        total = max(1, terms.shape[0]) if count is None else count.sum().clamp(min=1)
        return terms.sum() / total
    weights = (rows.weight if count is None else rows.weight * count).sum()
    return (rows.weight * terms.sum(-1)).sum() / torch.where(weights == 0, 1.0, weights)
