"""Registers of all threads of a batch."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from tests.ptx.errors import UninitialisedRegister
from tests.ptx.scalar_types import Array, ScalarType

# Threads by their places in the batch: all of them, or ascending numbers.
Threads: TypeAlias = slice | Array
ALL = slice(None)


class Register:
    """One register; reading it where the thread has not written it is a fault."""

    def __init__(self, name: str, kind: ScalarType) -> None:
        self.name = name
        self.kind = kind
        self.values: Array = np.zeros(0, kind.raw)
        self._written: Array = np.zeros(0, np.bool_)
        self._all_written = False

    def clear(self, n_threads: int) -> None:
        """Begin a batch."""
        self.values = np.zeros(n_threads, self.kind.raw)
        self._written = np.zeros(n_threads, np.bool_)
        self._all_written = False

    def read(self, threads: Threads) -> Array:
        """Raw values."""
        if not self._all_written:
            written = self._written[threads]
            if not written.all():
                i = int(np.argmin(written))
                thread = i if isinstance(threads, slice) else int(threads[i])
                raise UninitialisedRegister(f"register {self.name} was never written", thread)
        return np.asarray(self.values[threads])

    def write(self, threads: Threads, values: Array) -> None:
        """Set raw values."""
        self.values[threads] = values
        if not self._all_written:
            self._written[threads] = True
            self._all_written = isinstance(threads, slice)
