"""Logic, shifts, fields of bits, and address spaces of pointers."""

from __future__ import annotations

import numpy as np

from tests.ptx.addresses import LOCAL_WINDOW, SHARED_WINDOW
from tests.ptx.opcodes.table import arithmetic
from tests.ptx.scalar_types import Array


def _shift_left(x: Array, n: Array) -> Array:
    bits = 8 * x.dtype.itemsize
    kept = np.minimum(n, np.uint32(bits - 1)).astype(x.dtype)
    return np.where(n >= bits, x.dtype.type(0), x << kept)


def _shift_right(x: Array, n: Array) -> Array:
    bits = 8 * x.dtype.itemsize
    kept = np.minimum(n, np.uint32(bits - 1)).astype(x.dtype)
    # A signed value shifted by its width or more leaves its sign everywhere.
    beyond = x >> x.dtype.type(bits - 1) if x.dtype.kind == "i" else x.dtype.type(0)
    return np.where(n >= bits, beyond, x >> kept)


def _funnel(low: Array, high: Array, n: Array, left: bool, wrap: bool) -> Array:
    """Shift the 64 bits high:low; give the high half of a left, the low half of a right shift."""
    both = (high.astype(np.uint64) << np.uint64(32)) | low
    count = (n & np.uint32(31) if wrap else np.minimum(n, np.uint32(32))).astype(np.uint64)
    shifted = (both << count) >> np.uint64(32) if left else both >> count
    return shifted.astype(np.uint32)


def _lop3(x: Array, y: Array, z: Array, table: Array) -> Array:
    """Bit i of the table is the result where the bits of x, y, z spell i."""
    result = np.zeros_like(x)
    for i in range(8):
        if int(table) >> i & 1:
            result = result | ((x if i & 4 else ~x) & (y if i & 2 else ~y) & (z if i & 1 else ~z))
    return result


def _permute_bytes(low: Array, high: Array, selector: Array) -> Array:
    """Each nibble of the selector picks one of 8 bytes, or with its top bit that byte's sign."""
    both = (high.astype(np.uint64) << np.uint64(32)) | low
    result = np.uint64(0)
    for i in range(4):
        nibble = (selector >> np.uint32(4 * i)).astype(np.uint64)
        byte = (both >> ((nibble & np.uint64(7)) * np.uint64(8))) & np.uint64(0xFF)
        sign = np.where(byte >= 128, np.uint64(0xFF), np.uint64(0))
        byte = np.where(nibble & np.uint64(8) != 0, sign, byte)
        result = result | byte << np.uint64(8 * i)
    return np.asarray(result).astype(np.uint32)


def _extract_field(x: Array, position: Array, length: Array) -> Array:
    """A field that reaches over the end is filled with the sign, as is one past the end."""
    bits = 8 * x.dtype.itemsize
    position, length = position & np.uint32(0xFF), length & np.uint32(0xFF)
    # Push the field against the top, then down again: a signed shift repeats its sign.
    inside = np.minimum(length, np.maximum(bits - position.astype(np.int64), 0))
    kept = _shift_left(x, (bits - position.astype(np.int64) - inside).astype(np.uint32))
    field = _shift_right(kept, (bits - inside).astype(np.uint32))
    past = x >> x.dtype.type(bits - 1) if x.dtype.kind == "i" else x.dtype.type(0)
    return np.where(length == 0, x.dtype.type(0), np.where(position >= bits, past, field))


def _insert_field(field: Array, into: Array, position: Array, length: Array) -> Array:
    position, length = position & np.uint32(0xFF), length & np.uint32(0xFF)
    ones = ~_shift_left(
        np.full_like(into, -1 if into.dtype.kind == "i" else ~into.dtype.type(0)), length
    )
    mask = _shift_left(ones, position)
    return (into & ~mask) | (_shift_left(field, position) & mask)


def _top_bit(x: Array) -> Array:
    """Place of the highest set bit, -1 where there is none."""
    place = np.full(np.shape(x), -1, np.int64)
    for i in range(8 * x.dtype.itemsize):
        place = np.where((x >> x.dtype.type(i)) & x.dtype.type(1) != 0, i, place)
    return place


def _find_leading(x: Array, as_shift: bool) -> Array:
    """Of a signed value, the highest bit that differs from the sign."""
    bits = 8 * x.dtype.itemsize
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    place = _top_bit(np.where(x < 0, ~x, x).astype(unsigned))
    if as_shift:
        place = np.where(place >= 0, bits - 1 - place, -1)
    return place.astype(np.uint32)


def _count_leading_zeros(x: Array) -> Array:
    return (8 * x.dtype.itemsize - 1 - _top_bit(x)).astype(np.uint32)


def _reverse(x: Array) -> Array:
    bits = 8 * x.dtype.itemsize
    result = np.zeros_like(x)
    for i in range(bits):
        result = result | ((x >> x.dtype.type(i)) & x.dtype.type(1)) << x.dtype.type(bits - 1 - i)
    return result


for _t in ("pred", "b16", "b32", "b64"):
    arithmetic(f"and.{_t}", f"{_t} = {_t} {_t}", lambda x, y: x & y)
    arithmetic(f"or.{_t}", f"{_t} = {_t} {_t}", lambda x, y: x | y)
    arithmetic(f"xor.{_t}", f"{_t} = {_t} {_t}", lambda x, y: x ^ y)
    arithmetic(f"not.{_t}", f"{_t} = {_t}", lambda x: ~x)

for _size in (16, 32, 64):
    arithmetic(f"shl.b{_size}", f"b{_size} = b{_size} u32", _shift_left)
    for _letter in "bus":
        _t = f"{_letter}{_size}"
        arithmetic(f"shr.{_t}", f"{_t} = {_t} u32", _shift_right)

for _mode in ("wrap", "clamp"):
    for _side in "lr":
        arithmetic(
            f"shf.{_side}.{_mode}.b32",
            "b32 = b32 b32 u32",
            lambda x, y, n, left=_side == "l", wrap=_mode == "wrap": _funnel(x, y, n, left, wrap),
        )

for _size in (32, 64):
    for _letter in "us":
        _t = f"{_letter}{_size}"
        arithmetic(f"bfe.{_t}", f"{_t} = {_t} u32 u32", _extract_field)
        arithmetic(f"bfind.{_t}", f"u32 = {_t}", lambda x: _find_leading(x, False))
        arithmetic(f"bfind.shiftamt.{_t}", f"u32 = {_t}", lambda x: _find_leading(x, True))
    _t = f"b{_size}"
    arithmetic(f"bfi.{_t}", f"{_t} = {_t} {_t} u32 u32", _insert_field)
    arithmetic(f"clz.{_t}", f"u32 = {_t}", _count_leading_zeros)
    arithmetic(f"popc.{_t}", f"u32 = {_t}", lambda x: np.bitwise_count(x).astype(np.uint32))
    arithmetic(f"brev.{_t}", f"{_t} = {_t}", _reverse)

arithmetic("lop3.b32", "b32 = b32 b32 b32 b32", _lop3)
arithmetic("prmt.b32", "b32 = b32 b32 b32", _permute_bytes)

arithmetic("cvta.global.u64", "u64 = u64", lambda x: x)
arithmetic("cvta.to.global.u64", "u64 = u64", lambda x: x)
for _space, _window in (
    ("shared", np.uint64(SHARED_WINDOW)),
    ("local", np.uint64(LOCAL_WINDOW)),
):
    arithmetic(f"cvta.{_space}.u64", "u64 = u64", lambda x, w=_window: x + w)
    arithmetic(f"cvta.to.{_space}.u64", "u64 = u64", lambda x, w=_window: x - w)
