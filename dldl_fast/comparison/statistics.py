"""Scores of a comparison, their spread, and a paired test against the reference."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.stats import wilcoxon
from torch import Tensor

from dldl_fast.comparison.data import ComparisonData
from dldl_fast.comparison.run import Results
from dldl_fast.metrics import e_error, mae, pearson, rmse

METRICS = ("mae", "e_error", "rmse", "pearson")


class Score(NamedTuple):
    """A metric over all folds of all seeds."""

    mean: float
    """NaN if it is not defined on some fold."""
    spread: float
    """Standard deviation of the folds' values (divided by their number less one); NaN for one."""
    folds: list[float]
    """The value of every fold, seed by seed."""


@dataclass(frozen=True)
class Line:
    """What is known of an entry.

    Attributes:
        name: of the entry.
        scores: by name of the metric.
        difference: mean absolute error less that of the reference, over the tested units.
        p_value: of the paired test, corrected for the number of tests; None for the reference.
    """

    name: str
    scores: dict[str, Score]
    difference: float
    p_value: float | None


def summarise(data: ComparisonData, results: Results, reference: str) -> list[Line]:
    """Scores of every entry, and a paired test of each against the reference.

    Scores are of every fold of every seed, then averaged. The test is Wilcoxon's signed-rank test,
    two-sided, on the absolute errors of the rows, averaged over the seeds (for rows in groups: also
    over the group, since faces of a person are no independent sample), with Holm's correction for
    the number of entries.

    Rows and not folds are the sample: 5 folds would be 5 pairs, whose smallest possible p is 0.06.
    The price is that the test knows only of the chance in drawing test rows: the models of two
    folds share training rows, so that their errors are not quite independent, and another training
    sample might rank two methods otherwise. Small p-values are too small rather than too large.

    Args:
        data: what was compared on.
        results: all predictions.
        reference: name of the entry that the others are tested against.
    """
    errors = {
        name: unit_errors(prediction, data.target, data.group)
        for name, prediction in results.predictions.items()
    }
    others = [name for name in errors if name != reference]
    raw = [signed_rank_p(errors[name], errors[reference]) for name in others]
    p_values: dict[str, float] = dict(zip(others, holm(raw), strict=True))
    return [
        Line(
            name=name,
            scores=fold_scores(data, results.folds, prediction),
            difference=float((errors[name] - errors[reference]).mean()),
            p_value=p_values.get(name),
        )
        for name, prediction in results.predictions.items()
    ]


def fold_scores(data: ComparisonData, folds: Tensor, prediction: Tensor) -> dict[str, Score]:
    """Every metric over the folds; folds and predictions are [S, N]."""
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for fold_of, predicted in zip(folds, prediction, strict=True):
        for fold in range(int(fold_of.max()) + 1):
            rows = fold_of == fold
            y_hat, y, sigma = predicted[rows], data.target[rows], data.sigma[rows]
            values["mae"].append(float(mae(y_hat, y)))
            values["e_error"].append(float(e_error(y_hat, y, sigma)))
            values["rmse"].append(float(rmse(y_hat, y)))
            with warnings.catch_warnings():
                # A constant prediction, such as the median, has none: shown as n/a.
                warnings.filterwarnings("ignore", message="pearson: .* is constant")
                values["pearson"].append(float(pearson(y_hat, y)))
    return {name: _score(value) for name, value in values.items()}


def _score(values: list[float]) -> Score:
    all_folds = torch.tensor(values, dtype=torch.float64)
    spread = float(all_folds.std()) if len(values) > 1 else math.nan
    return Score(float(all_folds.mean()), spread, values)


def unit_errors(prediction: Tensor, target: Tensor, group: Tensor | None) -> Tensor:
    """Absolute errors of rows, or their means over groups, averaged over the seeds.

    Example:
        >>> predictions = torch.tensor([[1.0, 2.0, 6.0], [3.0, 2.0, 2.0]])  # 2 seeds, 3 rows
        >>> unit_errors(predictions, torch.tensor([1.0, 2.0, 4.0]), None)
        tensor([1., 0., 2.])
        >>> unit_errors(predictions, torch.tensor([1.0, 2.0, 4.0]), torch.tensor([7, 7, 3]))
        tensor([2.0000, 0.5000])
    """
    error = (prediction - target).abs().mean(0)
    if group is None:
        return error
    number = group.unique(return_inverse=True)[1]
    count = number.bincount()
    means: Tensor = error.new_zeros(len(count)).index_add(0, number, error) / count
    return means


def signed_rank_p(errors: Tensor, reference: Tensor) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test for paired values [N].

    Example:
        >>> signed_rank_p(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3))  # 2 of 2**3 signs
        0.25
        >>> signed_rank_p(torch.ones(3), torch.ones(3))
        1.0
    """
    difference = (errors - reference).numpy()
    if not difference.any():
        return 1.0
    return float(wilcoxon(difference).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down method for all of them being tested.

    Source:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.

    Example:
        >>> holm([0.25, 0.0625, 0.5])
        [0.5, 0.1875, 0.5]
    """
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
