"""Runs a kernel: all threads of a batch of blocks at once, each instruction a few numpy calls.

Of the threads that can go on, those at the lowest place in the code go first, until they reach
others: so paths that part join again where the code does, and the order inside a warp does not
depend on what else is in the batch. Barriers, shuffles and votes hold threads back until every
thread they name has come to the same instruction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tests.ptx.accesses import Accesses
from tests.ptx.counters import Counters
from tests.ptx.errors import Endless, Fault, SyntaxNotUnderstood, Trapped
from tests.ptx.memory import Memory
from tests.ptx.opcodes import lookup
from tests.ptx.opcodes.table import Access, Atomic, Control, Opcode, WarpExchange
from tests.ptx.operands import reader
from tests.ptx.program import Program
from tests.ptx.registers import ALL, Register, Threads
from tests.ptx.scalar_types import TYPES, Array
from tests.ptx.spaces import SharedSpace, Space
from tests.ptx.steps import Step, translate
from tests.ptx.synchronisation import Meeting, meeting
from tests.ptx.syntax import Instruction, Name
from tests.ptx.traffic import count_distinct

WARP = 32

# Enough for numpy's cost per call to be small, few enough for a cache to hold the registers in use.
_THREADS_IN_BATCH = 1 << 14
_SHARED_IN_BATCH = 1 << 22  # bytes; watching for races takes 12 times that

# A control instruction gives the place where all its threads go on, or None if they part or wait.
ControlStep: TypeAlias = Callable[[int, Threads], int | None]


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
        self.at = 0  # the instruction being carried out, for messages
        self.first_block = 0
        self.places: Array = np.zeros(0, np.int64)
        self.opcodes = [lookup(i) for i in program.code]
        self.steps: list[Step] = []
        self.controls: dict[int, ControlStep] = {}
        self.meetings: dict[int, Meeting] = {}
        for place, instruction in enumerate(program.code):
            self.at = place
            try:
                self.steps.append(self._translate(instruction, self.opcodes[place]))
            except SyntaxNotUnderstood as error:
                raise SyntaxNotUnderstood(f"{self._here()}: {error}") from error
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
        if name not in _SPECIAL:
            raise SyntaxNotUnderstood(f"{name} is neither declared nor a known special register")

    def special(self, name: str) -> Array:
        """Values of a special register in this batch."""
        if name not in self._special:
            self._special[name] = np.broadcast_to(_SPECIAL[name](self), self.places.shape)
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

    # Control.

    def _translate(self, instruction: Instruction, opcode: Opcode) -> Step:
        if isinstance(opcode, Control) and opcode.kind != "fence":
            self.controls[self.at] = self._control(instruction, opcode.kind)
            return _no_step
        if isinstance(opcode, WarpExchange):
            self.controls[self.at] = self._meet(instruction, opcode)
            return _no_step
        return translate(self, instruction, opcode)

    def _control(self, instruction: Instruction, kind: str) -> ControlStep:
        match kind:
            case "branch":
                return self._jump(instruction, self._target(instruction))
            case "return" if instruction.operands:  # from a called function
                return self._jump(instruction, self._target(instruction))
            case "return" | "exit":
                return self._jump(instruction, self.end)
            case "branch by index":
                return self._jump_by_index(instruction)
            case "call":
                return self._call(instruction)
            case "trap":
                return self._guarded(instruction, lambda place, threads: self._trap("a trap"))
        return self._meet(instruction, self.opcodes[self.at])

    def _target(self, instruction: Instruction) -> int:
        operand = instruction.operands[0]
        if not isinstance(operand, Name) or operand.text not in self.program.labels:
            raise SyntaxNotUnderstood(f"{operand} is not a label of this function")
        return self.program.labels[operand.text]

    def _jump(self, instruction: Instruction, target: int) -> ControlStep:
        return self._guarded(instruction, lambda place, threads: target)

    def _guarded(self, instruction: Instruction, control: ControlStep) -> ControlStep:
        """Threads whose guard is false go on to the next instruction."""
        if instruction.guard is None:
            return control
        holds = reader(self, instruction.guard, TYPES["pred"])

        def guarded(place: int, threads: Threads) -> int | None:
            mask = holds(threads)
            if mask.all():
                return control(place, threads)
            if not mask.any():
                return place + 1
            places = self.places[threads]
            self.next[places[~mask]] = place + 1
            following = control(place, places[mask])
            if following is not None:
                self.next[places[mask]] = following
            return None

        return guarded

    def _jump_by_index(self, instruction: Instruction) -> ControlStep:
        index, table = instruction.operands
        if not isinstance(table, Name) or table.text not in self.program.branch_targets:
            raise SyntaxNotUnderstood(f"{table} is not a list of branch targets")
        labels = self.program.branch_targets[table.text]
        targets = np.array([self.program.labels[label] for label in labels])
        read = reader(self, index, TYPES["u32"])

        def jump(place: int, threads: Threads) -> int | None:
            chosen = read(threads)
            if (chosen >= len(targets)).any():
                raise Trapped(f"branch index {int(chosen.max())} of {len(targets)} targets")
            self.next[threads] = targets[chosen]
            return None

        return self._guarded(instruction, jump)

    def _call(self, instruction: Instruction) -> ControlStep:
        if self.at in self.program.inlined_calls:
            if instruction.guard is not None:
                raise SyntaxNotUnderstood("a call under a predicate is not supported")
            return lambda place, threads: place + 1
        return self._guarded(
            instruction,
            lambda place, threads: self._trap("a call of a function that has no body"),
        )

    def _trap(self, what: str) -> int:
        raise Trapped(f"reached {what}")

    # Meetings: instructions that wait for other threads.

    def _meet(self, instruction: Instruction, opcode: Opcode) -> ControlStep:
        self.meetings[self.at] = meeting(self, instruction, opcode)
        return self._guarded(instruction, self._arrive)

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


def _no_step(threads: Threads) -> None:
    raise AssertionError("control instructions are no steps")


def _unravel(number: int, extents: tuple[int, int, int]) -> tuple[int, int, int]:
    """x, y, z, the first of which runs fastest."""
    x, y, _ = extents
    return number % x, number // x % y, number // (x * y)


def _coordinates(name: str, extents: str, number: Callable[[Machine], Array]) -> _Specials:
    """The three components of an index and of its extents."""
    specials: _Specials = {}
    for axis, letter in enumerate("xyz"):

        def index(machine: Machine, axis: int = axis) -> Array:
            shape: tuple[int, int, int] = getattr(machine.shape, extents)
            return number(machine) // math.prod(shape[:axis]) % shape[axis]

        def extent(machine: Machine, axis: int = axis) -> Array:
            return np.asarray(getattr(machine.shape, extents)[axis])

        specials[f"%{name}.{letter}"] = index
        specials[f"%n{name}.{letter}"] = extent
    return specials


_Specials: TypeAlias = dict[str, Callable[[Machine], Array]]
_SPECIAL: _Specials = {
    **_coordinates("tid", "block", lambda machine: machine.in_block),
    **_coordinates("ctaid", "grid", lambda machine: machine.block + machine.first_block),
    "%laneid": lambda machine: machine.places % WARP,
    "%warpid": lambda machine: machine.in_block // WARP,
    "%nwarpid": lambda machine: np.asarray(-(-machine.shape.block_size // WARP)),
    "%lanemask_eq": lambda machine: 1 << machine.places % WARP,
    "%lanemask_lt": lambda machine: (1 << machine.places % WARP) - 1,
    "%lanemask_le": lambda machine: (2 << machine.places % WARP) - 1,
    "%lanemask_gt": lambda machine: (1 << WARP) - (2 << machine.places % WARP),
    "%lanemask_ge": lambda machine: (1 << WARP) - (1 << machine.places % WARP),
    "%dynamic_smem_size": lambda machine: np.asarray(machine.shape.dynamic_shared),
}
