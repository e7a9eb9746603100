"""Shared, local and parameter memory of a batch of blocks."""

from __future__ import annotations

import numpy as np

from tests.ptx.errors import OutOfBounds
from tests.ptx.races import RaceDetector
from tests.ptx.scalar_types import Array
from tests.ptx.store import Store

_ROOM = 32  # each owner's part begins at a multiple of the largest access


class Space:
    """Memory of which every block, every thread, or the launch has a part of its own.

    Args:
        name: For messages.
        size: Of one part in bytes.
        owner: For each thread, the number of its part.
    """

    def __init__(self, name: str, size: int, owner: Array) -> None:
        self.name = name
        self.size = size
        self.room = -(-size // _ROOM) * _ROOM
        self.owner = owner.astype(np.int64)
        self.store = Store(self.room * (int(owner.max()) + 1))

    def locate(self, threads: Array, addresses: Array, size: int) -> Array:
        """Places in the store of accesses to `size` bytes."""
        outside = (addresses < 0) | (addresses + size > self.size)
        if outside.any():
            i = int(np.argmax(outside))
            raise OutOfBounds(
                f"{size} bytes at byte {int(addresses[i])} of {self.name} memory, "
                f"which has {self.size} bytes",
                int(threads[i]),
            )
        return np.asarray(self.owner[threads] * self.room + addresses)


class SharedSpace(Space):
    """Shared memory, which also watches for races."""

    def __init__(self, size: int, block: Array, warp: Array, granule: int) -> None:
        super().__init__("shared", size, block)
        self.races = RaceDetector(self.store.data.size, granule, warp)

    def pass_barrier(self, blocks: Array) -> None:
        """All threads of these blocks have met."""
        if self.size:
            self.races.forget(blocks, self.room // self.races.granule)
