"""The stand-in for the CUDA runtime in a library (`cuda/runtime.cpp`), as Python sees it.

Host code that nvcc compiled runs as it is: choice of kernel, grid, shared memory and order of the
arguments. Its launches come here and run the PTX that is embedded in the same library.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from tests import ptx

Extent = tuple[int, int, int]


class _Extent(ctypes.Structure):
    _fields_ = [("x", c_uint), ("y", c_uint), ("z", c_uint)]


_Launch = CFUNCTYPE(c_int, c_char_p, c_void_p, _Extent, _Extent, POINTER(c_void_p), c_size_t)
_Set = CFUNCTYPE(c_int, c_uint64, c_int, c_size_t)


@dataclass(frozen=True)
class Launch:
    """A kernel that was launched.

    Args:
        text: The PTX text that the kernel is in.
        kernel: Its name there.
        blocks: How many blocks were launched.
        threads: Threads of a block.
        dynamic_shared: Bytes of a block's shared memory beyond what the kernel declares.
        counters: What the interpreter counted.
    """

    text: str
    kernel: str
    blocks: int
    threads: int
    dynamic_shared: int
    counters: ptx.Counters


class Runtime:
    """What a library's calls of the CUDA runtime do. Addresses are those of `memory`.

    Args:
        library: One that `cuda/runtime.cpp` is linked into.

    Attributes:
        launches: Those so far, in their order.
        memory: What kernels read and write.
        error: The last exception of a launch, which to the library is only a failed one.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.launches: list[Launch] = []
        self.memory = ptx.Memory()
        self.error: Exception | None = None
        self._library = library
        self._modules: dict[int, tuple[str, ptx.Module]] = {}
        # Kept, since C holds no reference.
        self._functions = _Launch(self._caught(self._launch)), _Set(self._caught(self.set))
        library.runtime_set_functions(*self._functions)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Every launch fails, as one with too many threads does."""
        refuse = _Launch(lambda *_: 1)
        self._library.runtime_set_functions(refuse, self._functions[1])
        try:
            yield
        finally:
            self._library.runtime_set_functions(*self._functions)

    def last_error(self) -> int:
        """What the next one to ask the runtime is told."""
        return int(self._library.cudaGetLastError())

    def set(self, address: int, value: int, count: int) -> None:
        """As cudaMemset."""
        self.memory.fill(address, bytes([value & 0xFF]) * count)

    def interpret(
        self, module: ptx.Module, kernel: str, grid: Extent, block: Extent,
        values: list[bytes], dynamic_shared: int,
    ) -> ptx.Counters:  # fmt: skip
        """Run a kernel with its parameters as the host wrote them."""
        return module.launch(
            kernel, grid, block, values, self.memory, dynamic_shared=dynamic_shared
        )

    def _caught(self, function: Callable[..., None]) -> Callable[..., int]:
        """No exception passes through C: it is kept, and the launch fails."""

        def call(*arguments: Any) -> int:
            try:
                function(*arguments)
            except Exception as error:
                self.error = error
                return 1
            return 0

        return call

    def _launch(
        self, name: bytes, fatbin: int, grid: Any, block: Any, arguments: Any, shared_bytes: int
    ) -> None:
        if fatbin not in self._modules:
            text = _ptx_in(fatbin)
            self._modules[fatbin] = text, ptx.Module(text)
        text, module = self._modules[fatbin]
        kernel = name.decode()
        sizes = module.parameter_sizes(kernel)
        values = [ctypes.string_at(arguments[i], size) for i, size in enumerate(sizes)]
        extents = (grid.x, grid.y, grid.z), (block.x, block.y, block.z)
        counters = self.interpret(module, kernel, *extents, values, shared_bytes)
        blocks, threads = grid.x * grid.y * grid.z, block.x * block.y * block.z
        self.launches.append(Launch(text, kernel, blocks, threads, shared_bytes, counters))


def _ptx_in(fatbin: int) -> str:
    """The text that an object file's fat binary holds."""
    magic, _, header, size = struct.unpack("<IHHQ", ctypes.string_at(fatbin, 16))
    if magic != 0xBA55ED50:
        raise ValueError(f"expected a fat binary at 0x{fatbin:x}, got the number 0x{magic:x}")
    texts = re.findall(rb"\.version [^\0]*", ctypes.string_at(fatbin, header + size))
    if len(texts) != 1:
        raise ValueError(f"expected one uncompressed PTX text, got {len(texts)}")
    return str(texts[0].decode())
