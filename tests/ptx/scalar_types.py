"""The fundamental types of PTX, as numpy types, and the bfloat16 that numpy lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class ScalarType:
    """A type by its PTX name; `dtype` is what the functions in opcodes/ compute with."""

    name: str
    size: int
    dtype: np.dtype[Any]
    raw: np.dtype[Any]

    @property
    def is_signed(self) -> bool:
        """Whether a value is sign-extended into a wider register."""
        return self.dtype.kind == "i"


def _types() -> dict[str, ScalarType]:
    types = {"pred": ScalarType("pred", 1, np.dtype(np.bool_), np.dtype(np.bool_))}
    for size in (1, 2, 4, 8):
        raw = np.dtype(f"u{size}")
        for letter, dtype in (("b", raw), ("u", raw), ("s", np.dtype(f"i{size}"))):
            name = f"{letter}{8 * size}"
            types[name] = ScalarType(name, size, dtype, raw)
    for name, size, dtype_name in (
        ("f16", 2, "f2"),
        ("f32", 4, "f4"),
        ("f64", 8, "f8"),
        # numpy has no such types: their functions unpack the bits.
        ("bf16", 2, "u2"),
        ("f16x2", 4, "u4"),
        ("bf16x2", 4, "u4"),
        ("f32x2", 8, "u8"),
    ):
        types[name] = ScalarType(name, size, np.dtype(dtype_name), np.dtype(f"u{size}"))
    return types


TYPES = _types()


def bfloat16_from_float32(values: Array) -> Array:
    """Round to the nearest bfloat16, ties to even; the bits, as uint16. NaN becomes 0x7fff."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), rounded.astype(np.uint16))


def float32_from_bfloat16(bits: Array) -> Array:
    """Values of bfloat16 bits, as float32: exact."""
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)
