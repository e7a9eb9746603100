"""The closing summary of a benchmark run, on whatever device it ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .cases import mode
from .record import RESULTS, append_csv


def report(
    terminalreporter: pytest.TerminalReporter,
    title: str,
    legend: str,
    table_of: Callable[[list[Any]], str],
    measurements: list[Any],
    run: Any,
    file: str,
) -> None:
    """A section of pytest's output, and lines in a CSV of the results (not in smoke mode)."""
    if not measurements:
        return
    terminalreporter.section(title)
    terminalreporter.write_line(legend)
    terminalreporter.write_line(table_of(measurements))
    terminalreporter.write_line(f"\n{run}")
    if mode() != "smoke":
        append_csv(RESULTS / file, run, measurements)
        terminalreporter.write_line(f"\nappended to {RESULTS / file}")
