"""Cases of opcodes that do the same to two values at once."""

from __future__ import annotations

from collections.abc import Callable

from tests.ptx.cases.case import telling_values


def pairwise(function: Callable[..., float]) -> Callable[..., tuple[float, float]]:
    """A function of pairs, from one of their parts."""

    def both(*pairs: tuple[float, float]) -> tuple[float, float]:
        low, high = zip(*pairs, strict=True)
        return function(*low), function(*high)

    return both


def pairs(t: str, count: int) -> tuple[tuple[tuple[float, float], ...], ...]:
    """The telling values, both halves different, in enough combinations."""
    values = telling_values(t)
    n = len(values)
    return tuple(
        tuple(
            (values[(i + k * j) % n], values[(3 * i + k * (j + 1) + 5) % n]) for k in range(count)
        )
        for i in range(n)
        for j in range(n)
    )
