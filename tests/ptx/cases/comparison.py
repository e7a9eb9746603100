"""Cases of setp, selp and testp."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator

from tests.ptx.cases.case import Case, telling_values
from tests.ptx.cases.exact import flush
from tests.ptx.cases.pairs import pairs

_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_OF_UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
_COMBINED: dict[str, Callable[[bool, bool], bool]] = {
    "and": lambda x, c: x and c,
    "or": lambda x, c: x or c,
    "xor": lambda x, c: x != c,
}
Compare = Callable[[float, float], bool]


def _has_nan(x: float, y: float) -> bool:
    return math.isnan(x) or math.isnan(y)


def _ordered(compare: Compare) -> Compare:
    return lambda x, y: not _has_nan(x, y) and compare(x, y)


def _or_unordered(compare: Compare) -> Compare:
    return lambda x, y: _has_nan(x, y) or compare(x, y)


def _of_floats() -> Iterator[tuple[str, Compare]]:
    yield "num", lambda x, y: not _has_nan(x, y)
    yield "nan", _has_nan
    for name, compare in _ORDERS.items():
        yield name, _ordered(compare)
        yield name + "u", _or_unordered(compare)


def _setp(name: str, t: str, compare: Compare, modifier: str = "") -> Iterator[Case]:
    yield Case(
        f"setp.{name}{modifier}.{t}",
        f"pred pred = {t} {t}",
        lambda x, y: (compare(x, y), not compare(x, y)),
    )
    for how, combine in _COMBINED.items():
        yield Case(
            f"setp.{name}.{how}{modifier}.{t}",
            f"pred pred = {t} {t} pred",
            lambda x, y, c, f=combine: (f(compare(x, y), c), f(not compare(x, y), c)),
        )


def _after_flush(compare: Compare) -> Compare:
    return lambda x, y: compare(flush(x), flush(y))


def cases() -> Iterator[Case]:
    """All of them."""
    for name, compare in _ORDERS.items():
        types = ["u16", "u32", "u64", "s16", "s32", "s64"]
        for t in types + (["b16", "b32", "b64"] if name in ("eq", "ne") else []):
            yield from _setp(name, t, compare)
    for name, order in _OF_UNSIGNED.items():
        for t in ("u16", "u32", "u64"):
            yield from _setp(name, t, _ORDERS[order])
    for name, compare in _of_floats():
        for t in ("f16", "bf16", "f32", "f64"):
            yield from _setp(name, t, compare)
        yield from _setp(name, "f32", _after_flush(compare), ".ftz")
        for t in ("f16", "bf16"):
            yield Case(
                f"setp.{name}.{t}x2",
                f"pred pred = {t}x2 {t}x2",
                lambda x, y, f=compare: (f(x[0], y[0]), f(x[1], y[1])),
                pairs(t, 2),
            )
    for t in ("b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64"):
        values = telling_values(t)
        yield Case(
            f"selp.{t}",
            f"{t} = {t} {t} pred",
            lambda x, y, c: x if c else y,
            tuple((x, y, c) for x in values[:6] for y in values[3:] for c in (False, True)),
        )
    for t, least in (("f32", 2.0**-126), ("f64", 2.0**-1022)):
        for name, test in (
            ("finite", math.isfinite),
            ("infinite", math.isinf),
            ("notanumber", math.isnan),
            ("number", lambda x: not math.isnan(x)),
            ("normal", lambda x, least=least: math.isfinite(x) and abs(x) >= least),
            ("subnormal", lambda x, least=least: 0 < abs(x) < least),
        ):
            yield Case(f"testp.{name}.{t}", f"pred = {t}", test)
