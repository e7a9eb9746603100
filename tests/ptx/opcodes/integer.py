"""Integer arithmetic. Everything wraps, as the machine does."""

from __future__ import annotations

import numpy as np

from tests.ptx.errors import UndefinedResult
from tests.ptx.opcodes.table import arithmetic
from tests.ptx.scalar_types import Array

_SIZES = (16, 32, 64)


def _divide(x: Array, y: Array) -> Array:
    """Rounds towards zero."""
    if not np.all(y):
        raise UndefinedResult("division by zero")
    quotient = x // y
    if x.dtype.kind == "u":
        return quotient
    return quotient + ((x % y != 0) & ((x < 0) != (y < 0))).astype(x.dtype)


def _remainder(x: Array, y: Array) -> Array:
    return x - _divide(x, y) * y


def _multiply_wide(x: Array, y: Array) -> Array:
    wide = np.dtype(f"{x.dtype.kind}{2 * x.dtype.itemsize}")
    return x.astype(wide) * y.astype(wide)


def _multiply_high(x: Array, y: Array) -> Array:
    if x.dtype.itemsize == 8:
        return _multiply_high_64(x, y)
    wide = _multiply_wide(x, y)
    return (wide >> wide.dtype.type(8 * x.dtype.itemsize)).astype(x.dtype)


def _multiply_high_64(x: Array, y: Array) -> Array:
    """From products of halves; a signed factor counts 2^64 too much where it is negative."""
    a, b = x.astype(np.uint64), y.astype(np.uint64)
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = a >> half, a & mask, b >> half, b & mask
    middle = a_high * b_low + (a_low * b_low >> half)
    other = a_low * b_high + (middle & mask)
    high = a_high * b_high + (middle >> half) + (other >> half)
    if x.dtype.kind == "i":
        zero = np.uint64(0)
        high = high - np.where(x < 0, b, zero) - np.where(y < 0, a, zero)
    return high.astype(x.dtype)


def _add_saturating(x: Array, y: Array) -> Array:
    limits = np.iinfo(np.int32)
    total = x.astype(np.int64) + y.astype(np.int64)
    return np.clip(total, limits.min, limits.max).astype(np.int32)


def _subtract_saturating(x: Array, y: Array) -> Array:
    limits = np.iinfo(np.int32)
    difference = x.astype(np.int64) - y.astype(np.int64)
    return np.clip(difference, limits.min, limits.max).astype(np.int32)


for _letter in "us":
    for _size in _SIZES:
        _t = f"{_letter}{_size}"
        arithmetic(f"add.{_t}", f"{_t} = {_t} {_t}", lambda x, y: x + y)
        arithmetic(f"sub.{_t}", f"{_t} = {_t} {_t}", lambda x, y: x - y)
        arithmetic(f"mul.lo.{_t}", f"{_t} = {_t} {_t}", lambda x, y: x * y)
        arithmetic(f"mul.hi.{_t}", f"{_t} = {_t} {_t}", _multiply_high)
        arithmetic(f"mad.lo.{_t}", f"{_t} = {_t} {_t} {_t}", lambda x, y, z: x * y + z)
        arithmetic(f"div.{_t}", f"{_t} = {_t} {_t}", _divide)
        arithmetic(f"rem.{_t}", f"{_t} = {_t} {_t}", _remainder)
        arithmetic(f"min.{_t}", f"{_t} = {_t} {_t}", np.minimum)
        arithmetic(f"max.{_t}", f"{_t} = {_t} {_t}", np.maximum)
    for _size in (16, 32):
        _t, _w = f"{_letter}{_size}", f"{_letter}{2 * _size}"
        arithmetic(f"mul.wide.{_t}", f"{_w} = {_t} {_t}", _multiply_wide)
        arithmetic(
            f"mad.wide.{_t}", f"{_w} = {_t} {_t} {_w}", lambda x, y, z: _multiply_wide(x, y) + z
        )
    arithmetic(
        f"mad.hi.{_letter}32",
        f"{_letter}32 = {_letter}32 {_letter}32 {_letter}32",
        lambda x, y, z: _multiply_high(x, y) + z,
    )

for _size in _SIZES:
    _t = f"s{_size}"
    arithmetic(f"abs.{_t}", f"{_t} = {_t}", np.abs)
    arithmetic(f"neg.{_t}", f"{_t} = {_t}", np.negative)
arithmetic("add.sat.s32", "s32 = s32 s32", _add_saturating)
arithmetic("sub.sat.s32", "s32 = s32 s32", _subtract_saturating)
