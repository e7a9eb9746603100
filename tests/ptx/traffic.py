"""How much traffic the accesses of warps cause."""

from __future__ import annotations

import numpy as np

from tests.ptx.scalar_types import Array

SECTOR = 32
_BANKS = 32
_WORD = 4


def count_distinct(sorted_or_not: Array) -> int:
    """How many different values there are."""
    if sorted_or_not.size == 0:
        return 0
    steps = np.diff(sorted_or_not)
    if (steps < 0).any():
        steps = np.diff(np.sort(sorted_or_not))
    return 1 + int(np.count_nonzero(steps))


def count_sectors(warps: Array, addresses: Array) -> int:
    """Different 32-byte sectors, summed over warps. An aligned access lies within one sector."""
    numbers = addresses // SECTOR
    return count_distinct((warps.astype(np.int64) << 40) + (numbers - numbers.min()))


def count_bank_conflicts(warps: Array, lanes: Array, addresses: Array, size: int) -> int:
    """Passes over the 32 banks of 4 bytes beyond the least.

    Up to 4 bytes a lane, a warp takes one pass; with 8 a half and with 16 a quarter of it does.
    Lanes that want the same word share it; different words of one bank take a pass each.
    """
    words = max(size // _WORD, 1)
    passes = warps.astype(np.int64) * words + lanes * words // 32
    word = (addresses[:, None] // _WORD + np.arange(words)).astype(np.int64)
    wanted = np.unique((passes[:, None] << 32) + word)
    of_bank, taken = np.unique((wanted >> 32) * _BANKS + wanted % _BANKS, return_counts=True)
    starts = np.flatnonzero(np.diff(of_bank // _BANKS, prepend=-1))
    return int((np.maximum.reduceat(taken, starts) - 1).sum())
