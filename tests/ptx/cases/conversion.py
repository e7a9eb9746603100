"""Cases of cvt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from tests.ptx.cases.case import Case, telling_values
from tests.ptx.cases.exact import convert, flush, round_fraction, saturate

_INTEGERS = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64")
# Python's round() goes to the nearest, ties to even.
_TO_INTEGRAL: dict[str, Callable[[Any], int]] = {
    "rni": round,
    "rzi": math.trunc,
    "rmi": math.floor,
    "rpi": math.ceil,
}


def _limits(t: str) -> tuple[int, int]:
    bits = int(t[1:])
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if t[0] == "s" else (0, (1 << bits) - 1)


def _clamp(x: int, t: str) -> int:
    low, high = _limits(t)
    return max(low, min(x, high))


def _to_integer(x: float, mode: str, to: str, source: str) -> int:
    if math.isnan(x):
        wide = "64" in to or source == "f64"
        return 1 << int(to[1:]) - 1 if wide and to[0] == "u" else _limits(to)[0] * wide
    if math.isinf(x):
        return _limits(to)[x > 0]
    return _clamp(_TO_INTEGRAL[mode](x), to)


def _floats_near_limits(source: str, to: str) -> tuple[tuple[float], ...]:
    """The telling values, halves, and what is next to the ends of the integer's range."""
    low, high = _limits(to)
    values = list(telling_values(source)) + [3.5, -0.5, -1.5, -2.5, 1e4, -1e4, 126.5, 254.5]
    for end in (low, high):
        for step in (-2, -1, -0.5, 0, 0.5, 1, 2):
            near = convert(float(end + Fraction(step)), source)
            values += [near] if math.isfinite(near) else []
    return tuple((x,) for x in values)


def _integral(x: float, mode: str) -> float:
    """Keeps infinities, NaN, and the sign of zero."""
    if not math.isfinite(x):
        return x
    return math.copysign(float(_TO_INTEGRAL[mode](x)), x)


def _from_integer(x: int, t: str, mode: str) -> float:
    return round_fraction(Fraction(x), t, mode) if x else 0.0


def _integer_values(t: str) -> tuple[tuple[int], ...]:
    """Also those between two floats, ties among them."""
    low, high = _limits(t)
    between = [(1 << n) + d for n in (8, 9, 11, 12, 24, 25, 26, 53, 54, 62) for d in (-1, 1, 2, 3)]
    values = telling_values(t) + [x for x in between if x <= high]
    return tuple((x,) for x in [*values, *(-x for x in between if -x >= low)])


def _of_integers() -> Iterator[Case]:
    for t in _INTEGERS:
        for source in _INTEGERS:
            yield Case(f"cvt.{t}.{source}", f"{t} = {source}", lambda x: x)
            yield Case(f"cvt.sat.{t}.{source}", f"{t} = {source}", lambda x, t=t: _clamp(x, t))
        for mode in _TO_INTEGRAL:
            for source in ("f16", "f32", "f64"):
                yield Case(
                    f"cvt.{mode}.{t}.{source}",
                    f"{t} = {source}",
                    lambda x, m=mode, t=t, s=source: _to_integer(x, m, t, s),
                    _floats_near_limits(source, t),
                )
            yield Case(
                f"cvt.{mode}.ftz.{t}.f32",
                f"{t} = f32",
                lambda x, m=mode, t=t: _to_integer(flush(x), m, t, "f32"),
                _floats_near_limits("f32", t),
            )
        targets = [("f32", "rn"), ("f64", "rn")]
        if "64" not in t:
            targets += [("f32", m) for m in ("rz", "rm", "rp")] + [("f16", "rn"), ("bf16", "rn")]
        for target, mode in targets:
            yield Case(
                f"cvt.{mode}.{target}.{t}",
                f"{target} = {t}",
                lambda x, f=target, m=mode: _from_integer(x, f, m),
                _integer_values(t),
            )


def _between(t: str, source: str) -> tuple[tuple[float], ...]:
    """Values of the source about those of the target: ties and what is next to them."""
    values = list(telling_values(source))
    for x in telling_values(t):
        if math.isfinite(x) and x:
            digits = {"f16": 11, "bf16": 8, "f32": 24}[t]
            for part in (0.25, 0.5, 0.75, 1.0, 1.5):
                moved = x * (1 + part * 2.0 ** (1 - digits))
                if math.isfinite(moved):
                    values += [y for y in (convert(moved, source),) if math.isfinite(y)]
    return tuple((x,) for x in values)


def _of_floats() -> Iterator[Case]:
    for mode in ("rn", "rz", "rm", "rp"):
        inputs = _between("f32", "f64")
        to_float32 = lambda x, m=mode: convert(x, "f32", m)  # noqa: E731
        yield Case(f"cvt.{mode}.f32.f64", "f32 = f64", to_float32, inputs)
        yield Case(
            f"cvt.{mode}.ftz.f32.f64", "f32 = f64", lambda x, f=to_float32: flush(f(x)), inputs
        )
    for t in ("f16", "bf16"):
        for source in ("f32", "f64"):
            inputs = _between(t, source)
            yield Case(
                f"cvt.rn.{t}.{source}", f"{t} = {source}", lambda x, t=t: convert(x, t), inputs
            )
        inputs = _between(t, "f32")
        yield Case(f"cvt.rz.{t}.f32", f"{t} = f32", lambda x, t=t: convert(x, t, "rz"), inputs)
        yield Case(
            f"cvt.rn.{t}x2.f32",
            f"{t}x2 = f32 f32",
            # The first operand is the upper half.
            lambda x, y, t=t: (convert(y, t), convert(x, t)),
            tuple((x, y) for (x,), (y,) in zip(inputs, inputs[5:] + inputs[:5], strict=True)),
        )
    for target, source in (("f64", "f32"), ("f32", "f16"), ("f64", "f16"), ("f32", "bf16")):
        yield Case(f"cvt.{target}.{source}", f"{target} = {source}", lambda x: x)
    yield Case("cvt.ftz.f64.f32", "f64 = f32", flush)


def _within_floats() -> Iterator[Case]:
    for mode in _TO_INTEGRAL:
        for t in ("f16", "f32", "f64"):
            values = (*telling_values(t), 0.49, 3.5, -1.5, 1000.5)
            inputs = tuple((convert(x, t),) for x in values)
            yield Case(
                f"cvt.{mode}.{t}.{t}", f"{t} = {t}", lambda x, m=mode: _integral(x, m), inputs
            )
        yield Case(f"cvt.{mode}.ftz.f32.f32", "f32 = f32", lambda x, m=mode: _integral(flush(x), m))
    yield Case("cvt.sat.f32.f32", "f32 = f32", saturate)
    yield Case("cvt.ftz.f32.f32", "f32 = f32", flush)
    yield Case("cvt.ftz.sat.f32.f32", "f32 = f32", lambda x: saturate(flush(x)))


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _of_integers()
    yield from _of_floats()
    yield from _within_floats()
