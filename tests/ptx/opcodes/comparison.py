"""setp, selp, testp."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tests.ptx.opcodes.half import READ, halves
from tests.ptx.opcodes.table import arithmetic
from tests.ptx.rounding import flush
from tests.ptx.scalar_types import Array, float32_from_bfloat16

Compare: TypeAlias = Callable[[Array, Array], Array]

_INTEGER: dict[str, Compare] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_UNSIGNED: dict[str, Compare] = {
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
}
_COMBINATIONS: dict[str, Compare] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}
_READ_AS: dict[str, Callable[[Array], Array]] = {"bf16": float32_from_bfloat16}


def _unordered(x: Array, y: Array) -> Array:
    return np.isnan(x) | np.isnan(y)


def _ordered(compare: Compare) -> Compare:
    return lambda x, y: compare(x, y) & ~_unordered(x, y)


def _or_unordered(compare: Compare) -> Compare:
    return lambda x, y: compare(x, y) | _unordered(x, y)


def _float_comparisons() -> dict[str, Compare]:
    """Ordered ones are false for NaN, those with a u behind are true."""
    comparisons: dict[str, Compare] = {
        "num": lambda x, y: ~_unordered(x, y),
        "nan": _unordered,
    }
    for name, compare in _INTEGER.items():
        comparisons[name] = _ordered(compare)
        comparisons[name + "u"] = _or_unordered(compare)
    return comparisons


def _define(prefix: str, t: str, compare: Compare, read: Callable[[Array], Array]) -> None:
    """A comparison alone, and combined with a third operand; the second result negates it."""
    modifier = ".ftz" if read is flush else ""

    def alone(x: Array, y: Array) -> tuple[Array, Array]:
        truth = compare(read(x), read(y))
        return truth, ~truth

    arithmetic(f"setp.{prefix}{modifier}.{t}", f"pred pred = {t} {t}", alone)
    for name, combine in _COMBINATIONS.items():

        def combined(
            x: Array, y: Array, c: Array, combine: Compare = combine
        ) -> tuple[Array, Array]:
            truth = compare(read(x), read(y))
            return combine(truth, c), combine(~truth, c)

        arithmetic(f"setp.{prefix}.{name}{modifier}.{t}", f"pred pred = {t} {t} pred", combined)


def _define_pair(prefix: str, t: str, compare: Compare) -> None:
    """Two comparisons; the second result is that of the high halves."""

    def both(x: Array, y: Array) -> tuple[Array, ...]:
        return tuple(
            compare(READ[t](a), READ[t](b)) for a, b in zip(halves(x), halves(y), strict=True)
        )

    arithmetic(f"setp.{prefix}.{t}x2", f"pred pred = {t}x2 {t}x2", both)


def _same(x: Array) -> Array:
    return x


for _name, _compare in _INTEGER.items():
    for _t in ("u16", "u32", "u64", "s16", "s32", "s64"):
        _define(_name, _t, _compare, _same)
    if _name in ("eq", "ne"):
        for _t in ("b16", "b32", "b64"):
            _define(_name, _t, _compare, _same)
for _name, _compare in _UNSIGNED.items():
    for _t in ("u16", "u32", "u64"):
        _define(_name, _t, _compare, _same)
for _name, _compare in _float_comparisons().items():
    for _t in ("f16", "bf16", "f32", "f64"):
        _define(_name, _t, _compare, _READ_AS.get(_t, _same))
    _define(_name, "f32", _compare, flush)
    for _t in ("f16", "bf16"):
        _define_pair(_name, _t, _compare)

for _t in ("b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64"):
    arithmetic(f"selp.{_t}", f"{_t} = {_t} {_t} pred", lambda x, y, c: np.where(c, x, y))

for _t, _smallest in (("f32", 2.0**-126), ("f64", 2.0**-1022)):
    for _name, _test in (
        ("finite", np.isfinite),
        ("infinite", np.isinf),
        ("notanumber", np.isnan),
        ("number", lambda x: ~np.isnan(x)),
        ("normal", lambda x, s=_smallest: np.isfinite(x) & (np.abs(x) >= s)),
        ("subnormal", lambda x, s=_smallest: (x != 0) & (np.abs(x) < s)),
    ):
        arithmetic(f"testp.{_name}.{_t}", f"pred = {_t}", _test)
