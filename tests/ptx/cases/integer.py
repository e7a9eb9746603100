"""Cases of integer arithmetic, in Python's integers of any size. Results wrap when encoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.ptx.cases.case import Case, telling_values


def _quotient(x: int, y: int) -> int:
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def _clamp(x: int) -> int:
    return max(-(1 << 31), min(x, (1 << 31) - 1))


def _without_zero(t: str) -> tuple[tuple[Any, ...], ...]:
    values = telling_values(t)
    return tuple((x, y) for x in values for y in values if y)


def _both_signs(letter: str) -> Iterator[Case]:
    for size in (16, 32, 64):
        t = f"{letter}{size}"
        two, three = f"{t} = {t} {t}", f"{t} = {t} {t} {t}"
        yield Case(f"add.{t}", two, lambda x, y: x + y)
        yield Case(f"sub.{t}", two, lambda x, y: x - y)
        yield Case(f"mul.lo.{t}", two, lambda x, y: x * y)
        yield Case(f"mul.hi.{t}", two, lambda x, y, n=size: x * y >> n)
        yield Case(f"mad.lo.{t}", three, lambda x, y, z: x * y + z)
        yield Case(f"div.{t}", two, _quotient, _without_zero(t))
        yield Case(f"rem.{t}", two, lambda x, y: x - _quotient(x, y) * y, _without_zero(t))
        yield Case(f"min.{t}", two, min)
        yield Case(f"max.{t}", two, max)
    for size in (16, 32):
        t, wide = f"{letter}{size}", f"{letter}{2 * size}"
        yield Case(f"mul.wide.{t}", f"{wide} = {t} {t}", lambda x, y: x * y)
        yield Case(f"mad.wide.{t}", f"{wide} = {t} {t} {wide}", lambda x, y, z: x * y + z)
    t = f"{letter}32"
    yield Case(f"mad.hi.{t}", f"{t} = {t} {t} {t}", lambda x, y, z: (x * y >> 32) + z)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _both_signs("u")
    yield from _both_signs("s")
    for size in (16, 32, 64):
        t = f"s{size}"
        yield Case(f"abs.{t}", f"{t} = {t}", abs)
        yield Case(f"neg.{t}", f"{t} = {t}", lambda x: -x)
    yield Case("add.sat.s32", "s32 = s32 s32", lambda x, y: _clamp(x + y))
    yield Case("sub.sat.s32", "s32 = s32 s32", lambda x, y: _clamp(x - y))
