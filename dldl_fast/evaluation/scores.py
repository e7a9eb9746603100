"""Predictions beside the true values, gathered row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.photos import Photo
from dldl_fast.functional import expectation, label_distribution
from dldl_fast.metrics.distributions import (
    CALIBRATION_LEVELS,
    calibration_rows,
    crps_rows,
    emd_rows,
)
from dldl_fast.prediction.estimator import AgeEstimator
from dldl_fast.prediction.table import read_predictions

REASONS_KEPT = 5

_CHUNK = 256


class RowPrediction(NamedTuple):
    """What was predicted for a row of a table.

    Attributes:
        row: its number.
        value: the predicted value; None: there is no prediction.
        reason: why there is none.
        interval: quantiles of 5 and 95 %, or None: not known.
        distribution: probabilities of the labels, [K], or None: not known.
        labels: label grid, [K], or None.
    """

    row: int
    value: float | None
    reason: str = ""
    interval: tuple[float, float] | None = None
    distribution: Tensor | None = None
    labels: Tensor | None = None


@dataclass
class Scores:
    """Predictions for the rows of a table, and what follows from their distributions.

    Attributes:
        value: predicted values, float64 [N]; NaN: none.
        interval: quantiles of 5 and 95 %, float64 [N, 2]; NaN: not known.
        most_probable: most probable label of every row, float64 [N]; NaN: not known.
        std: standard deviation of every predicted distribution, float64 [N]; NaN: not known.
        crps: continuous ranked probability score of every row, float64 [N]; NaN: not known.
        emd: distance to the target distribution of every row, float64 [N]; NaN: not known.
        calibration: sum over all rows of what `dldl_fast.metrics.calibration_error` averages, [99].
        left_out: how many rows have no prediction.
        reasons: why, for the first few of them.
        labels: label grid of the predictions, [K], or None: not known.
    """

    value: Tensor
    interval: Tensor
    most_probable: Tensor
    std: Tensor
    crps: Tensor
    emd: Tensor
    calibration: Tensor
    left_out: int = 0
    reasons: list[str] = field(default_factory=list)
    labels: Tensor | None = None


def photos_of_rows(
    table: FaceTable, rows: Iterable[int], *, allow_outside: bool = False
) -> Iterator[Photo]:
    """The pictures of some rows of a table, which may lie outside its folder only if allowed."""
    root = table.root.resolve()
    return (Photo(table.paths[row], root, allow_outside, table.name) for row in rows)


def model_predictions(
    estimator: AgeEstimator,
    table: FaceTable,
    *,
    batch_size: int = 32,
    workers: int = 1,
    allow_outside: bool = False,
) -> Iterator[RowPrediction]:
    """Predictions of a model for the pictures of a table; of several faces the largest."""
    pictures = photos_of_rows(table, range(len(table)), allow_outside=allow_outside)
    results = estimator.predict_many(pictures, batch_size=batch_size, workers=workers)
    for row, result in enumerate(results):
        if not result.predictions:
            yield RowPrediction(row, None, result.reason)
            continue
        first = result.predictions[0]
        yield RowPrediction(
            row,
            first.value,
            interval=(first.q05, first.q95),
            distribution=first.distribution,
            labels=estimator.labels,
        )


def file_predictions(path: Path, table: FaceTable) -> Iterator[RowPrediction]:
    """Predictions for the pictures of a table from a file, see `read_predictions`.

    Of several rows of a picture the first counts, its largest face. Pictures that the table does
    not name are left alone.

    Raises:
        DataError: naming the file and the row.
    """
    rows: dict[PurePosixPath, list[int]] = {}
    for row, name in enumerate(table.paths):
        rows.setdefault(PurePosixPath(name), []).append(row)
    for found in read_predictions(path):
        for row in rows.pop(PurePosixPath(found.name), []):
            yield RowPrediction(
                row,
                found.value,
                "no prediction in the file",
                found.interval,
                found.distribution,
                found.labels,
            )
    for missing in rows.values():
        for row in missing:
            yield RowPrediction(row, None, "no row in the file of predictions")


def gather(table: FaceTable, predictions: Iterable[RowPrediction]) -> Scores:
    """Take all predictions in; of their distributions only a few are alive at any time.

    Raises:
        DataError: if the label grid changes from row to row.
    """
    count = len(table)

    def unknown(*shape: int) -> Tensor:
        return torch.full(shape, torch.nan, dtype=torch.float64)

    scores = Scores(
        value=unknown(count),
        interval=unknown(count, 2),
        most_probable=unknown(count),
        std=unknown(count),
        crps=unknown(count),
        emd=unknown(count),
        calibration=torch.zeros_like(CALIBRATION_LEVELS),
    )
    stream = iter(predictions)
    while chunk := list(islice(stream, _CHUNK)):
        with_distribution = []
        for one in chunk:
            if one.value is None:
                scores.left_out += 1
                if len(scores.reasons) < REASONS_KEPT:
                    scores.reasons.append(f"{table.paths[one.row]}: {one.reason}")
                continue
            scores.value[one.row] = one.value
            if one.interval is not None:
                scores.interval[one.row] = torch.tensor(one.interval, dtype=torch.float64)
            if one.distribution is not None and one.labels is not None:
                if scores.labels is None:
                    scores.labels = one.labels
                if not torch.equal(scores.labels, one.labels):
                    raise DataError("the predictions are on different label grids")
                with_distribution.append(one)
        if with_distribution:
            _add_distributions(scores, table, with_distribution)
    return scores


def _add_distributions(scores: Scores, table: FaceTable, chunk: list[RowPrediction]) -> None:
    assert scores.labels is not None  # for the type checker: gather has just set it
    rows = torch.tensor([one.row for one in chunk])
    p = torch.stack([one.distribution for one in chunk if one.distribution is not None])
    scores.most_probable[rows] = scores.labels[p.argmax(1)]
    target = table.target[rows]
    sigma = table.spec.sigma if table.sigma is None else table.sigma[rows]
    # The softmax of a logarithm is the distribution itself.
    _, scores.std[rows] = expectation(p.log(), scores.labels, return_std=True)
    scores.crps[rows] = crps_rows(p, target, scores.labels)
    wanted = label_distribution(target, scores.labels, sigma)
    scores.emd[rows] = emd_rows(p, wanted, scores.labels)
    scores.calibration += calibration_rows(p, target, scores.labels).sum(0)
