"""Predictions as rows, and the CSV and JSON Lines files that hold them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dldl_fast.data.base import DataError
from dldl_fast.data.folder import finite_number, read_fields
from dldl_fast.faces.manifest import BOX, LANDMARKS
from dldl_fast.models.checkpoint import grid_from_json, grid_to_json
from dldl_fast.prediction.result import PictureResult

_FACE = (*BOX, "score", *LANDMARKS)

COLUMNS = ("path", "status", "reason", "face", "value", "std", "q05", "q50", "q95", *_FACE)
"""Of a row; those that a picture does not have are None (empty in CSV, null in JSON)."""

PREFIX = "p_"
"""Of the CSV columns with probabilities; what follows is the label."""

FORMATS = (".csv", ".jsonl")


def rows_of(result: PictureResult, *, distribution: bool = False) -> list[dict[str, Any]]:
    """What the files say of a picture: a row per face, numbered from 0, or one without a face.

    Args:
        result: of the picture.
        distribution: add the probabilities of the labels, as a list ``distribution``.

    Example:
        >>> (row,) = rows_of(PictureResult("a.jpg", (), "error", "a.jpg: no such file"))
        >>> row["path"], row["reason"], row["value"]
        ('a.jpg', 'a.jpg: no such file', None)
    """
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    empty |= {"path": result.name, "status": result.status, "reason": result.reason}
    if distribution:
        empty["distribution"] = None
    if not result.predictions:
        return [empty]
    rows = []
    for number, prediction in enumerate(result.predictions):
        row = {**empty, "face": number}
        row |= {name: getattr(prediction, name) for name in ("value", "std", "q05", "q50", "q95")}
        if prediction.face is not None:
            points = prediction.face.landmarks.reshape(-1).tolist()
            found = (*prediction.face.box, prediction.face.score, *points)
            row |= zip(_FACE, found, strict=True)
        if distribution:
            row["distribution"] = prediction.distribution.tolist()
        rows.append(row)
    return rows


class PredictionFile:
    """A file of predictions that is whole after every batch, whatever ends the process.

    Args:
        path: ``.csv`` or ``.jsonl``; its folder is made.
        labels: label grid, [K], to write the distributions as well: a column ``p_<label>`` for
            every label in CSV, an array ``distribution`` and a ``label_grid`` in JSON Lines.
        append: go on after what the file holds, instead of replacing it.

    Raises:
        OSError: if it cannot be written.
        ValueError: for another kind of file.
    """

    def __init__(self, path: Path, labels: Tensor | None = None, *, append: bool = False) -> None:
        check_format(path)
        self._is_csv = path.suffix == ".csv"
        self._labels = labels
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer, so that a batch is written by one call of the system.
        self._file = path.open("ab" if append else "wb", buffering=0)
        if self._is_csv and self._file.tell() == 0:
            grid = [] if labels is None else labels.tolist()
            self._append(_csv_line([*COLUMNS, *(f"{PREFIX}{label:.12g}" for label in grid)]))

    def write(self, results: Iterable[PictureResult]) -> None:
        """Append the rows of some pictures, all of them or none."""
        wanted = self._labels is not None
        rows = (row for result in results for row in rows_of(result, distribution=wanted))
        self._append("".join(map(self._line, rows)))

    def __enter__(self) -> PredictionFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _line(self, row: dict[str, Any]) -> str:
        if not self._is_csv:
            if self._labels is not None:
                row["label_grid"] = grid_to_json(self._labels)
            return json.dumps(row, allow_nan=False) + "\n"
        if self._labels is None:
            return _csv_line(row.values())
        probabilities = row.pop("distribution") or [None] * len(self._labels)
        return _csv_line([*row.values(), *probabilities])

    def _append(self, text: str) -> None:
        # A name of a file need not be Unicode.
        data = memoryview(text.encode("utf-8", errors="backslashreplace"))
        start = self._file.tell()
        try:
            while data:
                data = data[self._file.write(data) :]
        except BaseException:  # a full disk or Ctrl-C: no half row stays
            self._file.truncate(start)
            raise


def check_format(path: Path) -> None:
    """Raise ValueError unless predictions can be kept in a file of that name."""
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")


def _csv_line(values: Iterable[Any]) -> str:
    line = io.StringIO()
    # Eight digits: the model's own are fewer.
    cells = (f"{value:.8g}" if isinstance(value, float) else value for value in values)
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


class PredictionRow(NamedTuple):
    """A row of a file of predictions.

    Attributes:
        name: path of the picture.
        face: number of the face in its picture, from 0; None if the picture has no other row.
        value: None if there is no prediction.
        interval: its quantiles of 5 and 95 %, or None if the file does not have them.
        distribution: probabilities, float64 [K], or None if the file does not have them.
        labels: of the probabilities, float64 [K], or None.
    """

    name: str
    face: int | None
    value: float | None
    interval: tuple[float, float] | None
    distribution: Tensor | None
    labels: Tensor | None


def read_predictions(path: Path) -> Iterator[PredictionRow]:
    """Rows of a file that `PredictionFile` wrote, or of another with ``path`` and ``value``.

    Args:
        path: ``.csv`` or ``.jsonl``; read row by row.

    Raises:
        DataError: naming the file and the row.
        ValueError: for another kind of file.
    """
    check_format(path)
    grid, labels = None, None
    for where, fields in _csv_rows(path) if path.suffix == ".csv" else _json_rows(path):
        try:
            name, probabilities = fields["path"], fields["distribution"]
            face, value, low, high = (
                None if fields.get(key) in (None, "") else finite_number(fields[key], key, where)
                for key in ("face", "value", "q05", "q95")
            )
            distribution = None
            if probabilities is not None:
                distribution = torch.tensor([float(p) for p in probabilities], dtype=torch.float64)
                if fields["label_grid"] != grid:
                    grid = fields["label_grid"]
                    labels = grid_from_json(grid)
                if labels is None or len(labels) != len(distribution):
                    raise ValueError(f"expected a probability per label, got {len(distribution)}")
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{where}: {type(error).__name__}: {error}") from error
        interval = None if low is None or high is None else (low, high)
        number = None if face is None else int(face)
        yield PredictionRow(str(name), number, value, interval, distribution, labels)


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, fields in read_fields(path, ["path", "value"], "path,value[,...]"):
        row: dict[str, Any] = {"distribution": None, **fields}
        names = [name for name in fields if name.startswith(PREFIX)]
        if any(fields[name] for name in names):
            row["distribution"] = [fields[name] for name in names]
            row["label_grid"] = {"values": [float(name[len(PREFIX) :]) for name in names]}
        yield f"{path}, row {number}", row


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                fields = json.loads(line)
                if not isinstance(fields, dict):
                    raise ValueError(f"expected an object, got {type(fields).__name__}")
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: not JSON ({error})") from error
            yield f"{path}, line {number}", {"distribution": None, **fields}
