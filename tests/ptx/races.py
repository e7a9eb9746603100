"""Races in shared memory, found whatever order the threads happen to run in.

Between two barriers of a block, a cell that one warp writes may be used by no other warp. Inside a
warp the same holds for lanes between two `bar.warp.sync`; one that names only some lanes is taken
to order the whole warp. Shuffles and votes order nothing.
"""

from __future__ import annotations

import numpy as np

from tests.ptx.errors import SharedRace
from tests.ptx.scalar_types import Array

_NOBODY, _MANY, _ATOMIC = -1, -2, -3


class RaceDetector:
    """Who has used each cell of shared memory since its block's last barrier.

    Args:
        size: Of the memory, in bytes.
        granule: Of a cell: the size of the smallest access there is.
        warp: The warp of each thread.
    """

    def __init__(self, size: int, granule: int, warp: Array) -> None:
        cells = size // granule
        self.granule = granule
        self.warp = warp.astype(np.int64)
        self.writing_warp: Array = np.full(cells, _NOBODY, np.int64)
        self.reading_warp: Array = np.full(cells, _NOBODY, np.int64)
        # Valid while their stamp is the present one of the warp they belong to.
        self.writing_thread: Array = np.full(cells, _NOBODY, np.int64)
        self.reading_thread: Array = np.full(cells, _NOBODY, np.int64)
        self.writing_stamp: Array = np.zeros(cells, np.int64)
        self.reading_stamp: Array = np.zeros(cells, np.int64)
        self.stamp: Array = np.zeros(int(warp.max()) + 1, np.int64)

    def forget(self, blocks: Array, cells_per_block: int) -> None:
        """A barrier of these blocks: what was before is ordered before what comes."""
        for cells in (self.writing_warp, self.reading_warp):
            cells.reshape(-1, cells_per_block)[blocks] = _NOBODY

    def pass_warp_barrier(self, threads: Array) -> None:
        """A barrier of these threads' warps."""
        self.stamp[np.unique(self.warp[threads])] += 1

    def note(self, threads: Array, places: Array, size: int, kind: str) -> None:
        """Check and record accesses of `kind` read, write or atomic, all at the same moment."""
        per_access = size // self.granule
        cells = (places[:, None] // self.granule + np.arange(per_access)).ravel()
        threads = np.repeat(threads, per_access)
        warps = self.warp[threads]
        self._check(cells, threads, warps, kind)
        if kind == "read":
            self._note_reads(cells, threads, warps)
        elif kind == "atomic":
            self.writing_warp[cells] = _ATOMIC
        else:
            self.writing_warp[cells] = warps
            self.writing_thread[cells] = threads
            self.writing_stamp[cells] = self.stamp[warps]
            lost = self.writing_warp[cells] != warps
            self._fail(lost, threads, "another warp writes the same bytes at the same time")

    def _check(self, cells: Array, threads: Array, warps: Array, kind: str) -> None:
        writer = self.writing_warp[cells]
        allowed = (writer == _NOBODY) | (writer == warps)
        if kind == "atomic":
            allowed |= writer == _ATOMIC
        self._fail(~allowed, threads, "written by another warp, with no barrier since")
        fresh = (writer == warps) & (self.writing_stamp[cells] == self.stamp[warps])
        self._fail(
            fresh & (self.writing_thread[cells] != threads),
            threads,
            "written by another lane of the warp, with no bar.warp.sync since",
        )
        if kind == "read":
            return
        reader = self.reading_warp[cells]
        self._fail(
            (reader != _NOBODY) & (reader != warps),
            threads,
            "read by another warp, with no barrier since",
        )
        fresh = (reader == warps) & (self.reading_stamp[cells] == self.stamp[warps])
        self._fail(
            fresh & (self.reading_thread[cells] != threads),
            threads,
            "read by another lane of the warp, with no bar.warp.sync since",
        )

    def _note_reads(self, cells: Array, threads: Array, warps: Array) -> None:
        reader = self.reading_warp[cells]
        fresh = (reader == warps) & (self.reading_stamp[cells] == self.stamp[warps])
        earlier = np.where(fresh, self.reading_thread[cells], _NOBODY)
        _join(self.reading_thread, cells, earlier, threads)
        _join(self.reading_warp, cells, reader, warps)
        self.reading_stamp[cells] = self.stamp[warps]

    @staticmethod
    def _fail(bad: Array, threads: Array, how: str) -> None:
        if bad.any():
            thread = int(threads[np.argmax(bad)])
            raise SharedRace(f"shared-memory race: {how}", thread)


def _join(cells_of: Array, cells: Array, earlier: Array, now: Array) -> None:
    """Record one user of each cell, or that there are many; a cell may occur more than once."""
    cells_of[cells] = np.where((earlier == _NOBODY) | (earlier == now), now, _MANY)
    kept = cells_of[cells]
    cells_of[cells[(kept != now) & (kept != _MANY)]] = _MANY
