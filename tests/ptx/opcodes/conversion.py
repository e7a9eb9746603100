"""cvt between integers and floats of all widths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ptx.opcodes.half import float16_from
from tests.ptx.opcodes.table import arithmetic
from tests.ptx.rounding import bfloat16_from_odd, float32_from_odd, flush, saturate
from tests.ptx.scalar_types import TYPES, Array, bfloat16_from_float32, float32_from_bfloat16

Function = Callable[..., Array]

_INTEGERS = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64")
_TO_INTEGRAL: dict[str, Function] = {
    "rni": np.rint,
    "rzi": np.trunc,
    "rmi": np.floor,
    "rpi": np.ceil,
}
_DIRECTIONS = ("rn", "rz", "rm", "rp")


def _truncate_half(x: Array, to_half: Function, from_half: Function) -> Array:
    """Towards zero, from what the nearest rounding gives."""
    bits = to_half(x)
    too_far = np.abs(from_half(bits)) > np.abs(x)
    # The bits of a smaller magnitude are one less, those of infinity included.
    return np.where(too_far, bits - np.uint16(1), bits)


def _float16_value(bits: Array) -> Array:
    return np.atleast_1d(bits).view(np.float16).astype(np.float32)


def _integer_from_float(x: Array, to_integral: Function, target: str) -> Array:
    """Out of range clamps. NaN becomes 0, or the top bit alone where 64 bits are involved."""
    dtype = TYPES[target].dtype
    limits = np.iinfo(dtype)
    integral = to_integral(x.astype(np.float64))
    # The greatest 64-bit integers are no float64: compare with the power of two above.
    too_high = integral >= float(limits.max) + (0.0 if dtype.itemsize == 8 else 1.0)
    too_low = integral <= float(limits.min)
    inside = np.where(too_high | too_low | np.isnan(x), 0.0, integral).astype(dtype)
    result = np.where(too_high, dtype.type(limits.max), inside)
    result = np.where(too_low, dtype.type(limits.min), result)
    of_nan = 0
    if dtype.itemsize == 8 or x.dtype.itemsize == 8:
        of_nan = limits.min if dtype.kind == "i" else 1 << (8 * dtype.itemsize - 1)
    return np.where(np.isnan(x), dtype.type(of_nan), result)


def _saturate_integer(x: Array, target: str) -> Array:
    limits = np.iinfo(TYPES[target].dtype)
    own = np.iinfo(x.dtype)
    low, high = max(limits.min, own.min), min(limits.max, own.max)
    return np.clip(x, x.dtype.type(low), x.dtype.type(high)).astype(TYPES[target].dtype)


for _to in _INTEGERS:
    _dtype = TYPES[_to].dtype
    for _from in _INTEGERS:
        arithmetic(
            f"cvt.{_to}.{_from}", f"{_to} = {_from}", lambda x, dtype=_dtype: x.astype(dtype)
        )
        arithmetic(
            f"cvt.sat.{_to}.{_from}",
            f"{_to} = {_from}",
            lambda x, to=_to: _saturate_integer(x, to),
        )

    for _mode, _integral in _TO_INTEGRAL.items():
        for _from in ("f16", "f32", "f64"):
            arithmetic(
                f"cvt.{_mode}.{_to}.{_from}",
                f"{_to} = {_from}",
                lambda x, r=_integral, to=_to: _integer_from_float(x, r, to),
            )
        arithmetic(
            f"cvt.{_mode}.ftz.{_to}.f32",
            f"{_to} = f32",
            lambda x, r=_integral, to=_to: _integer_from_float(flush(x), r, to),
        )

    _from = _to
    arithmetic(f"cvt.rn.f32.{_from}", f"f32 = {_from}", lambda x: x.astype(np.float32))
    arithmetic(f"cvt.rn.f64.{_from}", f"f64 = {_from}", lambda x: x.astype(np.float64))
    if not _from.endswith("64"):
        # These integers are exact in float64.
        for _mode in _DIRECTIONS[1:]:
            arithmetic(
                f"cvt.{_mode}.f32.{_from}",
                f"f32 = {_from}",
                lambda x, m=_mode: float32_from_odd(x.astype(np.float64), m),
            )
        arithmetic(
            f"cvt.rn.f16.{_from}", f"b16 = {_from}", lambda x: float16_from(x.astype(np.float64))
        )
        arithmetic(
            f"cvt.rn.bf16.{_from}",
            f"b16 = {_from}",
            lambda x: bfloat16_from_odd(x.astype(np.float64)),
        )

for _mode in _DIRECTIONS:
    arithmetic(f"cvt.{_mode}.f32.f64", "f32 = f64", lambda x, m=_mode: float32_from_odd(x, m))
    arithmetic(
        f"cvt.{_mode}.ftz.f32.f64", "f32 = f64", lambda x, m=_mode: flush(float32_from_odd(x, m))
    )
arithmetic("cvt.f64.f32", "f64 = f32", lambda x: x.astype(np.float64))
arithmetic("cvt.ftz.f64.f32", "f64 = f32", lambda x: flush(x).astype(np.float64))
arithmetic("cvt.f32.f16", "f32 = b16", _float16_value)
arithmetic("cvt.f64.f16", "f64 = b16", lambda x: _float16_value(x).astype(np.float64))
arithmetic("cvt.f32.bf16", "f32 = b16", float32_from_bfloat16)
arithmetic("cvt.rn.f16.f32", "b16 = f32", float16_from)
arithmetic("cvt.rn.f16.f64", "b16 = f64", float16_from)
arithmetic("cvt.rn.bf16.f32", "b16 = f32", bfloat16_from_float32)
arithmetic("cvt.rn.bf16.f64", "b16 = f64", bfloat16_from_odd)
arithmetic("cvt.rz.f16.f32", "b16 = f32", lambda x: _truncate_half(x, float16_from, _float16_value))
arithmetic(
    "cvt.rz.bf16.f32",
    "b16 = f32",
    lambda x: _truncate_half(x, bfloat16_from_float32, float32_from_bfloat16),
)
for _t, _round in (("f16", float16_from), ("bf16", bfloat16_from_float32)):
    arithmetic(
        f"cvt.rn.{_t}x2.f32",
        "b32 = f32 f32",
        # The first operand is the upper half.
        lambda x, y, r=_round: (r(x).astype(np.uint32) << np.uint32(16)) | r(y),
    )

# Within one float type: to an integral value, flushed, or clamped.
for _mode, _integral in _TO_INTEGRAL.items():
    arithmetic(f"cvt.{_mode}.f64.f64", "f64 = f64", _integral)
    arithmetic(f"cvt.{_mode}.f16.f16", "f16 = f16", _integral)
    arithmetic(f"cvt.{_mode}.f32.f32", "f32 = f32", _integral)
    arithmetic(f"cvt.{_mode}.ftz.f32.f32", "f32 = f32", lambda x, r=_integral: r(flush(x)))
arithmetic("cvt.sat.f32.f32", "f32 = f32", saturate)
arithmetic("cvt.ftz.f32.f32", "f32 = f32", flush)
arithmetic("cvt.ftz.sat.f32.f32", "f32 = f32", lambda x: saturate(flush(x)))
