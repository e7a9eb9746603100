"""A PTX text whose kernels can be launched."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from tests.ptx.counters import Counters
from tests.ptx.errors import BadLaunch
from tests.ptx.machine import Machine, Shape
from tests.ptx.memory import Memory, Pointer
from tests.ptx.program import Program, assemble
from tests.ptx.scalar_types import TYPES
from tests.ptx.syntax import Variable, parse

Extent: TypeAlias = int | tuple[int, ...]

_LARGEST_BLOCK = 1024
_LARGEST_SHARED = 227 * 1024  # with opt-in, on data-centre GPUs


class Module:
    """Parsed PTX.

    Args:
        text: What nvcc -ptx or Triton wrote.
    """

    def __init__(self, text: str) -> None:
        self._file = parse(text)
        self._programs: dict[str, Program] = {}

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of all kernels, mangled as they are in the text."""
        return tuple(name for name, f in self._file.functions.items() if f.is_kernel)

    def kernel_with(self, *parts: str) -> str:
        """The one kernel whose name contains all of these."""
        found = [name for name in self.kernels if all(part in name for part in parts)]
        if len(found) != 1:
            raise BadLaunch(f"expected one kernel with {parts} in its name, got {found or 'none'}")
        return found[0]

    def parameter_sizes(self, kernel: str) -> list[int]:
        """Bytes of each parameter."""
        return [parameter.size for parameter in self._file.functions[kernel].parameters]

    def launch(
        self,
        kernel: str,
        grid: Extent,
        block: Extent,
        args: tuple[Any, ...] | list[Any],
        memory: Memory,
        *,
        dynamic_shared: int = 0,
        step_limit: int = 1_000_000,
    ) -> Counters:
        """Run a kernel to its end; a fault of any thread raises.

        Args:
            kernel: Its name.
            grid: Blocks: a number, or up to three.
            block: Threads of a block, likewise.
            args: A Pointer for each pointer, numbers, and for a struct its bytes or a buffer.
            memory: What the pointers point into.
            dynamic_shared: Bytes of shared memory beyond what the kernel declares.
            step_limit: Instructions after which the kernel counts as endless.
        """
        if kernel not in self.kernels:
            raise BadLaunch(f"no kernel {kernel!r}; there are {', '.join(self.kernels)}")
        if kernel not in self._programs:
            self._programs[kernel] = assemble(self._file, kernel)
        program = self._programs[kernel]
        shape = Shape(_three(grid), _three(block), dynamic_shared)
        _check_shape(program, shape)
        parameters = _pack(program, args)
        counters = Counters()
        Machine(program, memory, shape, parameters, counters, step_limit).run()
        memory.check_written()
        return counters


def _three(extent: Extent) -> tuple[int, int, int]:
    parts = (extent,) if isinstance(extent, int) else tuple(extent)
    if not 1 <= len(parts) <= 3 or min(parts) < 1:
        raise BadLaunch(f"expected one to three positive extents, got {extent}")
    x, y, z = (*parts, 1, 1)[:3]
    return x, y, z


def _check_shape(program: Program, shape: Shape) -> None:
    size = shape.block_size
    if size > _LARGEST_BLOCK:
        raise BadLaunch(f"a block has {_LARGEST_BLOCK} threads at most, got {size}")
    limits = program.kernel.limits
    if "maxntid" in limits and size > np.prod(limits["maxntid"]):
        raise BadLaunch(f"the kernel is compiled for {limits['maxntid']} threads, got {size}")
    if "reqntid" in limits and shape.block != _three(limits["reqntid"]):
        raise BadLaunch(f"the kernel requires {limits['reqntid']} threads, got {shape.block}")
    shared = program.shared_size + shape.dynamic_shared
    if shared > _LARGEST_SHARED:
        raise BadLaunch(f"a block has {_LARGEST_SHARED} bytes of shared memory, got {shared}")


def _pack(program: Program, args: tuple[Any, ...] | list[Any]) -> bytes:
    """The bytes of all parameters, each where the kernel looks for it."""
    parameters = program.kernel.parameters
    if len(args) != len(parameters):
        raise BadLaunch(f"the kernel has {len(parameters)} parameters, got {len(args)} arguments")
    packed = bytearray(program.parameter_size)
    for number, (parameter, argument) in enumerate(zip(parameters, args, strict=True)):
        data = _bytes_of(argument, parameter)
        if len(data) != parameter.size:
            raise BadLaunch(
                f"argument {number} has {len(data)} bytes, its parameter has {parameter.size}"
            )
        start = program.symbols[parameter.name].address
        packed[start : start + parameter.size] = data
    return bytes(packed)


def _bytes_of(argument: object, parameter: Variable) -> bytes:
    kind = TYPES[parameter.type_name]
    if isinstance(argument, Pointer):
        return argument.address.to_bytes(8, "little")
    if isinstance(argument, np.generic | np.ndarray):
        return argument.tobytes()
    if isinstance(argument, float):
        # A .b32 or .b64 parameter does not say whether it is a float: the argument does.
        if kind.dtype.kind != "f" and kind.name not in ("b32", "b64"):
            raise BadLaunch(f"expected an integer for a .{kind.name} parameter, got {argument}")
        return np.array(argument, f"f{kind.size}").tobytes()
    if isinstance(argument, int):
        if kind.dtype.kind == "f":
            return np.array(argument, kind.dtype).tobytes()
        bits = 8 * kind.size
        if not -(1 << bits - 1) <= argument < 1 << bits:
            raise BadLaunch(f"{argument} does not fit a .{kind.name} parameter")
        return (argument % (1 << bits)).to_bytes(kind.size, "little")
    return bytes(memoryview(argument).cast("B"))  # type: ignore[arg-type]
