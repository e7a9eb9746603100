"""PTX text as functions of instructions. Knows the grammar, not what any opcode means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tests.ptx.errors import SyntaxNotUnderstood
from tests.ptx.scalar_types import TYPES


@dataclass(frozen=True)
class Name:
    """A register, special register, variable, function or label."""

    text: str


@dataclass(frozen=True)
class Literal:
    """A number: an integer of any sign (size 0), or the bits of a float (size 4 or 8)."""

    bits: int
    size: int = 0


@dataclass(frozen=True)
class Address:
    """`[base + offset]`."""

    base: Name | Literal
    offset: int


@dataclass(frozen=True)
class Vector:
    """`{a, b, ...}`."""

    elements: tuple[Name | Literal, ...]


@dataclass(frozen=True)
class Pair:
    """`first|second`: a result and its companion predicate."""

    first: Name
    second: Name


@dataclass(frozen=True)
class Negated:
    """`!predicate`."""

    name: Name


@dataclass(frozen=True)
class Group:
    """`(a, b, ...)`: the results or arguments of a call."""

    names: tuple[str, ...]


Operand: TypeAlias = Name | Literal | Address | Vector | Pair | Negated | Group


@dataclass(frozen=True)
class Instruction:
    """One instruction; `guard` is the predicate in front of it."""

    opcode: str
    operands: tuple[Operand, ...]
    guard: Name | Negated | None
    line: int
    text: str


@dataclass(frozen=True)
class Variable:
    """A variable or parameter in a state space. `data` is None where it has no initial value."""

    name: str
    space: str
    size: int
    align: int
    type_name: str
    data: bytes | None = None


@dataclass
class Function:
    """A kernel or device function. Names of nested scopes are already made unique."""

    name: str
    is_kernel: bool
    returns: list[Variable]
    parameters: list[Variable]
    limits: dict[str, tuple[int, ...]]
    registers: dict[str, str] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    branch_targets: dict[str, tuple[str, ...]] = field(default_factory=dict)


_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    | (?P<word>\.[A-Za-z_]\w* | [A-Za-z_$%][\w$.]*(?:::[\w.]+)* | \d[\w.]* | "[^"]*")
    | (?P<mark>[{}()\[\],;:@!|+\-=<>])""",
    re.VERBOSE | re.DOTALL,
)
_LINKAGE = (".visible", ".weak", ".extern", ".common")
# They bear on how ptxas compiles, not on what a kernel does.
_TUNING = (".maxnreg", ".minnctapersm", ".noreturn")


class Reader:
    """Walks over the words and marks of a text.

    Args:
        words: The text of each.
        lines: The line that each is on.
    """

    def __init__(self, words: list[str], lines: list[int]) -> None:
        self.words = words
        self.lines = lines
        self.position = 0

    @classmethod
    def of(cls, text: str) -> Reader:
        """Split a text, leaving comments out."""
        reader = cls([], [])
        position, line = 0, 1
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise SyntaxNotUnderstood(f"line {line}: {text[position : position + 20]!r}")
            if match.lastgroup != "skip":
                reader.words.append(match.group())
                reader.lines.append(line)
            line += match.group().count("\n")
            position = match.end()
        return reader

    def __bool__(self) -> bool:
        return self.position < len(self.words)

    def peek(self, ahead: int = 0) -> str:
        """A word further on; empty past the end."""
        index = self.position + ahead
        return self.words[index] if index < len(self.words) else ""

    def next(self) -> str:
        """The next word, which is then behind."""
        if not self:
            raise SyntaxNotUnderstood("the text ends inside a statement")
        self.position += 1
        return self.words[self.position - 1]

    def take(self, text: str) -> bool:
        """Whether the next word is this one; if so it is then behind."""
        found = self.peek() == text
        self.position += found
        return found

    def expect(self, text: str) -> None:
        """Pass this word."""
        got = self.next()
        if got != text:
            raise self.error(f"expected {text!r}, got {got!r}")

    def error(self, what: str) -> SyntaxNotUnderstood:
        """Say where."""
        line = self.lines[min(self.position, len(self.lines) - 1)]
        return SyntaxNotUnderstood(f"line {line}: {what}")

    def skip_line(self) -> None:
        """Pass all words of the present line."""
        line = self.lines[self.position]
        while self and self.lines[self.position] == line:
            self.position += 1

    def block(self) -> Reader:
        """What is inside the braces that start here."""
        self.expect("{")
        start, depth = self.position, 1
        while depth:
            depth += {"{": 1, "}": -1}.get(self.next(), 0)
        inside = slice(start, self.position - 1)
        return Reader(self.words[inside], self.lines[inside])


