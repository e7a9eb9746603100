"""Cross-validation folds."""

from __future__ import annotations

import torch
from sklearn.model_selection import GroupKFold, KFold
from torch import Tensor

from dldl_fast.data.base import DataError


def fold_of_rows(count: int, folds: int, seed: int, group: Tensor | None = None) -> Tensor:
    """The fold that each row is tested in, int64 [count].

    Rows, or whole groups, are shuffled by the seed and dealt out evenly.

    Args:
        count: number of rows.
        folds: number of folds, from 2 to the number of rows or groups.
        seed: another one gives other folds.
        group: int64 [count], groups that no two folds may share.

    Raises:
        DataError: if there are fewer rows or groups than folds.

    Example:
        >>> fold_of_rows(6, 3, seed=0).bincount()
        tensor([2, 2, 2])
    """
    what, units = ("rows", count) if group is None else ("groups", len(group.unique()))
    if not 2 <= folds <= units:
        raise DataError(f"folds must be from 2 to the number of {what}, {units}, got {folds}")
    kind = KFold if group is None else GroupKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    fold = torch.empty(count, dtype=torch.int64)
    splits = splitter.split(range(count), groups=None if group is None else group.numpy())
    for number, (_, test) in enumerate(splits):
        fold[torch.from_numpy(test)] = number
    return fold
