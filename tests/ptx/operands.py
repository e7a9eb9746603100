"""How an instruction reads its operands and writes its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tests.ptx.errors import SyntaxNotUnderstood
from tests.ptx.registers import Threads
from tests.ptx.scalar_types import Array, ScalarType
from tests.ptx.syntax import Literal, Name, Negated, Operand

if TYPE_CHECKING:
    from tests.ptx.machine import Machine

Read: TypeAlias = Callable[[Threads], Array]
Write: TypeAlias = Callable[[Threads, Array], None]


def reader(machine: Machine, operand: Operand, kind: ScalarType, any_width: bool = False) -> Read:
    """A function that gives the operand's values in the type."""
    match operand:
        case Literal():
            return _constant(_literal(operand, kind))
        case Negated():
            positive = reader(machine, operand.name, kind)
            return lambda threads: ~positive(threads)
        case Name() if operand.text in machine.registers:
            return _register_reader(machine, operand.text, kind, any_width)
        case Name() if operand.text in machine.program.symbols:
            return _constant(kind.dtype.type(machine.address_of(operand.text)))
        case Name() if operand.text == "WARP_SZ":
            return _constant(kind.dtype.type(32))
        case Name() if operand.text.startswith("%"):
            name = operand.text
            machine.require_special(name)
            return lambda threads: machine.special(name)[threads].astype(kind.dtype)
    raise SyntaxNotUnderstood(f"{operand} is not declared")


def writer(machine: Machine, operand: Operand, kind: ScalarType, any_width: bool = False) -> Write:
    """A function that stores values of the type. `_` throws them away."""
    if not isinstance(operand, Name):
        raise SyntaxNotUnderstood(f"expected a register for a result, got {operand}")
    if operand.text == "_":
        return lambda threads, values: None
    register = machine.register(operand.text)
    if register.kind.size == kind.size:
        if kind.dtype == kind.raw:
            return register.write
        return lambda threads, values: register.write(threads, np.asarray(values).view(kind.raw))
    if not any_width or register.kind.size < kind.size or register.kind.name == "pred":
        raise _width_error(operand.text, register.kind, kind)
    # Extended by its sign, or by zeros.
    source = kind.dtype if kind.is_signed else kind.raw
    wide = np.dtype(f"{'i' if kind.is_signed else 'u'}{register.kind.size}")

    def extend(threads: Threads, values: Array) -> None:
        extended = np.asarray(values).view(source).astype(wide)
        register.write(threads, extended.view(register.kind.raw))

    return extend


def _constant(value: Array) -> Read:
    return lambda threads: value


def _literal(literal: Literal, kind: ScalarType) -> Array:
    if literal.size and literal.size != kind.size:
        raise SyntaxNotUnderstood(f"a float of {literal.size} bytes where {kind.name} is expected")
    if kind.name == "pred":
        return np.asarray(literal.bits != 0)[()]
    bits = literal.bits % (1 << 8 * kind.size)
    return np.asarray(np.array([bits], kind.raw).view(kind.dtype)[0])[()]


def _register_reader(machine: Machine, name: str, kind: ScalarType, any_width: bool) -> Read:
    register = machine.register(name)
    if register.kind.size == kind.size and (register.kind.name == "pred") == (kind.name == "pred"):
        if kind.dtype == register.kind.raw:
            return register.read
        return lambda threads: register.read(threads).view(kind.dtype)
    if not any_width or register.kind.size < kind.size or "pred" in (register.kind.name, kind.name):
        raise _width_error(name, register.kind, kind)
    return lambda threads: register.read(threads).astype(kind.raw).view(kind.dtype)


def _width_error(name: str, got: ScalarType, expected: ScalarType) -> SyntaxNotUnderstood:
    return SyntaxNotUnderstood(f"{name} is declared .{got.name} but used as .{expected.name}")
