"""All metrics of a set of predictions, for all rows and for groups of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.label_spec import GROUPS
from dldl_fast.evaluation.gap import Gap, largest_gap
from dldl_fast.evaluation.scores import Scores
from dldl_fast.files import replace_file, write_json
from dldl_fast.metrics import (
    accuracy,
    bias,
    cumulative_score,
    e_error,
    group_bias,
    group_mae,
    mae,
    one_off_accuracy,
    pearson,
    rmse,
)
from dldl_fast.metrics.distributions import mean_calibration_error

SCORE_SHARES = (0.01, 0.03, 0.05, 0.1)
"""Thresholds of the cumulative scores, as shares of the label range: 1, 3, 5, 10 of 100 years."""

LABEL_GROUPS = 10
"""Number of groups of the labels that are no ages; ages are grouped by decades."""

LABEL_COLUMN = "label"
"""What the table of the label groups is called beside those of the group columns."""


@dataclass(frozen=True)
class GroupRow:
    """The errors of a group.

    Attributes:
        group: its name.
        count: number of rows.
        mae: their mean absolute error.
        bias: their mean signed error.
    """

    group: str
    count: int
    mae: float
    bias: float


@dataclass(frozen=True)
class Report:
    """What predictions are worth.

    Attributes:
        data: name of the data.
        rows: which of them were evaluated.
        unit: of the labels, in the plural.
        count: number of rows with a prediction.
        left_out: number of rows without one.
        reasons: why, for the first few of them.
        metrics: by name; None for those that the predictions do not allow.
        groups: the rows of a table per group column, and of the groups of labels.
        gaps: the largest gap between two groups of each group column; None: too few rows.
    """

    data: str
    rows: str
    unit: str
    count: int
    left_out: int
    reasons: list[str]
    metrics: dict[str, float | None]
    groups: dict[str, list[GroupRow]]
    gaps: dict[str, Gap | None]


def require_group_columns(table: FaceTable, names: Sequence[str]) -> None:
    """Raise DataError unless the table has these groups."""
    for name in names:
        if name not in table.groups:
            known = ", ".join(table.groups) or "none"
            raise DataError(f"{table.name}: no group column {name!r}; there are: {known}")


def make_report(
    table: FaceTable, scores: Scores, group_columns: Sequence[str] = (), *, rows: str = "all rows"
) -> Report:
    """Metrics over all rows that have a prediction, and tables of errors per group.

    Args:
        table: the true values.
        scores: the predictions.
        group_columns: of the table's groups.
        rows: which rows of the data the table holds, in words.

    Raises:
        DataError: if there is no prediction, or no such column.
    """
    require_group_columns(table, group_columns)
    there = ~scores.value.isnan()
    if not bool(there.any()):
        raise DataError(f"{table.name}: no row has a prediction; {'; '.join(scores.reasons)}")
    kept, value = table.rows(there), scores.value[there]
    low, high = _range(table, scores)
    groups = {LABEL_COLUMN: _label_groups(kept, value, low, high)}
    gaps = {}
    for name in group_columns:
        column = kept.groups[name]
        names = sorted(set(column))
        ids = torch.tensor([names.index(text) for text in column])
        groups[name] = _rows(names, value, kept.target, ids)
        gaps[name] = largest_gap((value - kept.target).abs(), ids, names)
    return Report(
        data=table.name,
        rows=rows,
        unit=table.spec.unit,
        count=len(kept),
        left_out=scores.left_out,
        reasons=scores.reasons,
        metrics=_metrics(kept, value, scores, there, high - low),
        groups=groups,
        gaps=gaps,
    )


def _range(table: FaceTable, scores: Scores) -> tuple[float, float]:
    if scores.labels is not None:
        return float(scores.labels[0]), float(scores.labels[-1])
    return table.spec.label_min, table.spec.label_max


def _metrics(
    known: FaceTable, value: Tensor, scores: Scores, there: Tensor, span: float
) -> dict[str, float | None]:
    target = known.target
    sigma = known.spec.sigma if known.sigma is None else known.sigma
    found: dict[str, Tensor] = {
        "mae": mae(value, target),
        "e_error": e_error(value, target, sigma),
        "rmse": rmse(value, target),
        "pearson": pearson(value, target),
        "bias": bias(value, target),
    }
    for share in SCORE_SHARES:
        found[f"cs_{share * span:g}"] = cumulative_score(value, target, share * span)
    low, high = scores.interval[there].unbind(1)
    nan = torch.tensor(torch.nan)
    within = ((low <= target) & (target <= high)).double().mean()
    found["coverage_90"] = nan if bool(low.isnan().any()) else within
    found["width_90"] = (high - low).mean()
    found["crps"], found["emd"] = scores.crps[there].mean(), scores.emd[there].mean()
    shares = scores.calibration / len(known)
    all_known = not bool(scores.crps[there].isnan().any())
    found["calibration_error"] = mean_calibration_error(shares) if all_known else nan
    if known.spec.unit == GROUPS:
        group = scores.most_probable[there].round()  # the grid of a model may be finer
        found["accuracy"] = accuracy(group, target)
        found["one_off_accuracy"] = one_off_accuracy(group, target)
    numbers = {name: float(metric) for name, metric in found.items()}
    return {name: None if math.isnan(number) else number for name, number in numbers.items()}


def _label_groups(known: FaceTable, value: Tensor, low: float, high: float) -> list[GroupRow]:
    if known.spec.unit == "years":
        first = math.floor(low / 10) * 10 + 10
        borders = [float(year) for year in range(first, math.ceil(high), 10)]
    else:
        step = (high - low) / LABEL_GROUPS
        borders = [low + step * number for number in range(1, LABEL_GROUPS)]
    edges = [low, *borders, high]
    names = [f"{edges[i]:g} to {edges[i + 1]:g}" for i in range(len(edges) - 1)]
    ids = torch.bucketize(known.target, torch.tensor(borders, dtype=torch.float64), right=True)
    return _rows(names, value, known.target, ids)


def _rows(names: Sequence[str], value: Tensor, target: Tensor, ids: Tensor) -> list[GroupRow]:
    """Of groups that are not empty."""
    counts = torch.bincount(ids, minlength=len(names)).tolist()
    errors = group_mae(value, target, groups=ids, n_groups=len(names)).tolist()
    biases = group_bias(value, target, groups=ids, n_groups=len(names)).tolist()
    rows = zip(names, counts, errors, biases, strict=True)
    return [GroupRow(*row) for row in rows if row[1] > 0]


def write_report(report: Report, folder: Path, *, command: str = "") -> None:
    """Write ``evaluation.json``, all of it, and ``groups.csv``, a row per group.

    Args:
        report: what to write.
        folder: made if it is missing; files of the same names are replaced.
        command: what the user typed, for the record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "evaluation.json", {**asdict(report), "command": command})

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["column", *(column.name for column in fields(GroupRow))])
            for name, rows in report.groups.items():
                lines.writerows([name, *astuple(row)] for row in rows)

    replace_file(folder / "groups.csv", write)
