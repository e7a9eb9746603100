"""Instructions at which threads wait for each other: barriers, shuffles, votes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tests.ptx.errors import DivergentBarrier, DivergentShuffle, Fault, SyntaxNotUnderstood
from tests.ptx.opcodes.table import Control, Opcode, WarpExchange
from tests.ptx.opcodes.warp import Lanes
from tests.ptx.operands import reader, writer
from tests.ptx.scalar_types import TYPES, Array
from tests.ptx.steps import result_writers
from tests.ptx.syntax import Instruction, Literal, Operand
from tests.ptx.traffic import count_distinct

if TYPE_CHECKING:
    from tests.ptx.machine import Machine

_ALL_LANES = np.uint32(0xFFFFFFFF)


class Meeting(Protocol):
    """An instruction that some threads have reached."""

    fault: type[Fault]

    def hold(self, arrived: Array) -> Array:
        """Carry out what can be; for each thread whether it may go on."""

    def missing(self, thread: int, arrived: Array) -> Array:
        """The threads that this one waits for."""


def meeting(machine: Machine, instruction: Instruction, opcode: Opcode) -> Meeting:
    """The meeting that an instruction means."""
    if isinstance(opcode, WarpExchange):
        return _Exchange(machine, instruction, opcode)
    assert isinstance(opcode, Control)
    if opcode.kind == "warp barrier":
        return _WarpBarrier(machine, instruction)
    if opcode.kind in _REDUCTIONS:
        return _BarrierWithReduction(machine, instruction, opcode.kind)
    return _Barrier(machine, instruction, instruction.operands)


class _Barrier:
    """All threads of a block; one that has ended is missed as any other."""

    fault: type[Fault] = DivergentBarrier

    def __init__(
        self, machine: Machine, instruction: Instruction, which: tuple[Operand, ...]
    ) -> None:
        self.machine = machine
        numbers = [o.bits for o in which if isinstance(o, Literal)]
        size = machine.shape.block_size
        if len(numbers) != len(which) or numbers[1:] not in ([], [size]):
            raise SyntaxNotUnderstood(
                f"only barriers of the whole block ({size} threads) are supported"
            )

    def hold(self, arrived: Array) -> Array:
        machine = self.machine
        counts = np.bincount(machine.block[arrived], minlength=machine.n_blocks)
        complete = counts == machine.shape.block_size
        if complete.any():
            machine.shared.pass_barrier(np.flatnonzero(complete))
        return complete[machine.block[arrived]]

    def missing(self, thread: int, arrived: Array) -> Array:
        machine = self.machine
        mates = np.flatnonzero(
            (machine.block == machine.block[thread]) & (machine.in_block < machine.shape.block_size)
        )
        return np.setdiff1d(mates, arrived)


# From how many threads of a block there are, and in how many the predicate holds.
_REDUCTIONS: dict[str, tuple[str, Callable[[Array, int], Array]]] = {
    "barrier with and": ("pred", lambda count, size: count == size),
    "barrier with or": ("pred", lambda count, size: count > 0),
    "barrier with popc": ("u32", lambda count, size: count.astype(np.uint32)),
}


class _BarrierWithReduction(_Barrier):
    """A barrier that tells every thread about a predicate of all."""

    def __init__(self, machine: Machine, instruction: Instruction, kind: str) -> None:
        target, *which, predicate = instruction.operands
        super().__init__(machine, instruction, tuple(which))
        type_name, self.reduce = _REDUCTIONS[kind]
        self.write = writer(machine, target, TYPES[type_name])
        self.read = reader(machine, predicate, TYPES["pred"])

    def hold(self, arrived: Array) -> Array:
        complete = super().hold(arrived)
        threads = arrived[complete]
        if threads.size:
            machine = self.machine
            holds = threads[np.broadcast_to(self.read(threads), threads.shape)]
            counts = np.bincount(machine.block[holds], minlength=machine.n_blocks)
            of_block = self.reduce(counts, machine.shape.block_size)
            self.write(threads, of_block[machine.block[threads]])
        return complete


class _OfWarp:
    """Lanes that a membermask names."""

    fault: type[Fault] = DivergentShuffle

    def __init__(self, machine: Machine, instruction: Instruction, mask_operand: int) -> None:
        self.machine = machine
        self.read_mask = reader(machine, instruction.operands[mask_operand], TYPES["u32"])

    def masks(self, threads: Array) -> Array:
        """The membermask of each thread; it must name the thread itself."""
        masks = np.broadcast_to(self.read_mask(threads), threads.shape)
        own = (masks >> (threads & 31).astype(np.uint32)) & np.uint32(1)
        if not own.all():
            i = int(np.argmin(own))
            mask, lane = int(masks[i]), threads[i] & 31
            raise self.fault(
                f"its membermask 0x{mask:08x} does not name its own lane {lane}",
                int(threads[i]),
            )
        return masks

    def complete(self, threads: Array, masks: Array) -> Array:
        """Whether all that a thread names are here, themselves complete."""
        n_places = self.machine.places.size
        if threads.size == n_places and (masks == _ALL_LANES).all():
            return np.ones(threads.shape, np.bool_)
        complete = np.ones(threads.shape, np.bool_)
        while True:
            present = Lanes(threads, masks, n_places).ballot(complete)
            still = complete & (present == masks)
            if still.all() or (still == complete).all():
                return still
            complete = still

    def missing(self, thread: int, arrived: Array) -> Array:
        """Named lanes that have not arrived, or wait for others themselves."""
        mask = int(self.masks(np.array([thread]))[0])
        first = thread & ~31
        named = np.array([first + lane for lane in range(32) if mask >> lane & 1])
        absent = np.setdiff1d(named, arrived)
        return absent if absent.size else np.setdiff1d(named, [thread])


class _WarpBarrier(_OfWarp):
    fault: type[Fault] = DivergentBarrier

    def __init__(self, machine: Machine, instruction: Instruction) -> None:
        super().__init__(machine, instruction, 0)

    def hold(self, arrived: Array) -> Array:
        complete = self.complete(arrived, self.masks(arrived))
        if complete.any():
            self.machine.shared.races.pass_warp_barrier(arrived[complete])
        return complete


class _Exchange(_OfWarp):
    def __init__(self, machine: Machine, instruction: Instruction, opcode: WarpExchange) -> None:
        super().__init__(machine, instruction, -1)
        target, *operands, _ = instruction.operands
        if len(operands) != len(opcode.operands):
            raise SyntaxNotUnderstood(
                f"{instruction.opcode} takes {len(opcode.operands) + 2} operands, "
                f"got {len(instruction.operands)}"
            )
        self.exchange: Callable[..., object] = opcode.exchange
        self.is_shuffle = opcode.is_shuffle
        self.reads = [
            reader(machine, operand, kind)
            for operand, kind in zip(operands, opcode.operands, strict=True)
        ]
        self.writes = result_writers(machine, target, opcode)

    def hold(self, arrived: Array) -> Array:
        masks = self.masks(arrived)
        complete = self.complete(arrived, masks)
        threads = arrived[complete]
        if threads.size:
            lanes = Lanes(threads, masks[complete], self.machine.places.size)
            operands = [np.broadcast_to(read(threads), threads.shape) for read in self.reads]
            results = self.exchange(lanes, *operands)
            if not isinstance(results, tuple):
                results = (results,)
            for write, values in zip(self.writes, results, strict=False):
                write(threads, values)
            if self.is_shuffle:
                self.machine.counters.shuffles += count_distinct(threads >> 5)
        return complete
