"""Cases of float32 and float64 arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

from tests.ptx.cases import exact
from tests.ptx.cases.case import Case, decode, encode
from tests.ptx.cases.exact import flushed, operation, saturate
from tests.ptx.cases.pairs import pairs, pairwise

# numpy's float64 functions are good to an ulp or so; then there is one rounding to float32.
_FLOAT32_APPROXIMATION = 2.0**-23


def _saturated(function: Callable[..., float]) -> Callable[..., float]:
    return lambda *operands: saturate(function(*operands))


def _with_flush(
    spelling: str, count: int, function: Callable[..., float], tolerance: float = 0.0
) -> Iterator[Case]:
    signature = "f32 = " + "f32 " * count
    yield Case(f"{spelling}.f32", signature, function, tolerance=tolerance)
    yield Case(f"{spelling}.ftz.f32", signature, flushed(function), tolerance=tolerance)


def _of_pairs(name: str, count: int, function: Callable[..., float]) -> Case:
    signature = "f32x2 = " + "f32x2 " * count
    return Case(f"{name}.f32x2", signature, pairwise(function), pairs("f32", count))


def _sums() -> Iterator[Case]:
    for name, plain in (("add", exact.add), ("sub", exact.sub), ("mul", exact.mul)):
        nearest = operation("f32", plain)
        for mode in ("", ".rn"):
            yield from _with_flush(f"{name}{mode}", 2, nearest)
            yield Case(f"{name}{mode}.f64", "f64 = f64 f64", operation("f64", plain))
            yield _of_pairs(f"{name}{mode}", 2, nearest)
        for mode in ("rz", "rm", "rp"):
            yield from _with_flush(f"{name}.{mode}", 2, operation("f32", plain, mode))
        yield Case(f"{name}.sat.f32", "f32 = f32 f32", _saturated(nearest))
        yield Case(f"{name}.ftz.sat.f32", "f32 = f32 f32", _saturated(flushed(nearest)))
    for mode in ("rn", "rz", "rm", "rp"):
        fused = operation("f32", exact.fma, mode)
        yield from _with_flush(f"fma.{mode}", 3, fused)
        yield Case(f"fma.{mode}.sat.f32", "f32 = f32 f32 f32", _saturated(fused))
        yield Case(f"fma.{mode}.ftz.sat.f32", "f32 = f32 f32 f32", _saturated(flushed(fused)))
    yield _of_pairs("fma.rn", 3, operation("f32", exact.fma))
    # Sums a hair beside a tie: 113 bits below the leading one.
    tiny, one = (1 + 2.0**-30) * 2.0**-53, 1 - 2.0**-30
    ties = tuple(
        (s * tiny, one, t * z) for s in (1, -1) for t in (1, -1) for z in (1 + 2.0**-52, 1)
    )
    yield Case("fma.rn.f64", "f64 = f64 f64 f64", operation("f64", exact.fma), more=ties)


def _signs() -> Iterator[Case]:
    for name, function in (("min", exact.minimum), ("max", exact.maximum)):
        yield Case(f"{name}.f64", "f64 = f64 f64", function)
        for nan, of_two in (("", function), (".NaN", exact.or_nan(function))):
            for ftz, of_flushed in (("", of_two), (".ftz", flushed(of_two))):
                spelling = f"{name}{ftz}{nan}.f32"
                yield Case(spelling, "f32 = f32 f32", of_flushed)
                yield Case(
                    f"{spelling} of 3",
                    "f32 = f32 f32 f32",
                    lambda x, y, z, f=of_flushed: f(f(x, y), z),
                )
    yield from _with_flush("abs", 1, abs)
    yield from _with_flush("neg", 1, lambda x: -x)
    yield Case("abs.f64", "f64 = f64", abs)
    yield Case("neg.f64", "f64 = f64", lambda x: -x)
    for t in ("f32", "f64"):
        yield Case(f"copysign.{t}", f"{t} = {t} {t}", lambda x, y: math.copysign(y, x))


def _quotient(t: str) -> Callable[..., float]:
    return lambda x, y: _divide(x, y, t)


def _divide(x: float, y: float, t: str) -> float:
    if not (math.isfinite(x) and math.isfinite(y)) or x == 0 or y == 0:
        return exact.div(x, y)
    return exact.round_fraction(Fraction(x) / Fraction(y), t, "rn")


def _approximate_quotient(x: float, y: float) -> float:
    """Large divisors give a product with zero."""
    if 2.0**126 < abs(y) < 2.0**128:
        return x * math.copysign(0.0, y)
    return _divide(x, y, "f32")


def _quotients() -> Iterator[Case]:
    yield from _with_flush("div.rn", 2, _quotient("f32"))
    yield from _with_flush("div.full", 2, _quotient("f32"), _FLOAT32_APPROXIMATION)
    yield from _with_flush("div.approx", 2, _approximate_quotient, _FLOAT32_APPROXIMATION)
    yield Case("div.rn.f64", "f64 = f64 f64", _quotient("f64"))
    yield from _with_flush("rcp.rn", 1, lambda x: _divide(1.0, x, "f32"))
    yield from _with_flush("sqrt.rn", 1, lambda x: exact.square_root(x, "f32"))
    yield Case("rcp.rn.f64", "f64 = f64", lambda x: _divide(1.0, x, "f64"))
    yield Case("sqrt.rn.f64", "f64 = f64", lambda x: exact.square_root(x, "f64"))


def _reciprocal_root(x: float) -> float:
    if x < 0:
        return math.nan
    return exact.div(1.0, math.sqrt(x)) if x else math.copysign(math.inf, x)


def _power_of_two(x: float) -> float:
    return math.inf if x >= 1024 else 2.0**x


def _logarithm(x: float) -> float:
    if x <= 0:
        return -math.inf if x == 0 else math.nan
    return math.log2(x)


def _of_finite(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: function(x) if math.isfinite(x) else math.nan


def _to_float32(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: exact.convert(function(x), "f32")


def _short(function: Callable[[float], float]) -> Callable[[float], float]:
    """What has 32 bits of a float64, and no subnormals."""

    def shorten(x: float) -> float:
        upper = decode("f64", encode("f64", x) >> 32 << 32)
        return math.copysign(0.0, x) if abs(x) < 2.0**-1022 else float(upper)

    return lambda x: shorten(function(shorten(x)))


def _approximations() -> Iterator[Case]:
    for name, function in (
        ("rcp", lambda x: exact.div(1.0, x)),
        ("sqrt", lambda x: math.nan if x < 0 else math.sqrt(x)),
        ("rsqrt", _reciprocal_root),
        ("ex2", _power_of_two),
        ("lg2", _logarithm),
        ("sin", _of_finite(math.sin)),
        ("cos", _of_finite(math.cos)),
    ):
        yield from _with_flush(f"{name}.approx", 1, _to_float32(function), _FLOAT32_APPROXIMATION)
    yield Case(
        "tanh.approx.f32", "f32 = f32", _to_float32(math.tanh), tolerance=_FLOAT32_APPROXIMATION
    )
    yield Case("rcp.approx.ftz.f64", "f64 = f64", _short(lambda x: exact.div(1.0, x)))
    yield Case("rsqrt.approx.f64", "f64 = f64", _reciprocal_root, tolerance=2.0**-51)
    yield Case("rsqrt.approx.ftz.f64", "f64 = f64", _short(_reciprocal_root), tolerance=2.0**-19)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _sums()
    yield from _signs()
    yield from _quotients()
    yield from _approximations()
