"""The allow-list. An opcode that no file of this folder defines, letter for letter, is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.ptx.errors import UnknownOpcode
from tests.ptx.scalar_types import TYPES, ScalarType
from tests.ptx.syntax import Instruction


@dataclass(frozen=True)
class Arithmetic:
    """Results from operands, each lane for itself.

    `function` gets one array per operand and returns one, or a tuple where there are two results.
    """

    results: tuple[ScalarType, ...]
    operands: tuple[ScalarType, ...]
    function: Callable[..., Any]
    # cvt takes and gives registers that are wider than its types.
    any_width: bool = False


@dataclass(frozen=True)
class Move:
    """mov: also packs and unpacks vectors, and takes addresses of variables."""

    type: ScalarType


@dataclass(frozen=True)
class Access:
    """A load or store. `space` is empty for generic addresses."""

    is_store: bool
    space: str
    type: ScalarType
    width: int = 1
    non_coherent: bool = False


@dataclass(frozen=True)
class Atomic:
    """A read-modify-write: `function(old, operand)`. `returns` is False for red."""

    returns: bool
    space: str
    type: ScalarType
    function: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class MatrixAccess:
    """ldmatrix or stmatrix: 8 x 8 matrices of 16-bit elements in shared memory.

    Lane l has elements 2 (l % 4) and the next of row l / 4 of each matrix. Lanes 8 m to 8 m + 7
    hold the addresses of the rows of matrix m.
    """

    is_store: bool
    count: int


@dataclass(frozen=True)
class WarpExchange:
    """An instruction by which lanes of a warp exchange values once all named ones have arrived.

    `exchange(lanes, operands)` gets the lanes' places and returns the results.
    """

    results: tuple[ScalarType, ...]
    operands: tuple[ScalarType, ...]  # without the membermask, which is last
    exchange: Callable[..., Any]
    is_shuffle: bool = False


@dataclass(frozen=True)
class Control:
    """What the scheduler does itself: `kind` is branch, call, exit, trap, barrier, ..."""

    kind: str


Opcode: TypeAlias = Arithmetic | Move | Access | Atomic | MatrixAccess | WarpExchange | Control

OPCODES: dict[str, Opcode] = {}


def define(spelling: str, opcode: Opcode) -> None:
    """Add a spelling; each has one meaning."""
    if spelling in OPCODES:
        raise ValueError(f"{spelling} is defined twice")
    OPCODES[spelling] = opcode


def arithmetic(spelling: str, signature: str, function: Callable[..., Any]) -> None:
    """Define one by a signature such as `f32 = f32 f32`."""
    results, operands = (tuple(TYPES[t] for t in side.split()) for side in signature.split("="))
    define(spelling, Arithmetic(results, operands, function, spelling.startswith("cvt.")))


def lookup(instruction: Instruction) -> Opcode:
    """The meaning of a spelling; a few have another one for another number of operands."""
    spelling, count = instruction.opcode, len(instruction.operands) - 1
    with_count = f"{spelling} of {count}"
    if with_count in OPCODES:
        return OPCODES[with_count]
    if spelling not in OPCODES:
        raise UnknownOpcode(
            f"line {instruction.line}: opcode {spelling!r} is not in the table; "
            "define it in tests/ptx/opcodes/ and give it a case in tests/ptx/cases/"
        )
    return OPCODES[spelling]
