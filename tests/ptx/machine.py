"""Runs a kernel: all threads of a batch of blocks at once, each instruction a few numpy calls.

Of the threads that can go on, those at the lowest place in the code go first, until they reach
others: so paths that part join again where the code does, and the order inside a warp does not
depend on what else is in the batch. Barriers, shuffles and votes hold threads back until every
thread they name has come to the same instruction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tests.ptx.accesses import Accesses
from tests.ptx.counters import Counters
from tests.ptx.errors import Endless, Fault, SyntaxNotUnderstood
from tests.ptx.jumps import ControlStep, guarded, jump_of
from tests.ptx.memory import Memory
from tests.ptx.opcodes import lookup
from tests.ptx.opcodes.table import Access, Atomic, Control, Opcode, WarpExchange
from tests.ptx.program import Program
from tests.ptx.registers import ALL, Register, Threads
from tests.ptx.scalar_types import TYPES, Array
from tests.ptx.spaces import SharedSpace, Space
from tests.ptx.special_registers import SPECIAL_REGISTERS
from tests.ptx.steps import Step, translate
from tests.ptx.synchronisation import Meeting, meeting
from tests.ptx.syntax import Instruction
from tests.ptx.traffic import count_distinct

WARP = 32

# Enough for numpy's cost per call to be small, few enough for a cache to hold the registers in use.
_THREADS_IN_BATCH = 1 << 14
_SHARED_IN_BATCH = 1 << 22  # bytes; watching for races takes 12 times that


@dataclass(frozen=True)
class Shape:
    """Of a launch."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic_shared: int

    @property
    def n_blocks(self) -> int:
        """In the grid."""
        return math.prod(self.grid)

    @property
    def block_size(self) -> int:
        """Threads in a block."""
        return math.prod(self.block)


