"""Metrics of predicted values within each group of the labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dldl_fast.metrics.values import error_rows, require_rows


def group_mae(
    prediction: Tensor,
    target: Tensor,
    *,
    borders: Sequence[float] | Tensor | None = None,
    groups: Tensor | None = None,
    n_groups: int | None = None,
) -> Tensor:
    r"""Mean absolute error in each group, :math:`\frac{1}{N_g} \sum_{n \in g} |\hat y_n - y_n|`.

    A group is given by borders between labels, or by a number for each value. With borders
    :math:`b_1 < \dots < b_{G-1}` the targets below :math:`b_1` are group 0, those in
    :math:`[b_g, b_{g+1})` group g, and those from :math:`b_{G-1}` on the last one.

    Args:
        prediction: estimated values, [N], any real dtype.
        target: true values, [N], in the same unit.
        borders: increasing numbers in the unit of the target, G - 1 of them.
        groups: instead of borders, the group of each value, [N], integers in [0, G).
        n_groups: G, to go with ``groups``; left out, the largest of them plus one.

    Returns:
        float64 [G], in the unit of the target; NaN for a group without values.

    Raises:
        TypeError: if prediction or target is no real tensor, or groups are no integers.
        ValueError: if the shapes differ, there are no values, the borders do not increase, or a
            group is outside [0, G).

    Source:
        Eq. 19, per group.

    Example:
        >>> prediction, target = torch.tensor([9.0, 19.0, 70.0]), torch.tensor([8.0, 18.0, 60.0])
        >>> group_mae(prediction, target, borders=[18, 60])
        tensor([ 1.,  1., 10.], dtype=torch.float64)
        >>> group_mae(prediction, target, groups=torch.tensor([1, 0, 1]))
        tensor([1.0000, 5.5000], dtype=torch.float64)
    """
    error = error_rows(prediction, target).abs()
    return _group_means(error, as_groups(target, borders, groups, n_groups))


def group_bias(
    prediction: Tensor,
    target: Tensor,
    *,
    borders: Sequence[float] | Tensor | None = None,
    groups: Tensor | None = None,
    n_groups: int | None = None,
) -> Tensor:
    r"""Mean signed error in each group, :math:`\frac{1}{N_g} \sum_{n \in g} (\hat y_n - y_n)`.

    Args:
        prediction: estimated values, [N], any real dtype.
        target: true values, [N], in the same unit.
        borders: as for `group_mae`.
        groups: as for `group_mae`.
        n_groups: as for `group_mae`.

    Returns:
        float64 [G], in the unit of the target; NaN for a group without values.

    Raises:
        TypeError: as `group_mae`.
        ValueError: as `group_mae`.

    Example:
        >>> prediction, target = torch.tensor([9.0, 17.0, 50.0]), torch.tensor([8.0, 18.0, 60.0])
        >>> group_bias(prediction, target, borders=[18])
        tensor([ 1.0000, -5.5000], dtype=torch.float64)
    """
    error = error_rows(prediction, target)
    return _group_means(error, as_groups(target, borders, groups, n_groups))


def as_groups(
    target: Tensor,
    borders: Sequence[float] | Tensor | None,
    groups: Tensor | None,
    n_groups: int | None,
) -> tuple[Tensor, int]:
    """The group of each value, int64 [N], and how many groups there are."""
    if (borders is None) == (groups is None):
        raise ValueError("give either borders=[...] between labels or groups=[N], one group each")
    if borders is not None:
        if n_groups is not None:
            raise ValueError("n_groups goes with groups=; borders say how many groups there are")
        between = as_borders(borders).to(target.device)
        y = target.detach().double().reshape(-1)
        return torch.bucketize(y, between, right=True), len(between) + 1
    return _as_ids(groups, target, n_groups)


def as_borders(borders: Sequence[float] | Tensor) -> Tensor:
    """Borders as float64 [G - 1], finite and increasing."""
    between = torch.as_tensor(borders, dtype=torch.float64, device="cpu")
    increasing = between.dim() == 1 and bool((between[1:] > between[:-1]).all())
    if not increasing or len(between) == 0 or not bool(torch.isfinite(between).all()):
        raise ValueError(f"borders must be finite increasing numbers, at least one, got {borders}")
    return between


def sums_and_counts(rows: Tensor, ids: Tensor, n_groups: int) -> tuple[Tensor, Tensor]:
    """Per group, the sum of its rows, float64 [G], and how many they are, int64 [G]."""
    sums = rows.new_zeros(n_groups).index_add(0, ids, rows)
    return sums, torch.bincount(ids, minlength=n_groups)


def _as_ids(groups: Tensor | None, target: Tensor, n_groups: int | None) -> tuple[Tensor, int]:
    if not isinstance(groups, Tensor) or groups.is_floating_point() or groups.is_complex():
        got = groups.dtype if isinstance(groups, Tensor) else type(groups).__name__
        raise TypeError(f"groups must be a tensor of integers, got {got}")
    if groups.shape != target.shape:
        raise ValueError(
            f"groups must have the shape of target, {list(target.shape)}, got {list(groups.shape)}"
        )
    ids = groups.detach().long().reshape(-1)
    if n_groups is None:
        n_groups = int(ids.max()) + 1 if len(ids) > 0 else 0
    outside = (ids < 0) | (ids >= n_groups)
    if bool(outside.any()):
        first = int(ids[outside][0])
        raise ValueError(f"groups must be in [0, n_groups) with n_groups = {n_groups}, got {first}")
    return ids, n_groups


def _group_means(rows: Tensor, groups: tuple[Tensor, int]) -> Tensor:
    require_rows(len(rows))
    sums, counts = sums_and_counts(rows, *groups)
    return sums / counts
