"""Results on disk: one file of predictions for each finished run, so that a comparison goes on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dldl_fast.comparison.entries import Entry
from dldl_fast.data.folder import finite_number, read_fields
from dldl_fast.files import replace_file
from dldl_fast.resume import ResumeError, keep_settings

CONFIG_NAME = "config.json"
COLUMNS = ("row", "target", "prediction")


class Store:
    """The predictions of a comparison, below a folder.

    ``config.json`` holds the settings that all results there were made with. Predictions are
    ``predictions/ENTRY/seed0-fold0.csv`` with the columns ``row`` (of the data, from 0), ``target``
    and ``prediction``; a file is there in whole or not at all.

    Args:
        folder: made if missing.
        settings: everything that the predictions depend on, as JSON values.

    Raises:
        ResumeError: if the folder holds results of other settings, naming these.
        OSError: if the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        keep_settings(folder / CONFIG_NAME, settings)

    def path(self, entry: Entry, seed: int, fold: int) -> Path:
        """File of one run."""
        return self.folder / "predictions" / entry.name / f"seed{seed}-fold{fold}.csv"

    def save(
        self, entry: Entry, seed: int, fold: int, rows: Tensor, target: Tensor, prediction: Tensor
    ) -> None:
        """Write the predictions of one run."""
        path = self.path(entry, seed, fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Numbers are written with all their digits: a resumed comparison is equal to another.
        values = zip(rows.tolist(), target.tolist(), prediction.tolist(), strict=True)

        def write(part: Path) -> None:
            with part.open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(COLUMNS)
                table.writerows(values)

        replace_file(path, write)

    def load(self, entry: Entry, seed: int, fold: int, rows: Tensor) -> Tensor | None:
        """Predictions of a run for its test rows, float64 [M]; None if it has not finished.

        Raises:
            DataError: if the file is damaged.
            ResumeError: if it is of other rows.
        """
        path = self.path(entry, seed, fold)
        if not path.exists():
            return None
        found, prediction = [], []
        for number, fields in read_fields(path, COLUMNS, ",".join(COLUMNS)):
            where = f"{path}, row {number}"
            found.append(finite_number(fields["row"], "row", where))
            prediction.append(finite_number(fields["prediction"], "prediction", where))
        if found != rows.tolist():
            raise ResumeError(
                f"{path}: other rows than those of this fold; delete the file, and it will be "
                "made again"
            )
        return torch.tensor(prediction, dtype=torch.float64)
