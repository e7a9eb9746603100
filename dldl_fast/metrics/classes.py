"""Metrics of predicted groups that have an order, such as age groups, by their numbers."""

from __future__ import annotations

from torch import Tensor

from dldl_fast.metrics.values import as_rows, as_thresholds, cumulative_score_rows, mean_of_rows


def accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Share of the rows whose group is predicted, :math:`\frac{1}{N} \sum_n [\hat g_n = g_n]`.

    Args:
        prediction: numbers of the predicted groups, [N], whole numbers of any real dtype: the most
            probable labels, or rounded values.
        target: numbers of the true groups, [N].

    Returns:
        float64 scalar in [0, 1].

    Raises:
        TypeError: if an argument is no real tensor.
        ValueError: if the shapes differ, there are no values, or one is no whole number.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([3, 5, 0, 7]), torch.tensor([3, 4, 0, 2])).item()
        0.5
    """
    return mean_of_rows(near_rows(prediction, target, 0))


def one_off_accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Share of the rows whose group or a neighbour of it is predicted.

    .. math::
        \frac{1}{N} \sum_n \left[ |\hat g_n - g_n| \le 1 \right]

    Args:
        prediction: as for `accuracy`.
        target: as for `accuracy`.

    Returns:
        float64 scalar in [0, 1].

    Raises:
        TypeError: as `accuracy`.
        ValueError: as `accuracy`.

    Example:
        >>> import torch
        >>> one_off_accuracy(torch.tensor([3, 5, 0, 7]), torch.tensor([3, 4, 0, 2])).item()
        0.75
    """
    return mean_of_rows(near_rows(prediction, target, 1))


def near_rows(prediction: Tensor, target: Tensor, distance: int) -> Tensor:
    """1 where the groups are at most so far apart, NaN where one is NaN, else 0, float64 [N]."""
    for name, values in zip(("prediction", "target"), as_rows(prediction, target), strict=True):
        broken = (values != values.round()) & ~values.isnan() | values.isinf()
        if bool(broken.any()):
            raise ValueError(
                f"{name} must hold numbers of groups, got {float(values[broken][0]):g}; take the "
                "most probable label, or round"
            )
    return cumulative_score_rows(prediction, target, as_thresholds(distance))