@dataclass
class File:
    """The functions and module-scope variables of a PTX text; bodies are parsed when asked for."""

    functions: dict[str, Function]
    variables: list[Variable]
    bodies: dict[str, Reader]

    def function(self, name: str) -> Function:
        """A function with its body; without code where it is only declared."""
        function = self.functions[name]
        if name in self.bodies:
            _parse_body(function, self.bodies.pop(name))
        return function


def parse(text: str) -> File:
    """Parse the module scope."""
    reader = Reader.of(text)
    file = File({}, [], {})
    while reader:
        word = reader.next()
        if word in (".version", ".target", ".file"):
            reader.position -= 1
            reader.skip_line()
        elif word == ".address_size":
            if reader.next() != "64":
                raise reader.error("only .address_size 64 is supported")
        elif word == ".section":
            reader.next()
            reader.block()
        elif word in _LINKAGE or word == ";":
            continue
        elif word in (".entry", ".func"):
            _parse_signature(file, reader, is_kernel=word == ".entry")
        elif word in (".global", ".const", ".shared"):
            file.variables.append(_parse_variable(reader, word[1:]))
            reader.expect(";")
        else:
            raise reader.error(f"module scope does not know {word!r}")
    return file


def _parse_signature(file: File, reader: Reader, is_kernel: bool) -> None:
    returns = list(_parse_parameters(reader)) if reader.peek() == "(" else []
    name = reader.next()
    parameters = list(_parse_parameters(reader)) if reader.peek() == "(" else []
    limits = {}
    while reader.peek().startswith("."):
        directive = reader.next()
        numbers = []
        while reader.peek().isdigit():
            numbers.append(int(reader.next()))
            reader.take(",")
        if directive in (".maxntid", ".reqntid"):
            limits[directive[1:]] = tuple(numbers)
        elif directive not in _TUNING:
            raise reader.error(f"{name}: directive {directive!r} is not known")
    function = Function(name, is_kernel, returns, parameters, limits)
    if reader.peek() == "{":
        file.bodies[name] = reader.block()
    elif name in file.bodies:
        return  # a declaration after the definition
    file.functions[name] = function


def _parse_parameters(reader: Reader) -> Iterator[Variable]:
    reader.expect("(")
    while not reader.take(")"):
        reader.expect(".param")
        yield _parse_variable(reader, "param")
        reader.take(",")


def _parse_variable(reader: Reader, space: str) -> Variable:
    """Everything after the state space: alignment, type, name, extent, initial value."""
    align = 0
    size = 0
    type_name = ""
    while reader.peek().startswith("."):
        word = reader.next()
        if word == ".align":
            number = int(reader.next())
            # The alignment of what a pointer points to stands after .ptr; it is a promise only.
            align = align or (number if not size else 0)
        elif word[1:] in TYPES:
            type_name = word[1:]
            size = TYPES[type_name].size
        elif word not in (".ptr", ".global", ".shared", ".const", ".local"):
            raise reader.error(f"declaration with {word!r}")
    align = align or size
    name = reader.next()
    element = size
    if reader.take("["):
        # An extent left open is that of dynamic shared memory, which the launch gives.
        size *= 0 if reader.peek() == "]" else int(reader.next(), 0)
        reader.expect("]")
    data = None
    if reader.take("="):
        if reader.take("{"):
            numbers = []
            while not reader.take("}"):
                numbers.append(_parse_number(reader))
                reader.take(",")
        else:
            numbers = [_parse_number(reader)]
        data = b"".join((n.bits % (1 << 8 * element)).to_bytes(element, "little") for n in numbers)
        data = data.ljust(size, b"\0")
    elif space in ("global", "const"):
        data = bytes(size)
    return Variable(name, space, size, align, type_name, data)


