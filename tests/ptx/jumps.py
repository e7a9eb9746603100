"""Branches, calls and ends: where threads go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tests.ptx.errors import SyntaxNotUnderstood, Trapped
from tests.ptx.operands import reader
from tests.ptx.registers import Threads
from tests.ptx.scalar_types import TYPES
from tests.ptx.syntax import Instruction, Name

if TYPE_CHECKING:
    from tests.ptx.machine import Machine

# From its own place and its threads, the place where all of them go on, or None if they part or
# wait: then the machine has been told.
ControlStep: TypeAlias = Callable[[int, Threads], "int | None"]


def jump_of(machine: Machine, instruction: Instruction, kind: str) -> ControlStep | None:
    """What an instruction of this kind does; None if it is no jump."""
    match kind:
        case "branch":
            return _jump(machine, instruction, _target(machine, instruction))
        case "return" if instruction.operands:  # from a called function
            return _jump(machine, instruction, _target(machine, instruction))
        case "return" | "exit":
            return _jump(machine, instruction, machine.end)
        case "branch by index":
            return _jump_by_index(machine, instruction)
        case "call":
            return _call(machine, instruction)
        case "trap":
            return guarded(machine, instruction, lambda place, threads: _trap("a trap"))
    return None


def guarded(machine: Machine, instruction: Instruction, control: ControlStep) -> ControlStep:
    """Threads whose guard is false go on to the next instruction."""
    if instruction.guard is None:
        return control
    holds = reader(machine, instruction.guard, TYPES["pred"])

    def split(place: int, threads: Threads) -> int | None:
        mask = holds(threads)
        if mask.all():
            return control(place, threads)
        if not mask.any():
            return place + 1
        places = machine.places[threads]
        machine.next[places[~mask]] = place + 1
        following = control(place, places[mask])
        if following is not None:
            machine.next[places[mask]] = following
        return None

    return split


def _target(machine: Machine, instruction: Instruction) -> int:
    operand = instruction.operands[0]
    if not isinstance(operand, Name) or operand.text not in machine.program.labels:
        raise SyntaxNotUnderstood(f"{operand} is not a label of this function")
    return machine.program.labels[operand.text]


def _jump(machine: Machine, instruction: Instruction, target: int) -> ControlStep:
    return guarded(machine, instruction, lambda place, threads: target)


def _jump_by_index(machine: Machine, instruction: Instruction) -> ControlStep:
    index, table = instruction.operands
    if not isinstance(table, Name) or table.text not in machine.program.branch_targets:
        raise SyntaxNotUnderstood(f"{table} is not a list of branch targets")
    labels = machine.program.branch_targets[table.text]
    targets = np.array([machine.program.labels[label] for label in labels])
    read = reader(machine, index, TYPES["u32"])

    def jump(place: int, threads: Threads) -> int | None:
        chosen = read(threads)
        if (chosen >= len(targets)).any():
            raise Trapped(f"branch index {int(chosen.max())} of {len(targets)} targets")
        machine.next[threads] = targets[chosen]
        return None

    return guarded(machine, instruction, jump)


def _call(machine: Machine, instruction: Instruction) -> ControlStep:
    if machine.at in machine.program.inlined_calls:
        if instruction.guard is not None:
            raise SyntaxNotUnderstood("a call under a predicate is not supported")
        return lambda place, threads: place + 1
    return guarded(
        machine,
        instruction,
        lambda place, threads: _trap("a call of a function that has no body"),
    )


def _trap(what: str) -> int:
    raise Trapped(f"reached {what}")