class Machine:
    """One launch of a kernel.

    Args:
        program: The kernel.
        memory: Global memory.
        shape: Grid and block.
        parameters: The bytes of the kernel's parameters.
        counters: What to count in.
        step_limit: After how many instructions in lock-step a batch counts as endless.
    """

    shape: Shape
    at: int  # the instruction being carried out, for messages

    # Of the present batch. Threads have places, whole warps of them for each block.
    first_block: int
    n_blocks: int
    places: Array
    block: Array
    in_block: Array
    warp: Array
    next: Array  # where each thread is in the code
    waiting: Array
    shared: SharedSpace
    accesses: Accesses

    def __init__(
        self,
        program: Program,
        memory: Memory,
        shape: Shape,
        parameters: bytes,
        counters: Counters,
        step_limit: int,
    ) -> None:
        self.program = program
        self.memory = memory
        self.shape = shape
        self.parameters = parameters
        self.counters = counters
        self.step_limit = step_limit
        self.registers = {
            name: Register(name, TYPES[kind]) for name, kind in program.registers.items()
        }
        self.end = len(program.code)
        self.issued: Array = np.zeros(self.end, np.int64)
        self.opcodes = [lookup(i) for i in program.code]
        # A launch carries out a small part of the code.
        self.steps: list[Step] = [self._translate_and_do] * self.end
        self.controls: dict[int, ControlStep] = {}
        self.meetings: dict[int, Meeting] = {}
        for place, (instruction, opcode) in enumerate(zip(program.code, self.opcodes, strict=True)):
            if _is_for_the_scheduler(opcode):
                self.at = place
                with self._naming_the_place():
                    self.controls[place] = self._control(instruction, opcode)
        # For each place, the next one at which control may leave the straight line.
        self.line_ends = [self.end] * (self.end + 1)
        for place in reversed(range(self.end)):
            self.line_ends[place] = place if place in self.controls else self.line_ends[place + 1]
        sizes = [
            o.type.size
            for o in self.opcodes
            if isinstance(o, Access | Atomic) and o.space in ("shared", "")
        ]
        self.granule = min(sizes, default=4)
        # Variables of the module have their places by now.
        self.stored: Array = np.zeros_like(memory.store.data)

    # What steps ask for.

    def register(self, name: str) -> Register:
        """A declared register."""
        if name not in self.registers:
            raise SyntaxNotUnderstood(f"register {name} is not declared")
        return self.registers[name]

    def address_of(self, name: str) -> int:
        """The address of a variable in its state space."""
        symbol = self.program.symbols[name]
        if symbol.space == "global":
            return self.memory.address_of_variable(symbol.variable)
        return symbol.address

    def require_special(self, name: str) -> None:
        """Fail unless `special` knows the register."""
        if name not in SPECIAL_REGISTERS:
            raise SyntaxNotUnderstood(f"{name} is neither declared nor a known special register")

    def special(self, name: str) -> Array:
        """Values of a special register in this batch."""
        if name not in self._special:
            self._special[name] = np.broadcast_to(SPECIAL_REGISTERS[name](self), self.places.shape)
        return self._special[name]

    # Running.

    def run(self) -> None:
        """Run all blocks, and add up what they did."""
        warps = -(-self.shape.block_size // WARP)
        shared = self.program.shared_size + self.shape.dynamic_shared
        batch = _THREADS_IN_BATCH // (warps * WARP)
        batch = max(1, min(batch, _SHARED_IN_BATCH // max(shared, 1)))
        with np.errstate(all="ignore"):
            for first in range(0, self.shape.n_blocks, batch):
                self._start(first, min(batch, self.shape.n_blocks - first), warps)
                try:
                    self._run_batch()
                except Fault as fault:
                    raise type(fault)(self._blame(fault), fault.thread) from fault
        for instruction, count in zip(self.program.code, self.issued.tolist(), strict=True):
            if count:
                self.counters.opcodes[instruction.opcode] += count
        self.counters.warp_instructions += int(self.issued.sum())

    def _start(self, first_block: int, n_blocks: int, warps: int) -> None:
        self.first_block = first_block
        self.n_blocks = n_blocks
        room = warps * WARP
        self.places = np.arange(n_blocks * room)
        self.block = self.places // room
        self.in_block = self.places % room
        self.warp = self.places // WARP
        self._special: dict[str, Array] = {}
        # Where the block is no whole number of warps, the lanes beyond it have always ended.
        self.next = np.where(self.in_block < self.shape.block_size, 0, self.end)
        self.waiting = np.zeros(self.places.shape, np.bool_)
        for register in self.registers.values():
            register.clear(self.places.size)
        shared_size = self.program.shared_size + self.shape.dynamic_shared
        self.shared = SharedSpace(shared_size, self.block, self.warp, self.granule)
        parameters = Space("parameter", len(self.parameters), np.zeros_like(self.places))
        parameters.store.fill(0, self.parameters)
        local = Space("local", self.program.local_size, self.places)
        self.accesses = Accesses(
            self.memory,
            self.shared,
            {"parameter": parameters, "local": local},
            self.counters,
            self.stored,
        )

    def _run_batch(self) -> None:
        self.steps_left = self.step_limit
        while True:
            ready = np.where(self.waiting, self.end, self.next)
            place = int(ready.min())
            if place == self.end:
                break
            here = ready == place
            if here.all():
                self._advance(place, ALL, self.end)
            else:
                self._advance(place, np.flatnonzero(here), int(ready[~here].min()))
        if self.waiting.any():
            self._fail_waiting()

    def _advance(self, place: int, threads: Threads, limit: int) -> None:
        """Carry on with these threads until they part, wait, or come to others at `limit`."""
        n_warps = count_distinct(self.warp[threads])
        while place < limit:
            stop = min(self.line_ends[place], limit)
            self.issued[place:stop] += n_warps
            for self.at in range(place, stop):
                self.steps[self.at](threads)
            self._spend(stop - place + 1)
            place = stop
            if place < limit:
                self.issued[place] += n_warps
                self.at = place
                following = self.controls[place](place, threads)
                if following is None:
                    return
                place = following
        self.next[threads] = place

    def _spend(self, steps: int) -> None:
        self.steps_left -= steps
        if self.steps_left < 0:
            raise Endless(f"more than {self.step_limit} instructions in lock-step")

    def _translate_and_do(self, threads: Threads) -> None:
        """The step at a place where no thread has been."""
        with self._naming_the_place():
            step = translate(self, self.program.code[self.at], self.opcodes[self.at])
        self.steps[self.at] = step
        step(threads)

    # Control.

    def _control(self, instruction: Instruction, opcode: Opcode) -> ControlStep:
        jump = jump_of(self, instruction, opcode.kind) if isinstance(opcode, Control) else None
        return jump or self._meet(instruction, opcode)

    # Meetings: instructions that wait for other threads.

    def _meet(self, instruction: Instruction, opcode: Opcode) -> ControlStep:
        self.meetings[self.at] = meeting(self, instruction, opcode)
        return guarded(self, instruction, self._arrive)

    def _arrive(self, place: int, threads: Threads) -> int | None:
        arrived = self.places[threads]
        if self.waiting.any():
            earlier = np.flatnonzero(self.waiting & (self.next == place))
            arrived = np.union1d(arrived, earlier)
        free = self.meetings[place].hold(arrived)
        if free.all() and not self.waiting.any():
            return place + 1
        self.next[arrived] = np.where(free, place + 1, place)
        self.waiting[arrived] = ~free
        return None

    def _fail_waiting(self) -> None:
        """Nobody can go on, but some wait."""
        thread = int(np.argmax(self.waiting))
        self.at = int(self.next[thread])
        arrived = np.flatnonzero(self.waiting & (self.next == self.at))
        missing = self.meetings[self.at].missing(thread, arrived)
        absent = int(missing[0])
        if self.next[absent] == self.end:
            where = "has ended"
        else:
            where = f"waits in line {self.program.code[int(self.next[absent])].line}"
        raise self.meetings[self.at].fault(
            f"waits for {missing.size} threads that never come: {self._name(absent)} {where}",
            thread,
        )

    # Messages.

    @contextmanager
    def _naming_the_place(self) -> Iterator[None]:
        try:
            yield
        except SyntaxNotUnderstood as error:
            raise SyntaxNotUnderstood(f"{self._here()}: {error}") from error

    def _here(self) -> str:
        instruction = self.program.code[self.at]
        return f"{self.program.kernel.name}, line {instruction.line}, `{instruction.text}`"

    def _name(self, thread: int) -> str:
        index = _unravel(int(self.in_block[thread]), self.shape.block)
        block = _unravel(int(self.block[thread]) + self.first_block, self.shape.grid)
        return f"thread {index} of block {block}"

    def _blame(self, fault: Fault) -> str:
        who = "" if fault.thread is None else f"{self._name(fault.thread)}: "
        return f"{self._here()}: {who}{fault}"


def _is_for_the_scheduler(opcode: Opcode) -> bool:
    is_control = isinstance(opcode, Control) and opcode.kind != "fence"
    return is_control or isinstance(opcode, WarpExchange)


def _unravel(number: int, extents: tuple[int, int, int]) -> tuple[int, int, int]:
    """x, y, z, the first of which runs fastest."""
    x, y, _ = extents
    return number % x, number // x % y, number // (x * y)
