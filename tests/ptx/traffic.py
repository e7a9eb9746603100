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
    return count_distinct((warps.astype(np.int64) << 48) + (numbers - numbers.min()))


def count_bank_conflicts(warps: Array, lanes: Array, addresses: Array, size: int) -> int:
    """Passes over the 32 banks of 4 bytes beyond the least.

    Up to 4 bytes a lane, a warp takes one pass; with 8 a half and with 16 a quarter of it does.
    Lanes that want the same word share it; different words of one bank take a pass each.
    """
    words = max(size // _WORD, 1)
    passes = warps.astype(np.int64) * words + lanes * words // 32
    word = (addresses[:, None] // _WORD + np.arange(words)).astype(np.int64)
    wanted = _distinct((passes[:, None] << 32) + word)
    # By pass and bank, how many words; by pass, the most.
    banks = np.sort((wanted >> 32) * _BANKS + wanted % _BANKS)
    starts = np.flatnonzero(np.diff(banks, prepend=-1))
    taken = np.diff(starts, append=banks.size)
    first_banks = np.flatnonzero(np.diff(banks[starts] // _BANKS, prepend=-1))
    return int((np.maximum.reduceat(taken, first_banks) - 1).sum())


def _distinct(values: Array) -> Array:
    """Different values, of numbers from 0 on, in ascending order."""
    ordered = np.sort(values, axis=None)
    return ordered[np.flatnonzero(np.diff(ordered, prepend=-1))]
