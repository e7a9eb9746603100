"""Instructions as Python functions of the threads that carry them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tests.ptx.errors import DivergentShuffle, Misaligned, SyntaxNotUnderstood
from tests.ptx.opcodes.table import (
    Access,
    Arithmetic,
    Atomic,
    Control,
    MatrixAccess,
    Move,
    Opcode,
    WarpExchange,
)
from tests.ptx.operands import reader, writer
from tests.ptx.registers import Threads
from tests.ptx.scalar_types import TYPES, Array
from tests.ptx.syntax import Address, Instruction, Name, Operand, Pair, Vector

if TYPE_CHECKING:
    from tests.ptx.machine import Machine

Step: TypeAlias = Callable[[Threads], None]


def translate(machine: Machine, instruction: Instruction, opcode: Opcode) -> Step:
    """A step that does what the instruction says, for the threads whose guard is true."""
    match opcode:
        case Arithmetic():
            step = _arithmetic(machine, instruction, opcode)
        case Move():
            step = _move(machine, instruction, opcode)
        case Access():
            step = _access(machine, instruction, opcode)
        case Atomic():
            step = _atomic(machine, instruction, opcode)
        case MatrixAccess():
            step = _matrix_access(machine, instruction, opcode)
        case Control():
            step = _nothing  # a fence: lanes in lock-step have nothing to wait for
        case WarpExchange():
            raise TypeError(f"{instruction.opcode} is for the scheduler")
    return step if instruction.guard is None else _guarded(machine, instruction.guard, step)


def _nothing(threads: Threads) -> None:
    pass


def _guarded(machine: Machine, guard: Operand, step: Step) -> Step:
    holds = reader(machine, guard, TYPES["pred"])

    def guarded(threads: Threads) -> None:
        mask = holds(threads)
        if mask.all():
            step(threads)
        elif mask.any():
            step(machine.places[threads][mask])

    return guarded


def _expect(instruction: Instruction, count: int) -> None:
    if len(instruction.operands) != count:
        raise SyntaxNotUnderstood(
            f"{instruction.opcode} takes {count} operands, got {len(instruction.operands)}"
        )


def result_writers(
    machine: Machine, operand: Operand, opcode: Arithmetic | WarpExchange
) -> list[Callable[[Threads, Array], None]]:
    """Writers of one result, or of two around a `|`."""
    targets = (operand.first, operand.second) if isinstance(operand, Pair) else (operand,)
    if len(targets) > len(opcode.results):
        raise SyntaxNotUnderstood(f"expected {len(opcode.results)} result, got two")
    return [
        writer(machine, target, kind, isinstance(opcode, Arithmetic) and opcode.any_width)
        for target, kind in zip(targets, opcode.results, strict=False)
    ]


def _arithmetic(machine: Machine, instruction: Instruction, opcode: Arithmetic) -> Step:
    _expect(instruction, 1 + len(opcode.operands))
    reads = [
        reader(machine, operand, kind, opcode.any_width)
        for operand, kind in zip(instruction.operands[1:], opcode.operands, strict=True)
    ]
    writes = result_writers(machine, instruction.operands[0], opcode)
    function = opcode.function
    if len(opcode.results) == 1:
        (write,) = writes

        def compute(threads: Threads) -> None:
            write(threads, function(*[read(threads) for read in reads]))

        return compute

    def compute_both(threads: Threads) -> None:
        results = function(*[read(threads) for read in reads])
        for write, values in zip(writes, results, strict=False):
            write(threads, values)

    return compute_both


def _move(machine: Machine, instruction: Instruction, opcode: Move) -> Step:
    _expect(instruction, 2)
    target, source = instruction.operands
    if isinstance(target, Vector):
        return _unpack(machine, target, source, opcode)
    if isinstance(source, Vector):
        return _pack(machine, target, source, opcode)
    read = reader(machine, source, opcode.type)
    write = writer(machine, target, opcode.type)
    return lambda threads: write(threads, read(threads))


def _part_type(vector: Vector, opcode: Move) -> str:
    return f"b{8 * opcode.type.size // len(vector.elements)}"


def _unpack(machine: Machine, target: Vector, source: Operand, opcode: Move) -> Step:
    part = TYPES[_part_type(target, opcode)]
    read = reader(machine, source, opcode.type)
    writes = [writer(machine, element, part) for element in target.elements]

    def unpack(threads: Threads) -> None:
        parts = np.atleast_1d(read(threads)).view(part.raw).reshape(-1, len(writes))
        for i, write in enumerate(writes):
            write(threads, parts[:, i])

    return unpack


def _pack(machine: Machine, target: Operand, source: Vector, opcode: Move) -> Step:
    part = TYPES[_part_type(source, opcode)]
    reads = [reader(machine, element, part) for element in source.elements]
    write = writer(machine, target, opcode.type)

    def pack(threads: Threads) -> None:
        parts = np.stack(np.broadcast_arrays(*[read(threads) for read in reads]), axis=-1)
        write(threads, np.atleast_2d(parts).view(opcode.type.raw)[:, 0].view(opcode.type.dtype))

    return pack


def _address_reader(
    machine: Machine, address: Operand, space: str
) -> tuple[Callable[[Threads], Array], str]:
    """Addresses as int64, and the state space they are in."""
    if not isinstance(address, Address):
        raise SyntaxNotUnderstood(f"expected [address], got {address}")
    offset = np.int64(address.offset)
    base = address.base
    if isinstance(base, Name) and base.text in machine.program.symbols:
        symbol = machine.program.symbols[base.text]
        start = np.int64(machine.address_of(base.text)) + offset
        return lambda threads: np.full(machine.places[threads].shape, start), symbol.space
    if not isinstance(base, Name):
        raise SyntaxNotUnderstood(f"{address}: an address that is a number")
    register = machine.register(base.text)
    read = reader(machine, base, register.kind)
    space = {"param": "parameter", "const": "global", "": "generic"}.get(space, space)
    return lambda threads: read(threads).astype(np.int64) + offset, space


def _elements(operand: Operand, width: int) -> tuple[Operand, ...]:
    elements = operand.elements if isinstance(operand, Vector) else (operand,)
    if len(elements) != width:
        raise SyntaxNotUnderstood(f"expected {width} registers, got {operand}")
    return elements


def _access(machine: Machine, instruction: Instruction, opcode: Access) -> Step:
    _expect(instruction, 2)
    address, data = instruction.operands if opcode.is_store else instruction.operands[::-1]
    addresses, space = _address_reader(machine, address, opcode.space)
    elements = _elements(data, opcode.width)
    if opcode.is_store:
        reads = [reader(machine, element, opcode.type, True) for element in elements]

        def store(threads: Threads) -> None:
            values = [read(threads) for read in reads]
            machine.accesses.store(
                space, opcode, machine.places[threads], addresses(threads), values
            )

        return store
    writes = [writer(machine, element, opcode.type, True) for element in elements]

    def load(threads: Threads) -> None:
        values = machine.accesses.load(space, opcode, machine.places[threads], addresses(threads))
        for write, value in zip(writes, values, strict=True):
            write(threads, value)

    return load


def _atomic(machine: Machine, instruction: Instruction, opcode: Atomic) -> Step:
    _expect(instruction, 3 if opcode.returns else 2)
    operands = instruction.operands[1:] if opcode.returns else instruction.operands
    addresses, space = _address_reader(machine, operands[0], opcode.space)
    read = reader(machine, operands[1], opcode.type)
    write = writer(machine, instruction.operands[0], opcode.type) if opcode.returns else None

    def update(threads: Threads) -> None:
        places = machine.places[threads]
        values = np.broadcast_to(read(threads), places.shape)
        old = machine.accesses.update(space, opcode, places, addresses(threads), values)
        if write is not None:
            write(threads, old)

    return update


def _matrix_access(machine: Machine, instruction: Instruction, opcode: MatrixAccess) -> Step:
    _expect(instruction, 2)
    address, data = instruction.operands if opcode.is_store else instruction.operands[::-1]
    addresses, space = _address_reader(machine, address, "shared")
    two_elements, lane = TYPES["b32"], np.arange(32)
    elements = _elements(data, opcode.count)
    access = Access(opcode.is_store, "shared", two_elements)

    def of_lanes(threads: Threads) -> Iterator[Array]:
        """Where each lane's elements are, matrix by matrix."""
        rows = _matrix_rows(machine.places[threads], addresses(threads), opcode.count)
        for i in range(opcode.count):
            at = rows[:, 8 * i + lane // 4] + lane % 4 * two_elements.size
            yield at.reshape(-1)

    if opcode.is_store:
        reads = [reader(machine, element, two_elements) for element in elements]

        def store(threads: Threads) -> None:
            for read, at in zip(reads, of_lanes(threads), strict=True):
                machine.accesses.store(space, access, machine.places[threads], at, [read(threads)])

        return store
    writes = [writer(machine, element, two_elements) for element in elements]

    def load(threads: Threads) -> None:
        # All are read before a register is written: one of them may hold the addresses.
        found = [
            machine.accesses.load(space, access, machine.places[threads], at)
            for at in of_lanes(threads)
        ]
        for write, (values,) in zip(writes, found, strict=True):
            write(threads, values)

    return load


def _matrix_rows(places: Array, addresses: Array, count: int) -> Array:
    """Addresses by warp and lane, of which those of the matrices' rows are checked."""
    first = places & ~31
    if places.size % 32 != 0 or (places.reshape(-1, 32)[:, -1] != first[::32] + 31).any():
        raise DivergentShuffle("ldmatrix and stmatrix take all lanes of a warp", int(places[0]))
    rows = addresses.reshape(-1, 32)
    misaligned = rows[:, : 8 * count] % 16 != 0
    if misaligned.any():
        raise Misaligned(
            f"a row of 16 bytes in shared memory at an address that is no multiple of 16, of "
            f"matrix {int(np.argmax(misaligned.any(axis=0))) // 8}",
            int(places[32 * int(np.argmax(misaligned.any(axis=1)))]),
        )
    return rows
