"""A reproduction as Markdown, CSV, picture and JSON."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dldl_fast.files import replace_file, write_json
from dldl_fast.reproduction.measurements import PAPER, Cell, Sheet


@dataclass(frozen=True)
class Outcome:
    """What came of a table or a figure.

    Attributes:
        sheet: the table of the page.
        draw: writes the picture, a PNG file.
        differences: in what the measurement is another one than the paper's, one sentence each.
        remarks: what else a reader must know.
        numbers: what the CSV file holds; None: the table of the page.
        facts: settings and data, as JSON values.
    """

    sheet: Sheet
    draw: Callable[[Path], object]
    differences: Sequence[str]
    remarks: Sequence[str] = ()
    numbers: Sheet | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_outcome(
    out: Path, name: str, title: str, outcome: Outcome, made: Mapping[str, str]
) -> list[str]:
    """Write ``NAME.md``, ``NAME.csv``, ``NAME.png`` and ``NAME.json``.

    Args:
        out: folder, which exists.
        name: of the table or figure.
        title: heading of the page.
        outcome: what to write.
        made: command, versions and machine.

    Returns:
        The names of the files.
    """
    numbers = outcome.numbers or outcome.sheet
    page = _page(name, title, outcome, made)
    replace_file(out / f"{name}.png", outcome.draw)
    replace_file(out / f"{name}.csv", lambda path: _write_csv(path, numbers))
    replace_file(out / f"{name}.md", lambda path: path.write_text(page, encoding="utf-8"))
    record = {
        "name": name,
        "title": title,
        **made,
        **outcome.facts,
        "differences": list(outcome.differences),
        "remarks": list(outcome.remarks),
        "table": {"headers": outcome.sheet.headers, "lines": outcome.sheet.lines},
    }
    write_json(out / f"{name}.json", record)
    return [f"{name}.{ending}" for ending in ("md", "csv", "png", "json")]


def _write_csv(path: Path, sheet: Sheet) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(sheet.headers)
        table.writerows(["" if cell is None else cell for cell in line] for line in sheet.lines)


def _page(name: str, title: str, outcome: Outcome, made: Mapping[str, str]) -> str:
    parts = [f"# {title}", markdown(outcome.sheet)]
    if outcome.remarks:
        parts.append(_bullets(outcome.remarks))
    parts += [
        "## What differs from the paper",
        _bullets(outcome.differences),
        f"![{title}]({name}.png)",
        "## How it was made",
        _bullets([f"{key}: {value}" for key, value in made.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def markdown(sheet: Sheet) -> str:
    """A table in Markdown.

    Example:
        >>> print(markdown(Sheet(["", "MAE (paper)", "MAE (measured)"], [["DEX", 3.25, None]])))
        |  | MAE (paper) | MAE (measured) |
        | --- | --- | --- |
        | DEX | 3.25 | not measured |
    """
    rows = [list(sheet.headers), ["---"] * len(sheet.headers)]
    for line in sheet.lines:
        rows.append([_text(cell, title) for cell, title in zip(line, sheet.headers, strict=True)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _text(cell: Cell, title: str) -> str:
    if cell is None:
        return "" if title.endswith(PAPER) else "not measured"
    if isinstance(cell, float):
        if title.endswith(PAPER):
            return f"{cell:g}"
        return f"{cell:.4g}" if abs(cell) < 1e4 else f"{cell:.0f}"
    return str(cell).replace("|", "\\|").replace("\n", " ")
