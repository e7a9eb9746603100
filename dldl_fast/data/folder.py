"""Tables of labels: reading and checking them, whatever is in them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from torch import Tensor

from dldl_fast.data.base import DataError

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
