"""The cumulative distribution of probabilities on the label grid, and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor


def cumulative(distribution: Tensor) -> Tensor:
    """F_k = p_1 + ... + p_k of [..., K], divided by the last so that it ends in exactly 1.

    Example:
        >>> cumulative(torch.tensor([0.25, 0.5, 0.25]))
        tensor([0.2500, 0.7500, 1.0000])
    """
    cdf = distribution.cumsum(-1)
    return cdf / cdf[..., -1:]


def inverse(cdf: Tensor, labels: Tensor, q: Tensor) -> Tensor:
    """Smallest label with F_k >= q (F_k > 0 for q = 0), [Q, ...] for cdf [..., K] and q [Q].

    A difference that the rounding of the sum can explain counts as none: which of two labels an
    exact tie gives does not depend on the last bit. Rows of NaN give NaN.

    Example:
        >>> cdf = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
        >>> inverse(cdf, torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 0.5, 0.6, 1.0]))
        tensor([2., 2., 4., 4.])
    """
    rounding = len(labels) * torch.finfo(cdf.dtype).eps
    at_least = (q.to(cdf) - rounding).clamp_min(rounding)
    at_least = at_least.expand(*cdf.shape[:-1], len(q)).contiguous()
    index = torch.searchsorted(cdf.contiguous(), at_least)
    found = labels[index.clamp_max(len(labels) - 1)]
    return torch.where(cdf[..., -1:].isnan(), torch.nan, found).movedim(-1, 0)
