"""Cases of float16 and bfloat16 arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.ptx.cases import exact
from tests.ptx.cases.case import Case, telling_values
from tests.ptx.cases.exact import operation


def _pairwise(function: Callable[..., float]) -> Callable[..., tuple[float, float]]:
    def both(*pairs: tuple[float, float]) -> tuple[float, float]:
        low, high = zip(*pairs, strict=True)
        return function(*low), function(*high)

    return both


def _pairs(t: str, count: int) -> tuple[tuple[tuple[float, float], ...], ...]:
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


def cases() -> Iterator[Case]:
    """All of them."""
    for t in ("f16", "bf16"):
        functions: list[tuple[str, int, Callable[..., float]]] = [
            ("fma.rn", 3, operation(t, exact.fma)),
            ("min", 2, exact.minimum),
            ("max", 2, exact.maximum),
            ("min.NaN", 2, exact.or_nan(exact.minimum)),
            ("max.NaN", 2, exact.or_nan(exact.maximum)),
            ("neg", 1, lambda x: -x),
            ("abs", 1, abs),
        ]
        for name, plain in (("add", exact.add), ("sub", exact.sub), ("mul", exact.mul)):
            functions += [(name, 2, operation(t, plain)), (f"{name}.rn", 2, operation(t, plain))]
        for name, count, function in functions:
            yield Case(f"{name}.{t}", f"{t} = " + f"{t} " * count, function)
            yield Case(
                f"{name}.{t}x2",
                f"{t}x2 = " + f"{t}x2 " * count,
                _pairwise(function),
                _pairs(t, count),
            )
