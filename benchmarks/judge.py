"""Figures beside the bars that they have to reach."""

from __future__ import annotations

from typing import NamedTuple

JUDGED_HEADERS = ["figure", "bar", "measured", "reached"]


class Judged(NamedTuple):
    """A line of a table of bars."""

    where: str
    figure: str
    bar: str
    measured: str
    reached: str


def at_least(where: str, figure: str, measured: float, bar: float | None) -> Judged:
    """A figure that has to be that large, or one without a bar."""
    if bar is None:
        return Judged(where, figure, "", f"{measured:.2f}", "")
    return Judged(where, figure, f">= {bar}", f"{measured:.2f}", _yes_or_no(measured >= bar))


def at_most(where: str, figure: str, measured: float, bar: float | None) -> Judged:
    """A figure that has to be that small, or one without a bar."""
    if bar is None:
        return Judged(where, figure, "", f"{measured:.2f}", "")
    return Judged(where, figure, f"<= {bar}", f"{measured:.2f}", _yes_or_no(measured <= bar))


def not_judged(where: str, figure: str, measured: float, bar: float, reason: str) -> Judged:
    """A figure whose bar is for other machines."""
    return Judged(where, figure, f">= {bar}", f"{measured:.2f}", reason)


def _yes_or_no(reached: bool) -> str:
    return "yes" if reached else "NO"
