"""Cases of logic, shifts, fields and address spaces, on strings of binary digits where it helps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tests.ptx.addresses import LOCAL_WINDOW, SHARED_WINDOW
from tests.ptx.cases.case import Case, decode, encode, telling_values

_COUNTS = (0, 1, 5, 15, 16, 31, 32, 33, 63, 64, 65, 200, 0xFFFFFFFF)
_FIELDS = (0, 1, 3, 8, 31, 32, 33, 63, 64, 100, 255, 256, 259)


def _digits(x: int, bits: int) -> str:
    return format(x % (1 << bits), f"0{bits}b")


def _with_counts(t: str) -> tuple[tuple[Any, ...], ...]:
    return tuple((x, n) for x in telling_values(t) for n in _COUNTS)


def _field(x: int, position: int, length: int, t: str) -> int:
    """What lies beyond the field or the top is filled with the field's sign."""
    bits = int(t[1:])
    position, length = position & 255, length & 255
    digits = _digits(x, bits)[::-1]
    is_signed = t[0] == "s" and length > 0
    fill = digits[min(position + length, bits) - 1] if is_signed else "0"
    if is_signed and position + length > bits:
        fill = digits[-1]
    field = (digits[position : position + length] + fill * bits)[:bits]
    return int(field[::-1], 2)


def _insert(field: int, into: int, position: int, length: int, t: str) -> int:
    bits = int(t[1:])
    position, length = position & 255, length & 255
    digits = list(_digits(into, bits)[::-1])
    source = _digits(field, bits)[::-1]
    for i in range(min(length, bits)):
        if position + i < bits:
            digits[position + i] = source[i]
    return int("".join(digits)[::-1], 2)


def _leading(x: int, t: str, as_shift: bool) -> int:
    bits = int(t[1:])
    digits = _digits(x, bits)
    wanted = "0" if t[0] == "s" and x < 0 else "1"
    if wanted not in digits:
        return 0xFFFFFFFF
    shift = digits.index(wanted)
    return shift if as_shift else bits - 1 - shift


def _funnel(low: int, high: int, n: int, side: str, mode: str) -> int:
    count = n % 32 if mode == "wrap" else min(n, 32)
    both = high << 32 | low
    return (both << count >> 32 if side == "l" else both >> count) & 0xFFFFFFFF


def _lop3(x: int, y: int, z: int, table: int) -> int:
    columns = zip(_digits(x, 32), _digits(y, 32), _digits(z, 32), strict=True)
    return int("".join(str(table >> int("".join(column), 2) & 1) for column in columns), 2)


def _permute(low: int, high: int, selector: int) -> int:
    source = (high << 32 | low).to_bytes(8, "little")
    result = []
    for i in range(4):
        nibble = selector >> 4 * i & 15
        byte = source[nibble & 7]
        result.append((0xFF if byte & 0x80 else 0) if nibble & 8 else byte)
    return int.from_bytes(bytes(result), "little")


def _shifts() -> Iterator[Case]:
    for size in (16, 32, 64):
        t = f"b{size}"
        yield Case(f"shl.{t}", f"{t} = {t} u32", lambda x, n: x << min(n, 64), _with_counts(t))
        for letter in "bus":
            t = f"{letter}{size}"
            yield Case(f"shr.{t}", f"{t} = {t} u32", lambda x, n: x >> min(n, 64), _with_counts(t))
    values = (0, 1, 0x80000000, 0x12345678, 0xFFFFFFFF)
    funnels = tuple((x, y, n) for x in values for y in values for n in _COUNTS)
    for mode in ("wrap", "clamp"):
        for side in "lr":
            yield Case(
                f"shf.{side}.{mode}.b32",
                "b32 = b32 b32 u32",
                lambda x, y, n, side=side, mode=mode: _funnel(x, y, n, side, mode),
                funnels,
            )


def _fields() -> Iterator[Case]:
    for size in (32, 64):
        places = [(p, n) for p in _FIELDS for n in _FIELDS]
        for letter in "us":
            t = f"{letter}{size}"
            values = [decode(t, encode(t, v)) for v in (0x80F3A5C7 << (size - 32), 0x1234567, -1)]
            yield Case(
                f"bfe.{t}",
                f"{t} = {t} u32 u32",
                lambda x, p, n, t=t: decode(t, _field(x, p, n, t)),
                tuple((x, p, n) for x in values for p, n in places),
            )
            yield Case(f"bfind.{t}", f"u32 = {t}", lambda x, t=t: _leading(x, t, False))
            yield Case(f"bfind.shiftamt.{t}", f"u32 = {t}", lambda x, t=t: _leading(x, t, True))
        t = f"b{size}"
        ones = (1 << size) - 1
        yield Case(
            f"bfi.{t}",
            f"{t} = {t} {t} u32 u32",
            lambda f, x, p, n, t=t: _insert(f, x, p, n, t),
            tuple((f, x, p, n) for f, x in ((0x5A5, ones), (ones, 0), (6, 9)) for p, n in places),
        )
        yield Case(f"clz.{t}", f"u32 = {t}", lambda x, n=size: (_digits(x, n) + "1").index("1"))
        yield Case(f"popc.{t}", f"u32 = {t}", lambda x, n=size: _digits(x, n).count("1"))
        yield Case(f"brev.{t}", f"{t} = {t}", lambda x, n=size: int(_digits(x, n)[::-1], 2))


def cases() -> Iterator[Case]:
    """All of them."""
    for t in ("b16", "b32", "b64"):
        yield Case(f"and.{t}", f"{t} = {t} {t}", lambda x, y: x & y)
        yield Case(f"or.{t}", f"{t} = {t} {t}", lambda x, y: x | y)
        yield Case(f"xor.{t}", f"{t} = {t} {t}", lambda x, y: x ^ y)
        yield Case(f"not.{t}", f"{t} = {t}", lambda x, t=t: (1 << int(t[1:])) - 1 - x)
    yield Case("and.pred", "pred = pred pred", lambda x, y: x and y)
    yield Case("or.pred", "pred = pred pred", lambda x, y: x or y)
    yield Case("xor.pred", "pred = pred pred", lambda x, y: x != y)
    yield Case("not.pred", "pred = pred", lambda x: not x)
    yield from _shifts()
    yield from _fields()
    random_words = random.Random(3)
    words = tuple(tuple(random_words.getrandbits(32) for _ in range(3)) for _ in range(100))
    yield Case("prmt.b32", "b32 = b32 b32 b32", _permute, words)
    # The table is a literal in the instruction.
    yield Case("lop3.b32", "b32 = b32 b32 b32", lambda x, y, z: _lop3(x, y, z, 0xCA), words)
    pointers = ((0,), (24,), (1 << 40,))
    for way in ("cvta.global.u64", "cvta.to.global.u64"):
        yield Case(way, "u64 = u64", lambda x: x, pointers)
    for space, window in (("shared", SHARED_WINDOW), ("local", LOCAL_WINDOW)):
        inside = ((0,), (24,), (4096,))
        generic = tuple((x + window,) for (x,) in inside)
        yield Case(f"cvta.{space}.u64", "u64 = u64", lambda x, w=window: x + w, inside)
        yield Case(f"cvta.to.{space}.u64", "u64 = u64", lambda x, w=window: x - w, generic)
