"""What was measured, set beside what the paper prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dldl_fast.reproduction.paper import Column, PaperTable

PAPER, MEASURED = "(paper)", "(measured)"
"""How the title of every column with numbers ends."""

Cell = float | int | str | None


@dataclass(frozen=True)
class Sheet:
    """A table as it is written.

    Attributes:
        headers: titles of the columns.
        lines: cells; None is a number that there is not.
    """

    headers: list[str]
    lines: list[list[Cell]]


@dataclass
class Measurements:
    """Numbers by row and column, and why others are missing. The paper's are not among them.

    Attributes:
        values: measured numbers.
        reasons: why a row has none, by row and data set; "" for what depends on no data.
    """

    values: dict[str, dict[Column, float]] = field(default_factory=dict)
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, row: str, data: str, scores: Mapping[str, float]) -> None:
        """Take in what was measured of a row on a data set, by name of the metric."""
        found = self.values.setdefault(row, {})
        found.update({Column(data, metric): value for metric, value in scores.items()})

    def leave_out(self, row: str, data: str, reason: str) -> None:
        """Say why nothing was measured of a row on a data set."""
        self.reasons.setdefault(row, {})[data] = reason

    def columns(self) -> list[Column]:
        """What was measured of any row, in the order in which it came."""
        found = (column for columns in self.values.values() for column in columns)
        return list(dict.fromkeys(found))


def beside_paper(paper: PaperTable, found: Measurements, otherwise: str) -> Sheet:
    """The paper's columns, and beside them those that were measured.

    A column that was measured stands to the right of the paper's column of the same data set and
    metric; those that the paper does not have stand behind all of its columns, and rows that it
    does not have below its rows.

    Args:
        paper: the table of the paper.
        found: what was measured.
        otherwise: why a row of the paper has no measurement, where nothing else says it.

    Example:
        >>> mae = Column("morph", "mae")
        >>> found = Measurements()
        >>> found.add("constant", "morph", {"mae": 9.5})
        >>> sheet = beside_paper(PaperTable("A table", (mae,), {"DEX": (3.25,)}), found, "no time")
        >>> sheet.headers
        ['', 'Morph MAE (paper)', 'Morph MAE (measured)', 'why not measured']
        >>> sheet.lines
        [['DEX', 3.25, None, 'no time'], ['constant', None, 9.5, '']]
    """
    measured = found.columns()
    ordered: list[tuple[Column, str]] = []
    for column in paper.columns:
        ordered.append((column, PAPER))
        if column in measured:
            ordered.append((column, MEASURED))
    ordered += [(column, MEASURED) for column in measured if column not in paper.columns]
    lines: list[list[Cell]] = []
    for row in dict.fromkeys([*paper.rows, *found.values, *found.reasons]):
        values = found.values.get(row, {})
        cells: list[Cell] = [
            paper.value(row, column) if origin == PAPER else values.get(column)
            for column, origin in ordered
        ]
        given = found.reasons.get(row, {}).items()
        reasons = [f"{data}: {reason}" if data else reason for data, reason in given]
        why = "; ".join(reasons) or ("" if values else otherwise)
        lines.append([row, *cells, why])
    headers = ["", *(f"{column.title()} {origin}" for column, origin in ordered)]
    return Sheet([*headers, "why not measured"], lines)
