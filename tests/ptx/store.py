"""Bytes that know whether they have been written."""

from __future__ import annotations

import numpy as np

from tests.ptx.scalar_types import Array, ScalarType

_WRITTEN = 0xFF


class Store:
    """Memory read and written at many places at once; places are multiples of the value's size."""

    def __init__(self, size: int) -> None:
        # Whole multiples of the largest value, so that all can be seen as values of one size.
        self.data: Array = np.zeros(-(-size // 8) * 8, np.uint8)
        self.written: Array = np.zeros_like(self.data)

    def grow(self, size: int) -> None:
        """Have at least this many bytes."""
        if size > self.data.size:
            larger = Store(max(size, 2 * self.data.size))
            larger.data[: self.data.size] = self.data
            larger.written[: self.written.size] = self.written
            self.data, self.written = larger.data, larger.written

    def fill(self, place: int, data: bytes) -> None:
        """Write bytes from the host."""
        end = place + len(data)
        self.data[place:end] = np.frombuffer(data, np.uint8)
        self.written[place:end] = _WRITTEN

    def is_written(self, place: int, size: int) -> Array:
        """For each byte of a range."""
        return self.written[place : place + size] != 0

    def find_unwritten(self, places: Array, kind: ScalarType) -> int | None:
        """Which of the values has a byte that was never written."""
        flags = self.written.view(kind.raw)[places // kind.size]
        bad = flags != np.iinfo(kind.raw).max
        return int(np.argmax(bad)) if bad.any() else None

    def gather(self, places: Array, kind: ScalarType) -> Array:
        """Raw values."""
        return np.asarray(self.data.view(kind.raw)[places // kind.size])

    def scatter(self, places: Array, values: Array, kind: ScalarType) -> None:
        """Write raw values."""
        self.data.view(kind.raw)[places // kind.size] = values
        self.written.view(kind.raw)[places // kind.size] = np.iinfo(kind.raw).max
