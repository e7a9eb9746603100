"""The user's own pictures: a folder with a table of their labels."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import torch
from torch import Tensor

from dldl_fast.data.augment import augment_photo
from dldl_fast.data.base import DataError, FaceData, Progress, Split, hold_out
from dldl_fast.data.picture_store import decode_pictures

TABLE_NAME = "labels.csv"


class Row(NamedTuple):
    """A checked row of the table."""

    number: int
    path: Path
    label: float
    sigma: float | None
    split: str | None
    fields: Mapping[str, str]
    """All columns as they are in the table."""


def read_table(
    path: Path,
    labels: Tensor | None,
    *,
    allow_zero_sigma: bool = True,
    group_column: str | None = None,
    splits: Sequence[str] = ("train", "test"),
    allow_outside: bool = False,
) -> list[Row]:
    """Read and check a table of labels.

    Its first row names the columns, in any order: ``path`` (of a picture, relative to the folder
    of the table), ``label``, and optionally ``sigma`` (standard deviation of the label) and
    ``split``. Other columns are left alone.

    Args:
        path: the CSV file, UTF-8 and comma-separated.
        labels: label grid, [K], that the labels must lie within, or None.
        allow_zero_sigma: whether the target distribution has a limit for sigma = 0.
        group_column: a column that must be there besides ``path`` and ``label``.
        splits: what ``split`` may hold.
        allow_outside: whether a picture may lie outside the folder of the table.

    Raises:
        DataError: naming the file and the row (the header is row 1, as a spreadsheet shows it).
    """
    root = path.parent.resolve()
    ends = None if labels is None else (float(labels[0]), float(labels[-1]))
    rows = []
    required = ["path", "label", *([] if group_column is None else [group_column])]
    for number, fields in read_fields(path, required, "path,label[,sigma]"):
        where = f"{path}, row {number}"
        label = finite_number(fields["label"], "label", where)
        if ends is not None and not ends[0] <= label <= ends[1]:
            raise DataError(
                f"{where}: label {label:g} is outside the label grid [{ends[0]:g}, {ends[1]:g}]; "
                "correct it or choose --label-min and --label-max"
            )
        sigma = finite_number(fields["sigma"], "sigma", where) if "sigma" in fields else None
        if sigma is not None and (sigma < 0 or (sigma == 0 and not allow_zero_sigma)):
            least = ">= 0" if allow_zero_sigma else "> 0 for this kind of target distribution"
            raise DataError(f"{where}: sigma must be {least}, got {sigma:g}")
        split = fields.get("split")
        if split is not None and split not in splits:
            known = " or ".join(map(repr, splits))
            raise DataError(f"{where}: split must be {known}, got {split!r}")
        picture = resolved_path(root, fields["path"], where, allow_outside=allow_outside)
        rows.append(Row(number, picture, label, sigma, split, fields))
    if not rows:
        raise DataError(f"{path}: the table has no rows below its header")
    return rows


def read_fields(
    path: Path, required: Sequence[str], expected: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header, as numbers (the header is 1) and fields by column.

    Args:
        path: the file, UTF-8 and comma-separated.
        required: columns that must be there.
        expected: what the header should be, for the errors.

    Raises:
        DataError: naming the file and the row.
    """
    rows = read_rows(path, f"columns {expected}")
    _, header = next(rows, (1, []))
    if not header:
        raise DataError(f"{path}: the file is empty; expected columns {expected}")
    for name in required:
        if name not in header:
            raise DataError(
                f"{path}, row 1: no column {name!r}; expected {expected}, got {','.join(header)}"
            )
    for number, values in rows:
        if not values:
            continue
        if len(values) != len(header):
            raise DataError(
                f"{path}, row {number}: expected {len(header)} fields, got {len(values)}"
            )
        yield number, dict(zip(header, values, strict=True))


def read_rows(
    path: Path, expected: str, *, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file, as numbers from 1 and fields without spaces around them.

    Args:
        path: the file, UTF-8.
        expected: what should be in it, for the errors.
        delimiter: what is between two fields.

    Raises:
        DataError: naming the file.
    """
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for number, values in enumerate(reader, start=1):
                yield number, [value.strip() for value in values]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected {expected}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error})") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def finite_number(text: str, name: str, where: str) -> float:
    """A field of a table as a number; a DataError names it and where it is."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} must be a finite number, got {text!r}")
    return value


