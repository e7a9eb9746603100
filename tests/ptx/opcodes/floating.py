"""float32 and float64 arithmetic, rounded as IEEE 754 says.

The approximations (`.approx`, `.full`) are computed in float64 and rounded once: closer than any
GPU. Where PTX defines them away from the mathematical value (flushed subnormals, huge divisors,
the short float64 reciprocals), that is followed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx.opcodes.table import arithmetic
from tests.ptx.rounding import (
    add_to_odd,
    float32_from_odd,
    flush,
    fma_float64,
    fma_to_odd,
    saturate,
)
from tests.ptx.scalar_types import Array

Function = Callable[..., Array]


def _double(x: Array) -> Array:
    return np.asarray(x).astype(np.float64)


def _flushed(function: Function) -> Function:
    return lambda *operands: flush(function(*map(flush, operands)))


def _saturated(function: Function) -> Function:
    return lambda *operands: saturate(function(*operands))


def _directed(function: Function, mode: str, odd_in: tuple[int, ...]) -> Function:
    """Round to float32 from what `function` rounds to odd.

    Downwards, a difference of equal values is -0. That comes of rounding the negated result
    upwards, which negating the operands `odd_in` gives.
    """
    if mode != "rm":
        return lambda *operands: float32_from_odd(function(*operands), mode)

    def down(*operands: Array) -> Array:
        negated = [-x if i in odd_in else x for i, x in enumerate(operands)]
        return -float32_from_odd(function(*negated), "rp")

    return down


def _float32(spelling: str, count: int, function: Function) -> None:
    """Define a float32 opcode, and its flushed form."""
    operands = "f32 " * count
    arithmetic(f"{spelling}.f32", f"f32 = {operands}", function)
    arithmetic(f"{spelling}.ftz.f32", f"f32 = {operands}", _flushed(function))


def _unordered(x: Array, y: Array) -> Array:
    return np.isnan(x) | np.isnan(y)


def minimum(x: Array, y: Array) -> Array:
    """A NaN gives way to a number; -0 is less than +0."""
    return np.where(x == y, np.where(np.signbit(x), x, y), np.fmin(x, y))


def maximum(x: Array, y: Array) -> Array:
    return np.where(x == y, np.where(np.signbit(x), y, x), np.fmax(x, y))


def minimum_or_nan(x: Array, y: Array) -> Array:
    return np.where(_unordered(x, y), x.dtype.type(np.nan), minimum(x, y))


def maximum_or_nan(x: Array, y: Array) -> Array:
    return np.where(_unordered(x, y), x.dtype.type(np.nan), maximum(x, y))


def _approximate(function: Callable[[Array], Array]) -> Function:
    return lambda x: function(_double(x)).astype(np.float32)


def _divide_approximately(x: Array, y: Array) -> Array:
    """Divisors from 2^126 have a reciprocal that is flushed: 0, or NaN under an infinity."""
    quotient = (_double(x) / _double(y)).astype(np.float32)
    size = np.abs(_double(y))
    huge = (size > 2.0**126) & (size < 2.0**128)
    product_with_zero = x * np.copysign(np.float32(0), y)
    return np.where(huge, product_with_zero, quotient)


def _upper_word(x: Array) -> Array:
    """Keep the upper 32 bits, all that the short float64 instructions read and write."""
    return (np.atleast_1d(x).view(np.uint64) & np.uint64(0xFFFFFFFF00000000)).view(np.float64)


def _short(function: Callable[[Array], Array]) -> Function:
    def shortened(x: Array) -> Array:
        subnormal = np.abs(x) < 2.0**-1022
        result = _upper_word(function(_upper_word(np.where(subnormal, np.copysign(0.0, x), x))))
        return np.where(np.abs(result) < 2.0**-1022, np.copysign(0.0, result), result)

    return shortened


def _reciprocal(x: Array) -> Array:
    return x.dtype.type(1) / x


def _reciprocal_root(x: Array) -> Array:
    return x.dtype.type(1) / np.sqrt(x)


def _on_pairs(function: Function) -> Function:
    """Two float32 in 64 bits, each for itself."""

    def compute(*operands: Array) -> Array:
        wide = np.broadcast_arrays(*map(np.atleast_1d, operands))
        pairs = [np.ascontiguousarray(x).view(np.float32) for x in wide]
        return function(*pairs).view(np.uint64)

    return compute


def _sum_to_odd(x: Array, y: Array) -> Array:
    return add_to_odd(_double(x), _double(y))


def _difference_to_odd(x: Array, y: Array) -> Array:
    return add_to_odd(_double(x), -_double(y))


def _product(x: Array, y: Array) -> Array:
    """Exact in float64 for float32 factors."""
    return _double(x) * _double(y)


for _name, _plain, _to_odd, _odd_in in (
    ("add", np.add, _sum_to_odd, (0, 1)),
    ("sub", np.subtract, _difference_to_odd, (0, 1)),
    ("mul", np.multiply, _product, (0,)),
):
    for _mode in ("", ".rn"):
        _float32(f"{_name}{_mode}", 2, _plain)
        arithmetic(f"{_name}{_mode}.f64", "f64 = f64 f64", _plain)
        arithmetic(f"{_name}{_mode}.f32x2", "f32x2 = f32x2 f32x2", _on_pairs(_plain))
    for _mode in ("rz", "rm", "rp"):
        _float32(f"{_name}.{_mode}", 2, _directed(_to_odd, _mode, _odd_in))
    arithmetic(f"{_name}.sat.f32", "f32 = f32 f32", _saturated(_plain))
    arithmetic(f"{_name}.ftz.sat.f32", "f32 = f32 f32", _saturated(_flushed(_plain)))

for _mode in ("rn", "rz", "rm", "rp"):
    _fma = _directed(fma_to_odd, _mode, (0, 2))
    _float32(f"fma.{_mode}", 3, _fma)
    arithmetic(f"fma.{_mode}.sat.f32", "f32 = f32 f32 f32", _saturated(_fma))
    arithmetic(f"fma.{_mode}.ftz.sat.f32", "f32 = f32 f32 f32", _saturated(_flushed(_fma)))
arithmetic("fma.rn.f32x2", "f32x2 = f32x2 f32x2 f32x2", _on_pairs(_directed(fma_to_odd, "rn", ())))
arithmetic("fma.rn.f64", "f64 = f64 f64 f64", fma_float64)

for _name, _least in (
    ("min", minimum),
    ("max", maximum),
    ("min.NaN", minimum_or_nan),
    ("max.NaN", maximum_or_nan),
):
    _stem, _, _nan = _name.partition(".")
    for _flush, _function in (("", _least), (".ftz", _flushed(_least))):
        _spelling = f"{_stem}{_flush}{'.' if _nan else ''}{_nan}.f32"
        arithmetic(_spelling, "f32 = f32 f32", _function)
        arithmetic(
            f"{_spelling} of 3",
            "f32 = f32 f32 f32",
            lambda x, y, z, f=_function: f(f(x, y), z),
        )
arithmetic("min.f64", "f64 = f64 f64", minimum)
arithmetic("max.f64", "f64 = f64 f64", maximum)

_float32("abs", 1, np.abs)
_float32("neg", 1, np.negative)
arithmetic("abs.f64", "f64 = f64", np.abs)
arithmetic("neg.f64", "f64 = f64", np.negative)
for _t in ("f32", "f64"):
    # The sign comes from the first operand.
    arithmetic(f"copysign.{_t}", f"{_t} = {_t} {_t}", lambda x, y: np.copysign(y, x))

_float32("div.rn", 2, np.divide)
_float32("div.full", 2, lambda x, y: (_double(x) / _double(y)).astype(np.float32))
_float32("div.approx", 2, _divide_approximately)
arithmetic("div.rn.f64", "f64 = f64 f64", np.divide)

_float32("rcp.rn", 1, _reciprocal)
_float32("sqrt.rn", 1, np.sqrt)
arithmetic("rcp.rn.f64", "f64 = f64", _reciprocal)
arithmetic("sqrt.rn.f64", "f64 = f64", np.sqrt)
for _name, _function in (
    ("rcp", _reciprocal),
    ("sqrt", np.sqrt),
    ("rsqrt", _reciprocal_root),
    ("ex2", np.exp2),
    ("lg2", np.log2),
    ("sin", np.sin),
    ("cos", np.cos),
):
    _float32(f"{_name}.approx", 1, _approximate(_function))
arithmetic("tanh.approx.f32", "f32 = f32", _approximate(np.tanh))
arithmetic("rcp.approx.ftz.f64", "f64 = f64", _short(_reciprocal))
arithmetic("rsqrt.approx.f64", "f64 = f64", _reciprocal_root)
arithmetic("rsqrt.approx.ftz.f64", "f64 = f64", _short(_reciprocal_root))
