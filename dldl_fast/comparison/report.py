"""The table of a comparison as CSV, Markdown and JSON."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dldl_fast.comparison.statistics import METRICS, Line, Score
from dldl_fast.files import replace_file, write_json

TITLES = {"mae": "MAE", "e_error": "e-error", "rmse": "RMSE", "pearson": "Pearson"}


def table_cells(line: Line) -> list[str]:
    """The cells of a line: name, metrics with spread, difference of the MAE and p-value."""
    return [
        line.name,
        *(_with_spread(line.scores[name]) for name in METRICS),
        "" if line.p_value is None else f"{line.difference:+.2g}",
        "" if line.p_value is None else format_p(line.p_value),
    ]


def table_titles() -> list[str]:
    """Titles of the columns of `table_cells`."""
    return ["", *(TITLES[name] for name in METRICS), "diff.", "p"]


def _with_spread(score: Score) -> str:
    if math.isnan(score.mean):
        return "n/a"
    digits = max(0, 3 - len(f"{abs(score.mean):.0f}".lstrip("0")))
    return f"{score.mean:.{digits}f} ± {score.spread:.{digits}f}"


def format_p(p_value: float) -> str:
    """A p-value with two digits, or a bound.

    Example:
        >>> format_p(0.0312), format_p(1e-9)
        ('0.031', '< 0.001')
    """
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def write_tables(
    out: Path,
    stem: str,
    lines: Sequence[Line],
    reference: str,
    about: Mapping[str, Any],
    notes: Sequence[str],
) -> None:
    """Write the table as ``STEM.csv``, ``STEM.md`` and ``STEM.json``.

    Args:
        out: folder, which exists.
        stem: name of the files.
        lines: one for each entry, in the order of the table.
        reference: name of the entry that the others were tested against.
        about: data, budget, versions and command, as JSON values.
        notes: sentences below the table.
    """
    replace_file(out / f"{stem}.csv", lambda path: _write_csv(path, lines))
    markdown = _markdown(lines, about, notes)
    replace_file(out / f"{stem}.md", lambda path: path.write_text(markdown, encoding="utf-8"))
    entries = [_json_line(line) for line in lines]
    record = {**about, "reference": reference, "notes": list(notes), "entries": entries}
    write_json(out / f"{stem}.json", record)


def _write_csv(path: Path, lines: Sequence[Line]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        columns = [f"{name}{suffix}" for name in METRICS for suffix in ("", "_spread")]
        table.writerow(["name", *columns, "mae_difference", "p_value"])
        for line in lines:
            scores = [value for name in METRICS for value in line.scores[name][:2]]
            p_value = "" if line.p_value is None else line.p_value
            table.writerow([line.name, *scores, line.difference, p_value])


def _markdown(lines: Sequence[Line], about: Mapping[str, Any], notes: Sequence[str]) -> str:
    titles = table_titles()
    rows = [titles, ["---", *["--:"] * (len(titles) - 1)], *map(table_cells, lines)]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items() if value != "")
    remarks = "\n".join(f"- {note}" for note in notes)
    return f"# {about['data']}\n\n{table}\n\n{remarks}\n\n## How it was made\n\n{facts}\n"


def _json_line(line: Line) -> dict[str, Any]:
    scores = {
        name: {
            "mean": _or_none(score.mean),
            "spread": _or_none(score.spread),
            "folds": [_or_none(value) for value in score.folds],
        }
        for name, score in line.scores.items()
    }
    return {
        "name": line.name,
        **scores,
        "mae_difference": line.difference,
        "p_value": line.p_value,
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
