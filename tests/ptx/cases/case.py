"""What a case is, and the values that cases are tried on."""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MOST = 300  # values of a case: they are the threads of one block


@dataclass(frozen=True)
class Case:
    """One opcode.

    Args:
        spelling: The opcode.
        signature: Types of results and operands, such as `f32 = f32 f32`.
        expected: From Python numbers to Python numbers; a tuple where there are two results.
        inputs: Tuples of operands; by default telling values of the types.
        more: Further ones beside those.
        tolerance: Relative, of approximations.
    """

    spelling: str
    signature: str
    expected: Callable[..., Any]
    inputs: tuple[tuple[Any, ...], ...] | None = None
    tolerance: float = 0.0
    more: tuple[tuple[Any, ...], ...] = ()

    @property
    def results(self) -> list[str]:
        """Types of the results."""
        return self.signature.split("=")[0].split()

    @property
    def operands(self) -> list[str]:
        """Types of the operands."""
        return self.signature.split("=")[1].split()

    def values(self) -> list[tuple[Any, ...]]:
        """The operands of every try."""
        if self.inputs is not None:
            return [*self.inputs, *self.more]
        chosen = [telling_values(t) for t in self.operands]
        product = list(itertools.product(*chosen))
        generator = random.Random(self.spelling)
        generator.shuffle(product)
        near = [near_values(self.operands, generator) for _ in range(100)]
        return [*product[: _MOST - len(near)], *near, *self.more]


def telling_values(t: str) -> list[Any]:
    """Values at which something happens."""
    if t == "pred":
        return [False, True]
    if t in FLOATS:
        _, digits, low, high = FLOATS[t]
        ulp = 2.0 ** (1 - digits)
        positive = [
            0.0,
            1.0,
            1.0 + ulp,
            0.5,
            1.5,
            2.5,
            100.75,
            2.0**low,
            2.0 ** (low - digits + 1),
            2.0**low * (0.5 + ulp),
            (2 - ulp) * 2.0**high,
            math.inf,
        ]
        values = positive + [-x for x in positive] + [math.nan]
        return [decode(t, encode(t, x)) for x in values]
    bits = int(t[1:])
    values = [0, 1, 2, 3, 7, 0x55 % (1 << bits), (1 << bits - 1) - 1]
    if t[0] == "s":
        return values + [-1, -2, -7, -(1 << bits - 1)]
    return values + [1 << bits - 1, (1 << bits) - 1, (1 << bits) - 2]


def near_values(types: list[str], generator: random.Random) -> tuple[Any, ...]:
    """Random values; floats of like size, so that sums are rounded in interesting ways."""
    values: list[Any] = []
    for t in types:
        if t == "pred":
            values.append(generator.random() < 0.5)
        elif t in FLOATS:
            x = generator.uniform(-2, 2) * 2.0 ** generator.choice((-12, -3, 0, 0, 1, 6))
            values.append(decode(t, encode(t, x)))
        else:
            values.append(decode(t, generator.getrandbits(int(t[1:]))))
    return tuple(values)


# struct's letter, bits of the significand, exponents of the least and greatest normal number
FLOATS = {
    "f16": ("e", 11, -14, 15),
    "bf16": ("", 8, -126, 127),
    "f32": ("f", 24, -126, 127),
    "f64": ("d", 53, -1022, 1023),
}


def size_of(t: str) -> int:
    """In bytes."""
    sizes = {"pred": 1, "f16": 2, "bf16": 2, "f16x2": 4, "bf16x2": 4, "f32x2": 8}
    return sizes.get(t) or int(t[1:]) // 8


def encode(t: str, value: Any) -> int:
    """The bits of a value."""
    if t == "pred":
        return int(value)
    if t.endswith("x2"):
        low, high = (encode(t[:-2], each) for each in value)
        return low | high << 4 * size_of(t)
    if t == "bf16":
        return encode("f32", value) >> 16
    if t in FLOATS:
        return int.from_bytes(struct.pack("<" + FLOATS[t][0], value), "little")
    return int(value) % (1 << int(t[1:]))


def decode(t: str, bits: int) -> Any:
    """The value of some bits."""
    if t == "pred":
        return bits != 0
    if t.endswith("x2"):
        half = 4 * size_of(t)
        return decode(t[:-2], bits % (1 << half)), decode(t[:-2], bits >> half)
    if t == "bf16":
        return decode("f32", bits << 16)
    if t in FLOATS:
        return struct.unpack("<" + FLOATS[t][0], bits.to_bytes(size_of(t), "little"))[0]
    width = int(t[1:])
    return bits - (1 << width) if t[0] == "s" and bits >> (width - 1) else bits


def same(t: str, got: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Equal: every NaN to every other, and zeros by their signs."""
    if t.endswith("x2"):
        return all(same(t[:-2], g, e, tolerance) for g, e in zip(got, expected, strict=True))
    if t not in FLOATS:
        return bool(got == expected)
    if math.isnan(expected):
        return math.isnan(got)
    if tolerance and math.isfinite(expected) and expected != 0:
        return abs(got - expected) <= tolerance * abs(expected)
    return bool(got == expected) and math.copysign(1, got) == math.copysign(1, expected)
