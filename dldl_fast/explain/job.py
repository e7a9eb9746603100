"""All pictures of a model and a data set, as `dldl-fast explain` writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from dldl_fast.data.face_table import FaceTable
from dldl_fast.evaluation import Report, Scores, make_report
from dldl_fast.explain.curves import risk_coverage
from dldl_fast.explain.faces import face_batches, faces_of_rows, score_maps
from dldl_fast.explain.occlusion import Occlusion, occlusion
from dldl_fast.explain.pictures import (
    ShownFace,
    curves_figure,
    gallery_figure,
    occlusion_figure,
    score_map_figure,
)
from dldl_fast.files import replace_file, write_json
from dldl_fast.metrics.distributions import CALIBRATION_LEVELS
from dldl_fast.prediction import AgeEstimator

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Explanation:
    """What is known of a model on a data set.

    Args:
        estimator: the model.
        table: the rows, with their true values.
        scores: its predictions for them.
        rows: which rows of the data these are, in words.
        workers: threads that read photos and find faces.
        allow_outside: whether the table may name photos outside of its folder.

    Attributes:
        count: number of rows with a prediction.
        report: all metrics.
        occlusion: what `hide_parts` found; None before.

    Raises:
        DataError: if no row has a prediction.
    """

    def __init__(
        self,
        estimator: AgeEstimator,
        table: FaceTable,
        scores: Scores,
        *,
        rows: str = "all rows",
        workers: int = 1,
        allow_outside: bool = False,
    ) -> None:
        self.estimator, self.table, self.scores = estimator, table, scores
        self.report: Report = make_report(table, scores, rows=rows)
        self.predicted = (~scores.value.isnan()).nonzero()[:, 0].tolist()
        self.count = len(self.predicted)
        self.errors = (scores.value - table.target).abs()
        self.occlusion: Occlusion | None = None
        self._reading: dict[str, Any] = {"workers": workers, "allow_outside": allow_outside}

    def hide_parts(
        self, *, batch_size: int, mirror: bool, advance: Callable[[int], object]
    ) -> None:
        """Measure `occlusion`; `advance` is told of every batch how many faces are done."""
        faces = faces_of_rows(self.estimator, self.table, self.predicted, **self._reading)
        targets = self.table.target[self.predicted]

        def counted() -> Any:
            for images, target in face_batches(self.estimator, faces, targets, batch_size):
                yield images, target
                advance(len(images))

        self.occlusion = occlusion(
            self.estimator.model,
            counted(),
            flip=self.estimator.flip,
            mirror=mirror,
            batch_size=batch_size,
        )

    def shown(self, rows: Sequence[int], *, maps: bool = False) -> list[ShownFace]:
        """The faces of some rows, with their score maps if the model has any."""
        faces = list(faces_of_rows(self.estimator, self.table, rows, **self._reading))
        scores = score_maps(self.estimator, faces) if maps else [None] * len(faces)
        return [
            ShownFace(face, float(self.table.target[row]), float(self.scores.value[row]), one)
            for face, row, one in zip(faces, rows, scores, strict=True)
        ]

    def rows_by(self, key: Tensor) -> list[int]:
        """The rows with a prediction, those with the smallest key first."""
        return sorted(self.predicted, key=lambda row: (float(key[row]), row))


def write_explanation(
    found: Explanation, folder: Path, *, count: int = 8, command: str = ""
) -> list[str]:
    """Write all pictures as PNG files, and their numbers as ``explain.json``.

    Args:
        found: what to draw.
        folder: made if it is missing; files of the same names are replaced.
        count: faces in a row of a picture.
        command: what the user typed, for the record.

    Returns:
        The names of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unit = found.report.unit
    count = min(count, found.count)
    figures: dict[str, Figure] = {}
    by_label = found.rows_by(found.table.target)
    spread = np.linspace(0, len(by_label) - 1, count).round().astype(int)
    faces = found.shown([by_label[place] for place in spread], maps=True)
    if all(one.scores is not None for one in faces):
        title = "Score maps: bright places speak most for the prediction"
        figures["score_maps.png"] = score_map_figure([(title, faces)], unit)
    by_error = found.rows_by(found.errors)
    figures["best_and_worst.png"] = gallery_figure(
        [
            ("Best predictions", found.shown(by_error[:count])),
            ("Worst predictions", found.shown(by_error[-count:][::-1])),
        ],
        unit,
    )
    observed = found.scores.calibration / found.count
    errors, deviations = found.errors[found.predicted], found.scores.std[found.predicted]
    coverage, risk = risk_coverage(errors, deviations)
    figures["curves.png"] = curves_figure(
        observed, coverage, risk, found.report.groups["label"], unit
    )
    numbers: dict[str, Any] = {
        "data": found.report.data,
        "rows": found.report.rows,
        "unit": unit,
        "count": found.count,
        "command": command,
        "reliability": {"level": CALIBRATION_LEVELS.tolist(), "observed": observed.tolist()},
        "risk_coverage": {"coverage": coverage.tolist(), "mae": risk.tolist()},
    }
    if found.occlusion is not None:
        hidden = found.occlusion
        mean_face = found.estimator.pixels_of(hidden.mean_image)
        figures["occlusion.png"] = occlusion_figure(hidden, mean_face, unit)
        numbers["occlusion"] = {
            "mae": hidden.mae,
            "squares": hidden.squares.tolist(),
            "stripes": hidden.stripes.tolist(),
        }
    for name, figure in figures.items():
        replace_file(folder / name, partial(figure.savefig, format="png"))
    write_json(folder / "explain.json", numbers)
    return [*figures, "explain.json"]
