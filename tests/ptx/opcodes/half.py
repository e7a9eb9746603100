"""float16 and bfloat16 arithmetic, alone and in pairs.

Sums and products are taken in float32, which has over twice the bits, so rounding twice changes
nothing; the fused ones go through a float64 that is rounded to odd.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx.opcodes.floating import (
    maximum,
    maximum_or_nan,
    minimum,
    minimum_or_nan,
)
from tests.ptx.opcodes.table import arithmetic
from tests.ptx.rounding import bfloat16_from_odd, float32_from_odd, fma_to_odd
from tests.ptx.scalar_types import Array, bfloat16_from_float32, float32_from_bfloat16

Function = Callable[..., Array]


def float16_from(values: Array) -> Array:
    """Round float32 or odd float64 to float16; NaN becomes 0x7fff."""
    rounded = np.atleast_1d(values).astype(np.float16).view(np.uint16)
    bits = np.where(np.isnan(np.atleast_1d(values)), np.uint16(0x7FFF), rounded)
    return bits.reshape(np.shape(values))


def _float32_from_float16(bits: Array) -> Array:
    return np.asarray(np.atleast_1d(bits).view(np.float16).astype(np.float32)).reshape(
        np.shape(bits)
    )


# How to read and write the bits of each type, from float32 and from an odd float64.
READ = {"f16": _float32_from_float16, "bf16": float32_from_bfloat16}
_ROUND = {"f16": float16_from, "bf16": bfloat16_from_float32}
_ROUND_ODD = {"f16": float16_from, "bf16": bfloat16_from_odd}


def _on_bits(t: str, function: Function, write: Function) -> Function:
    read = READ[t]
    return lambda *operands: write(function(*map(read, operands)))


def halves(bits: Array) -> tuple[Array, Array]:
    """The low and the high 16 bits."""
    low = (bits & np.uint32(0xFFFF)).astype(np.uint16)
    return low, (bits >> np.uint32(16)).astype(np.uint16)


def _pair(low: Array, high: Array) -> Array:
    return low.astype(np.uint32) | (high.astype(np.uint32) << np.uint32(16))


def _on_pairs(function: Function) -> Function:
    def both(*operands: Array) -> Array:
        low, high = zip(*map(halves, operands), strict=True)
        return _pair(function(*low), function(*high))

    return both


def _define(name: str, count: int, t: str, on_bits: Function) -> None:
    """The opcode for one value and for two; values travel as b16."""
    arithmetic(f"{name}.{t}", "b16 = " + "b16 " * count, on_bits)
    arithmetic(f"{name}.{t}x2", "b32 = " + "b32 " * count, _on_pairs(on_bits))


def _mixed(t: str, function: Function, n_half: int) -> Function:
    """The first operands are of the half type, the last is float32, and so is the result."""
    read = READ[t]

    def compute(*operands: Array) -> Array:
        return np.asarray(function(*map(read, operands[:n_half]), *operands[n_half:]))

    return compute


for _t in ("f16", "bf16"):
    arithmetic(f"add.rn.f32.{_t}", "f32 = b16 f32", _mixed(_t, np.add, 1))
    arithmetic(f"sub.rn.f32.{_t}", "f32 = b16 f32", _mixed(_t, np.subtract, 1))
    arithmetic(
        f"fma.rn.f32.{_t}",
        "f32 = b16 b16 f32",
        _mixed(_t, lambda x, y, z: float32_from_odd(fma_to_odd(x, y, z), "rn"), 2),
    )
    for _name, _function in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply)):
        for _mode in ("", ".rn"):
            _define(f"{_name}{_mode}", 2, _t, _on_bits(_t, _function, _ROUND[_t]))
    _define("fma.rn", 3, _t, _on_bits(_t, fma_to_odd, _ROUND_ODD[_t]))
    _define("min", 2, _t, _on_bits(_t, minimum, _ROUND[_t]))
    _define("max", 2, _t, _on_bits(_t, maximum, _ROUND[_t]))
    _define("min.NaN", 2, _t, _on_bits(_t, minimum_or_nan, _ROUND[_t]))
    _define("max.NaN", 2, _t, _on_bits(_t, maximum_or_nan, _ROUND[_t]))
    _define("neg", 1, _t, lambda x: x ^ np.uint16(0x8000))
    _define("abs", 1, _t, lambda x: x & np.uint16(0x7FFF))
