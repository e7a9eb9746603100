"""Accuracy of groups over the folds of a cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.protocols import folds_of, split_rows
from dldl_fast.metrics import accuracy, one_off_accuracy


@dataclass(frozen=True)
class FoldAccuracy:
    """Mean over the folds, and standard deviation between them (divided by the folds less one).

    Attributes:
        mean: share of the rows whose group is predicted.
        deviation: of it.
        one_off_mean: share of the rows whose group or a neighbour of it is predicted.
        one_off_deviation: of it.
        exact: `mean` of each fold alone.
        one_off: `one_off_mean` of each fold alone.
    """

    mean: float
    deviation: float
    one_off_mean: float
    one_off_deviation: float
    exact: tuple[float, ...]
    one_off: tuple[float, ...]


def fold_accuracy(
    table: FaceTable, predicted: Tensor, *, protocol: str = "five-fold", seed: int = 0
) -> FoldAccuracy:
    """Exact and one-off accuracy of groups, as they are given for Adience.

    Every row is predicted by the model that was trained without its fold:
    ``split_rows(table, protocol, fold=k, seed=seed).test`` are the rows of fold k.

    Args:
        table: labels are the numbers of groups.
        predicted: number of the predicted group of every row, [N].
        protocol: one with several folds.
        seed: that of the folds, where the data have none of their own.

    Raises:
        DataError: if the table lacks what the protocol needs.
        ValueError: if there is no such protocol, it has a single fold, or a prediction or label is
            no whole number.

    Source:
        Eidinger, Enbar and Hassner, Age and gender estimation of unfiltered faces, 2014: exact and
        one-off accuracy in five folds.

    Example:
        >>> import torch
        >>> from pathlib import Path
        >>> from dldl_fast.data.sets.adience import EIGHT_GROUPS
        >>> paths, groups = tuple("abcde"), torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
        >>> table = FaceTable("five", EIGHT_GROUPS, Path("."), paths, groups, fold=(0, 1, 2, 3, 4))
        >>> found = fold_accuracy(table, torch.tensor([0, 1, 2, 3, 5]))
        >>> found.exact, found.mean, round(found.deviation, 4), found.one_off_mean
        ((1.0, 1.0, 1.0, 1.0, 0.0), 0.8, 0.4472, 1.0)
    """
    folds = folds_of(table, protocol)
    if folds < 2:
        raise ValueError(f"protocol must have several folds, such as five-fold, got {protocol!r}")
    if predicted.shape != table.target.shape:
        raise ValueError(
            f"predicted must have one group for each of the {len(table)} rows, "
            f"got shape {list(predicted.shape)}"
        )
    tests = [split_rows(table, protocol, fold=fold, seed=seed).test for fold in range(folds)]
    exact, one_off = (
        torch.stack([metric(predicted[rows], table.target[rows]) for rows in tests])
        for metric in (accuracy, one_off_accuracy)
    )
    return FoldAccuracy(
        mean=float(exact.mean()),
        deviation=float(exact.std()),
        one_off_mean=float(one_off.mean()),
        one_off_deviation=float(one_off.std()),
        exact=tuple(exact.tolist()),
        one_off=tuple(one_off.tolist()),
    )
