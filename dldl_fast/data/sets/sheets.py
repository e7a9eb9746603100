"""Tables that come as Excel workbooks, or as CSV files that were saved from them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import ParseError

from dldl_fast.data.base import DataError, MissingExtraError
from dldl_fast.data.folder import read_rows

MAX_WORKBOOK_BYTES = 1 << 30
"""Workbooks that are larger when they are unpacked are refused; they are read as a stream."""


def sheet_rows(path: Path, sheet: str, expected: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of a sheet or a CSV file, as numbers from 1 and fields as text ("": an empty cell).

    Args:
        path: a file .xlsx or .csv.
        sheet: regular expression of the workbook's sheet; without such a one, its first is read.
        expected: what should be in it, for the errors.

    Raises:
        DataError: naming the file, if it cannot be read.
        MissingExtraError: if a workbook is given and openpyxl is not installed.
    """
    if path.suffix.lower() == ".csv":
        yield from read_rows(path, expected)
        return
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: reading workbooks needs the package 'openpyxl', which is not installed; run: "
            f"pip install 'dldl_fast[sets]', or save the sheet as {path.with_suffix('.csv').name} "
            "beside it"
        ) from error
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_WORKBOOK_BYTES:
            raise DataError(
                f"{path}: unpacks to {unpacked / 2**30:.1f} GiB; "
                f"expected at most {MAX_WORKBOOK_BYTES / 2**30:.0f} GiB"
            )
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            named = [name for name in book.sheetnames if re.fullmatch(sheet, name)]
            cells = book[(named or book.sheetnames)[0]].iter_rows(values_only=True)
            for number, row in enumerate(cells, start=1):
                yield number, ["" if cell is None else str(cell).strip() for cell in row]
        finally:
            book.close()
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, ParseError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: cannot be read as a workbook ({error}); expected {expected}"
        ) from error