def _parse_number(reader: Reader) -> Literal:
    sign = -1 if reader.take("-") else 1
    text = reader.next()
    if text[:2] in ("0f", "0F", "0d", "0D"):
        return Literal(int(text[2:], 16), len(text[2:]) // 2)
    try:
        return Literal(sign * int(text.rstrip("U"), 0))
    except ValueError:
        raise reader.error(f"expected a number, got {text!r}") from None


class _Scopes:
    """Names of nested scopes, made unique so that a function has one table of names."""

    def __init__(self) -> None:
        self.stack: list[tuple[str, dict[str, str]]] = [("", {})]
        self.opened = 0

    def open(self) -> None:
        self.opened += 1
        self.stack.append((f"@{self.opened}", {}))

    def declare(self, name: str) -> str:
        suffix, scope = self.stack[-1]
        scope[name] = name + suffix
        return scope[name]

    def find(self, name: str) -> str:
        for _, scope in reversed(self.stack):
            if name in scope:
                return scope[name]
        return name


def _parse_body(function: Function, reader: Reader) -> None:
    scopes = _Scopes()
    while reader:
        word = reader.peek()
        if word == "{":
            reader.next()
            scopes.open()
        elif word == "}":
            reader.next()
            scopes.stack.pop()
        elif word == ".loc":
            reader.skip_line()
        elif word == ".pragma":
            while reader.next() != ";":
                pass
        elif word == ".reg":
            _parse_registers(function, reader, scopes)
        elif word in (".shared", ".local", ".param"):
            variable = _parse_variable_of_body(reader, scopes)
            function.variables.append(variable)
        elif reader.peek(1) == ":":
            _parse_label(function, reader, scopes)
        elif word == ";":
            reader.next()
        elif word.startswith("."):
            raise reader.error(f"{function.name}: directive {word!r} is not known")
        else:
            function.code.append(_parse_instruction(reader, scopes))


def _parse_registers(function: Function, reader: Reader, scopes: _Scopes) -> None:
    reader.expect(".reg")
    type_name = reader.next()[1:]
    if type_name not in TYPES:
        raise reader.error(f"{function.name}: registers of type {type_name!r}")
    while not reader.take(";"):
        name = reader.next()
        names = [name]
        if reader.take("<"):
            names = [f"{name}{i}" for i in range(int(reader.next()))]
            reader.expect(">")
        for each in names:
            function.registers[scopes.declare(each)] = type_name
        reader.take(",")


def _parse_variable_of_body(reader: Reader, scopes: _Scopes) -> Variable:
    variable = _parse_variable(reader, reader.next()[1:])
    reader.expect(";")
    return replace(variable, name=scopes.declare(variable.name))


def _parse_label(function: Function, reader: Reader, scopes: _Scopes) -> None:
    label = reader.next()
    reader.expect(":")
    if not reader.take(".branchtargets"):
        # Inline assembly may repeat a label in every copy of its scope.
        function.labels[scopes.declare(label)] = len(function.code)
        return
    targets = []
    while not reader.take(";"):
        targets.append(reader.next())
        reader.take(",")
    function.branch_targets[label] = tuple(targets)


def _parse_instruction(reader: Reader, scopes: _Scopes) -> Instruction:
    start = reader.position
    guard: Name | Negated | None = None
    if reader.take("@"):
        negated = reader.take("!")
        name = Name(scopes.find(reader.next()))
        guard = Negated(name) if negated else name
    opcode = reader.next()
    operands = []
    while not reader.take(";"):
        operands.append(_parse_operand(reader, scopes))
        if reader.peek() != ";":
            reader.expect(",")
    text = " ".join(reader.words[start : reader.position - 1])
    return Instruction(opcode, tuple(operands), guard, reader.lines[start], text)


def _parse_operand(reader: Reader, scopes: _Scopes) -> Operand:
    if reader.take("["):
        base = _parse_name_or_number(reader, scopes)
        offset = 0
        if reader.take("+") or reader.peek() == "-":
            offset = _parse_number(reader).bits
        reader.expect("]")
        return Address(base, offset)
    if reader.take("{"):
        elements = []
        while not reader.take("}"):
            elements.append(_parse_name_or_number(reader, scopes))
            reader.take(",")
        return Vector(tuple(elements))
    if reader.take("("):
        names = []
        while not reader.take(")"):
            names.append(scopes.find(reader.next()))
            reader.take(",")
        return Group(tuple(names))
    if reader.take("!"):
        return Negated(Name(scopes.find(reader.next())))
    operand = _parse_name_or_number(reader, scopes)
    if reader.take("|"):
        second = _parse_name_or_number(reader, scopes)
        if not isinstance(operand, Name) or not isinstance(second, Name):
            raise reader.error("expected two registers around '|'")
        return Pair(operand, second)
    return operand


def _parse_name_or_number(reader: Reader, scopes: _Scopes) -> Name | Literal:
    if reader.peek()[0] in "-0123456789":
        return _parse_number(reader)
    return Name(scopes.find(reader.next()))
