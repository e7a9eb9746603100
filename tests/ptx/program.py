"""A kernel as one list of instructions: device functions are put where they are called."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.ptx.errors import SyntaxNotUnderstood
from tests.ptx.syntax import (
    Address,
    File,
    Function,
    Group,
    Instruction,
    Literal,
    Name,
    Negated,
    Operand,
    Pair,
    Variable,
    Vector,
)

_DYNAMIC_ALIGNMENT = 16


@dataclass(frozen=True)
class Symbol:
    """A variable: its address in its space, or for global and const the variable itself."""

    space: str
    address: int
    variable: Variable


@dataclass
class Program:
    """A kernel ready to be translated.

    Args:
        kernel: Its signature.
        code: All instructions; a call stands before the called function's, its return after them.
        registers: Types by name.
        labels: Places in the code.
        inlined_calls: Places of calls whose function follows.
        branch_targets: Labels of the tables for `brx.idx`.
        symbols: Variables by name.
        shared_size: Bytes of static shared memory, aligned for dynamic shared memory to follow.
        local_size: Bytes of local memory of a thread, parameters of called functions among them.
        parameter_size: Bytes of the kernel's parameters.
    """

    kernel: Function
    code: list[Instruction] = field(default_factory=list)
    registers: dict[str, str] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    inlined_calls: set[int] = field(default_factory=set)
    branch_targets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    symbols: dict[str, Symbol] = field(default_factory=dict)
    shared_size: int = 0
    local_size: int = 0
    parameter_size: int = 0


def assemble(file: File, name: str) -> Program:
    """Lay out the code and variables of a kernel."""
    kernel = file.function(name)
    program = Program(kernel)
    for parameter in kernel.parameters:
        offset = _align(program.parameter_size, parameter.align)
        program.symbols[parameter.name] = Symbol("parameter", offset, parameter)
        program.parameter_size = offset + parameter.size
    _Inliner(file, program).inline(kernel, {}, "")
    used = {name for instruction in program.code for name in _names_in(instruction)}
    for variable in file.variables:
        if variable.name in used:
            _place(program, variable)
    _place_dynamic_shared(program)
    return program


class _Inliner:
    def __init__(self, file: File, program: Program) -> None:
        self.file = file
        self.program = program
        self.copies = 0
        self.active: list[str] = []

    def inline(self, function: Function, actual: dict[str, str], prefix: str) -> None:
        """Append a function's code. `actual` tells what its parameters are called outside."""
        if function.name in self.active:
            raise SyntaxNotUnderstood(f"{function.name} calls itself; recursion is not supported")
        self.active.append(function.name)
        program = self.program
        names = dict(actual)
        own = [*function.registers, *function.labels, *function.branch_targets]
        names.update({name: prefix + name for name in own})
        for variable in function.variables:
            names[variable.name] = prefix + variable.name
            _place(program, replace(variable, name=prefix + variable.name))
        program.registers.update({prefix + n: t for n, t in function.registers.items()})
        for table, labels in function.branch_targets.items():
            program.branch_targets[prefix + table] = tuple(prefix + label for label in labels)
        at: dict[int, list[str]] = {}
        for label, place in function.labels.items():
            at.setdefault(place, []).append(prefix + label)
        end = f"{prefix}end of {function.name}"
        for place, instruction in enumerate(function.code):
            program.labels.update(dict.fromkeys(at.get(place, ()), len(program.code)))
            instruction = _rename(instruction, names)
            if instruction.opcode in ("ret", "ret.uni") and not function.is_kernel:
                instruction = replace(instruction, operands=(Name(end),))
            program.code.append(instruction)
            if instruction.opcode.partition(".")[0] == "call":
                self._inline_callee(instruction)
        program.labels.update(dict.fromkeys(at.get(len(function.code), ()), len(program.code)))
        program.labels[end] = len(program.code)
        self.active.pop()

    def _inline_callee(self, call: Instruction) -> None:
        operands = list(call.operands)
        returns = Group(())
        if isinstance(operands[0], Group):
            returns = operands[0]
            del operands[0]
        target = operands.pop(0)
        arguments = operands.pop(0) if operands else Group(())
        if operands or not (isinstance(target, Name) and isinstance(arguments, Group)):
            raise SyntaxNotUnderstood(f"line {call.line}: only direct calls are supported")
        if target.text not in self.file.functions:
            raise SyntaxNotUnderstood(f"line {call.line}: {target.text} is not a function")
        callee = self.file.function(target.text)
        if not callee.code:
            return  # without a body: a fault if it is ever reached
        formal = [p.name for p in (*callee.returns, *callee.parameters)]
        given = [*returns.names, *arguments.names]
        if len(formal) != len(given):
            raise SyntaxNotUnderstood(
                f"line {call.line}: {target.text} has {len(formal)} parameters, got {len(given)}"
            )
        self.copies += 1
        self.program.inlined_calls.add(len(self.program.code) - 1)
        self.inline(callee, dict(zip(formal, given, strict=True)), f"{target.text}#{self.copies}.")


def _place(program: Program, variable: Variable) -> None:
    """Give a variable its address."""
    if variable.space == "shared":
        address = _align(program.shared_size, variable.align)
        program.shared_size = address + variable.size
        program.symbols[variable.name] = Symbol("shared", address, variable)
    elif variable.space in ("local", "param"):
        # Parameters of a call are private to the thread, as local memory is.
        address = _align(program.local_size, variable.align)
        program.local_size = address + variable.size
        program.symbols[variable.name] = Symbol("local", address, variable)
    else:
        program.symbols[variable.name] = Symbol("global", 0, variable)


def _place_dynamic_shared(program: Program) -> None:
    """All arrays of open extent begin where static shared memory ends."""
    program.shared_size = _align(program.shared_size, _DYNAMIC_ALIGNMENT)
    for name, symbol in program.symbols.items():
        if symbol.space == "shared" and symbol.variable.size == 0:
            program.symbols[name] = replace(symbol, address=program.shared_size)


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _names_in(instruction: Instruction) -> list[str]:
    names = []
    for operand in instruction.operands:
        if isinstance(operand, Address):
            operand = operand.base
        if isinstance(operand, Name):
            names.append(operand.text)
    return names


def _rename(instruction: Instruction, names: dict[str, str]) -> Instruction:
    guard = instruction.guard
    if guard is not None:
        renamed = _rename_operand(guard, names)
        assert isinstance(renamed, Name | Negated)
        guard = renamed
    operands = tuple(_rename_operand(operand, names) for operand in instruction.operands)
    return replace(instruction, operands=operands, guard=guard)


def _rename_operand(operand: Operand, names: dict[str, str]) -> Operand:
    def name(each: Name) -> Name:
        return Name(names.get(each.text, each.text))

    def element(each: Name | Literal) -> Name | Literal:
        return name(each) if isinstance(each, Name) else each

    match operand:
        case Name():
            return name(operand)
        case Negated():
            return Negated(name(operand.name))
        case Pair():
            return Pair(name(operand.first), name(operand.second))
        case Address():
            return Address(element(operand.base), operand.offset)
        case Vector():
            return Vector(tuple(element(each) for each in operand.elements))
        case Group():
            return Group(tuple(names.get(each, each) for each in operand.names))
        case Literal():
            return operand