def resolved_path(root: Path, text: str, where: str, *, allow_outside: bool = False) -> Path:
    """The file that a table names, without symbolic links.

    Args:
        root: resolved folder that the path is relative to.
        text: the path.
        where: the file and row that it comes from, for the errors.
        allow_outside: whether it may lead outside `root`, by itself or through a link.

    Raises:
        DataError: if it may not, but does.
    """
    named = Path(text)
    # A drive letter makes a path absolute on Windows alone; refuse it everywhere.
    if not text or (
        not allow_outside
        and (named.is_absolute() or ".." in named.parts or PureWindowsPath(text).drive)
    ):
        raise DataError(
            f"{where}: path must be relative to the folder of the table and without '..', "
            f"got {text!r}"
        )
    try:
        resolved = (root / named).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{where}: path {text!r} cannot be resolved ({error})") from error
    if not allow_outside and not resolved.is_relative_to(root):
        raise DataError(f"{where}: path {text!r} leads outside {root}")
    return resolved


def read_pictures(
    table: Path, rows: Sequence[Row], image_size: int, progress: Progress | None = None
) -> Tensor:
    """The pictures of a table's rows, uint8 [N, 3, image_size, image_size].

    Raises:
        DataError: naming the file and the row, or if they would not fit into memory.
    """
    root = table.parent.resolve()
    return decode_pictures(
        root,
        [str(row.path) for row in rows],
        image_size,
        cache=None,
        progress=progress,
        places=[f"{table}, row {row.number}" for row in rows],
    )


def load_folder(
    source: Path,
    labels: Tensor,
    *,
    image_size: int,
    test_fraction: float = 0.2,
    seed: int = 0,
    allow_zero_sigma: bool = True,
    progress: Progress | None = None,
) -> FaceData:
    """Read the pictures that a table names; all of them, so that a bad one shows at the start.

    With a column ``split`` that decides what is held out, otherwise a random share of the rows.
    Training images are zoomed, moved and changed in brightness a little, but not mirrored, since
    a label may have a side.

    Args:
        source: a folder with ``labels.csv``, or a CSV file; see `read_table` for its columns.
        labels: label grid, [K].
        image_size: height and width of the images, in pixels.
        test_fraction: share of the rows to hold out, without a column ``split``.
        seed: selects those rows.
        allow_zero_sigma: whether a sigma of 0 is accepted.
        progress: told about every picture.

    Raises:
        DataError: naming the file and the row.
    """
    if not source.exists():
        raise DataError(
            f"{source}: no such file or folder; expected head-roll, orl-age, a folder with "
            f"{TABLE_NAME}, or a CSV file"
        )
    table = source / TABLE_NAME if source.is_dir() else source
    rows = read_table(table, labels, allow_zero_sigma=allow_zero_sigma)
    test = _test_rows(table, rows, test_fraction, seed)
    images = read_pictures(table, rows, image_size, progress)
    target = torch.tensor([row.label for row in rows], dtype=torch.float64)
    sigmas = [row.sigma for row in rows if row.sigma is not None]
    sigma = torch.tensor(sigmas, dtype=torch.float64) if sigmas else None
    return FaceData(
        name=source.resolve().name if source.is_dir() else source.stem,
        unit="label units",
        labels=labels,
        train=Split(images[~test], target[~test], None if sigma is None else sigma[~test]),
        test=Split(images[test], target[test], None if sigma is None else sigma[test]),
        augment=augment_photo,
        baseline=float(target[~test].median()),
    )


def _test_rows(table: Path, rows: list[Row], test_fraction: float, seed: int) -> Tensor:
    if rows[0].split is None:
        if len(rows) < 2:
            raise DataError(f"{table}: a training and a test part need at least 2 rows, got 1")
        return hold_out(len(rows), test_fraction, seed)
    test = torch.tensor([row.split == "test" for row in rows])
    if bool(test.all()) or not bool(test.any()):
        raise DataError(
            f"{table}: the column 'split' must hold both 'train' and 'test', "
            f"got only {rows[0].split!r}"
        )
    return test
