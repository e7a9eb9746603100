"""Pearson correlation, from moments that are exact for any offset and can be merged."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from dldl_fast.metrics.values import as_rows, require_rows


def pearson(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Pearson correlation of predicted and true values.

    .. math::
        \mathrm{PC} = \frac{\sum_n (y_n - \bar y)(\hat y_n - \bar{\hat y})}
        {\sqrt{\sum_n (y_n - \bar y)^2} \sqrt{\sum_n (\hat y_n - \bar{\hat y})^2}}

    It is not defined where one of them is constant, thus not for a single value either: the result
    is NaN then, with a warning.

    Args:
        prediction: estimated values, [N], any real dtype.
        target: true values, [N], in any unit.

    Returns:
        float64 scalar in [-1, 1], or NaN.

    Raises:
        TypeError: if an argument is no real tensor.
        ValueError: if the shapes differ or there are no values.

    Source:
        Eq. 22.

    Example:
        >>> round(pearson(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2.0, 3.0, 4.0])).item(), 6)
        0.981981
    """
    moments = comoments(prediction, target)
    require_rows(int(moments[0]))
    return correlation(moments)


def comoments(prediction: Tensor, target: Tensor) -> Tensor:
    """Count, two means, two sums of squares about them and the sum of products, float64 [6]."""
    predicted, true = as_rows(prediction, target)
    one, zero = torch.ones_like(true), torch.zeros_like(true)
    return merge_comoments(torch.stack([one, predicted, true, zero, zero, zero], -1))


def merge_comoments(parts: Tensor) -> Tensor:
    """`comoments` of all parts together from those of each, [P, 6] to [6].

    Chan, Golub and LeVeque (1983), for any number of parts at once; a part may be empty, and a
    single value is a part of one. Sums about the mean lose no digits to the offset of the values,
    and are exactly 0 where all values are the same.
    """
    if len(parts) == 0:
        return parts.new_zeros(6)
    count, means, sums = parts[:, 0], parts[:, 1:3], parts[:, 3:]
    weight = count.unsqueeze(-1)
    total = count.sum()
    near = means[count.argmax()]
    mean = near + (weight * (means - near)).sum(0) / total.clamp_min(1)
    off = means - mean
    between = torch.stack([off[:, 0].square(), off[:, 1].square(), off[:, 0] * off[:, 1]], -1)
    return torch.cat([total.unsqueeze(0), mean, (sums + weight * between).sum(0)])


def correlation(moments: Tensor) -> Tensor:
    """Correlation of values with these `comoments`; NaN, with a warning, if one is constant."""
    squares, product = moments[3:5], moments[5]
    for name, square in zip(("prediction", "target"), squares, strict=True):
        if square == 0:
            warnings.warn(
                f"pearson: {name} is constant, so that no correlation is defined; it is NaN",
                stacklevel=3,
            )
    # The roots come first, as in Eq. 22: the product of the squares could overflow.
    value = product / squares.sqrt().prod()
    return value.clamp(-1.0, 1.0)
