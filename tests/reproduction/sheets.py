"""Reading what `dldl-fast reproduce` wrote."""

from __future__ import annotations

import csv
from pathlib import Path


def read_lines(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Headers and lines of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
        return list(reader.fieldnames or []), lines


def read_page(path: Path) -> dict[str, dict[str, str]]:
    """The table of a page, by its first column and the titles of the others."""
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    headers, _, *lines = rows
    headers[0] = headers[0].strip("| ")
    return {line[0].strip("| "): dict(zip(headers[1:], line[1:], strict=True)) for line in lines}
