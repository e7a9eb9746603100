"""Loads, stores and atomics of many threads at once: checked, counted, carried out."""

from __future__ import annotations

import numpy as np

from tests.ptx.addresses import LOCAL_WINDOW, SHARED_WINDOW
from tests.ptx.counters import Counters
from tests.ptx.errors import Misaligned, SharedRace, StaleRead, UninitialisedMemory
from tests.ptx.memory import Memory
from tests.ptx.opcodes.table import Access, Atomic
from tests.ptx.scalar_types import Array, ScalarType
from tests.ptx.spaces import SharedSpace, Space
from tests.ptx.store import Store
from tests.ptx.traffic import count_bank_conflicts, count_distinct, count_sectors


class Accesses:
    """The memories that a batch of blocks sees.

    Args:
        memory: Global memory.
        shared: Shared memory.
        others: Local and parameter memory, by name.
        counters: What to count in.
        stored: A byte for each byte of global memory: not 0 where this launch has stored.
    """

    def __init__(
        self,
        memory: Memory,
        shared: SharedSpace,
        others: dict[str, Space],
        counters: Counters,
        stored: Array,
    ) -> None:
        self.memory = memory
        self.shared = shared
        self.spaces: dict[str, Space | Memory] = {"global": memory, "shared": shared, **others}
        self.counters = counters
        self.stored = stored

    def load(self, space: str, opcode: Access, threads: Array, addresses: Array) -> list[Array]:
        """Values of each element of the vector."""
        kind = opcode.type
        if space == "generic":
            results = [np.zeros(threads.shape, kind.dtype) for _ in range(opcode.width)]
            for name, mask, start in _split(addresses):
                part = self.load(name, opcode, threads[mask], addresses[mask] - start)
                for result, values in zip(results, part, strict=True):
                    result[mask] = values
            return results
        store, places = self._begin("ld", space, opcode, threads, addresses, "read")
        results = []
        for i in range(opcode.width):
            at = places + i * kind.size
            bad = store.find_unwritten(at, kind)
            if bad is not None:
                raise UninitialisedMemory(
                    f"reads {self._describe(space, int(addresses[bad]) + i * kind.size)}, "
                    "which was never written",
                    int(threads[bad]),
                )
            if opcode.non_coherent:
                self._check_not_stored(at, kind, threads, addresses)
            results.append(store.gather(at, kind).view(kind.dtype))
        return results

    def store(
        self, space: str, opcode: Access, threads: Array, addresses: Array, values: list[Array]
    ) -> None:
        """Write each element of the vector."""
        kind = opcode.type
        values = [np.broadcast_to(value, threads.shape) for value in values]
        if space == "generic":
            for name, mask, start in _split(addresses):
                part = [value[mask] for value in values]
                self.store(name, opcode, threads[mask], addresses[mask] - start, part)
            return
        store, places = self._begin("st", space, opcode, threads, addresses, "write")
        for i, value in enumerate(values):
            at = places + i * kind.size
            store.scatter(at, np.ascontiguousarray(value).view(kind.raw), kind)
            if space == "global":
                self.stored.view(kind.raw)[at // kind.size] = np.iinfo(kind.raw).max
            elif space == "shared":
                _check_kept(store, at, value, kind, threads)

    def update(
        self, space: str, opcode: Atomic, threads: Array, addresses: Array, values: Array
    ) -> Array:
        """Read, modify and write, the threads in ascending order; gives what was there before."""
        kind = opcode.type
        store, places = self._begin(
            "atom", space, Access(True, space, kind), threads, addresses, "atomic"
        )
        bad = store.find_unwritten(places, kind)
        if bad is not None:
            raise UninitialisedMemory(
                f"updates {self._describe(space, int(addresses[bad]))}, which was never written",
                int(threads[bad]),
            )
        cells = store.data.view(kind.dtype)
        old = np.empty(threads.shape, kind.dtype)
        for i, place in enumerate(places // kind.size):
            old[i] = cells[place]
            cells[place] = opcode.function(old[i], values[i])
        return old

    def _begin(
        self, verb: str, space: str, opcode: Access, threads: Array, addresses: Array, how: str
    ) -> tuple[Store, Array]:
        """Check alignment and bounds, look for races, count."""
        size = opcode.type.size * opcode.width
        misaligned = addresses % size != 0
        if misaligned.any():
            i = int(np.argmax(misaligned))
            raise Misaligned(
                f"{size} bytes at address 0x{int(addresses[i]):x}, which is no multiple of {size}",
                int(threads[i]),
            )
        memory = self.spaces[space]
        places = memory.locate(threads, addresses, size)
        if space == "shared":
            self.shared.races.note(threads, places, size, how)
        if opcode.space != "param":
            self._count(verb, space, opcode.space, size, threads, addresses)
        return memory.store, places

    def _count(
        self, verb: str, space: str, named: str, size: int, threads: Array, addresses: Array
    ) -> None:
        warps = threads >> 5
        name = "const" if named == "const" else space
        self.counters.requests[f"{verb}.{name}.{8 * size}"] += count_distinct(warps)
        if space == "shared":
            self.counters.bank_conflicts += count_bank_conflicts(
                warps, threads & 31, addresses, size
            )
        elif name == "global" and verb == "ld":
            self.counters.bytes_loaded += size * threads.size
            self.counters.sectors_loaded += count_sectors(warps, addresses)
        elif name == "global" and verb == "st":
            self.counters.bytes_stored += size * threads.size
            self.counters.sectors_stored += count_sectors(warps, addresses)

    def _check_not_stored(
        self, places: Array, kind: ScalarType, threads: Array, addresses: Array
    ) -> None:
        stale = self.stored.view(kind.raw)[places // kind.size] != 0
        if stale.any():
            i = int(np.argmax(stale))
            raise StaleRead(
                f"a non-coherent load of {self._describe('global', int(addresses[i]))}, "
                "which this launch has written",
                int(threads[i]),
            )

    def _describe(self, space: str, address: int) -> str:
        if space == "global":
            return self.memory.name_at(address)
        return f"byte {address} of {space} memory"


def _check_kept(
    store: Store, places: Array, values: Array, kind: ScalarType, threads: Array
) -> None:
    """Lanes may write to one place at once if they write the same; Triton's do."""
    kept = store.gather(places, kind)
    lost = kept != np.ascontiguousarray(values).view(kind.raw)
    if lost.any():
        raise SharedRace(
            "shared-memory race: another lane writes another value to the same bytes",
            int(threads[np.argmax(lost)]),
        )


def _split(addresses: Array) -> list[tuple[str, Array, int]]:
    """The spaces that generic addresses are in: name, which ones, where the space begins."""
    local = addresses >= LOCAL_WINDOW
    shared = (addresses >= SHARED_WINDOW) & ~local
    parts = [
        ("local", local, LOCAL_WINDOW),
        ("shared", shared, SHARED_WINDOW),
        ("global", ~(local | shared), 0),
    ]
    return [part for part in parts if part[1].any()]
