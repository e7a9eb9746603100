"""The stand-in for the CUDA runtime on CPU tensors, as torch's ops see them."""

from __future__ import annotations

import ctypes
import struct

import numpy as np

from tests import ptx
from tests.ptx.runtime import Extent, Runtime


class HostRuntime(Runtime):
    """`Runtime` whose addresses are those of CPU tensors (`cuda/host_memory.cpp`).

    Args:
        library: One that `cuda/runtime.cpp` is linked into.
        host_memory: One that `cuda/host_memory.cpp` is linked into. Tensors made before cannot be
            read by kernels.
    """

    def __init__(self, library: ctypes.CDLL, host_memory: ctypes.CDLL) -> None:
        super().__init__(library)
        self._find = host_memory.host_memory_find
        self._find.argtypes = [ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64)]
        self._find.restype = ctypes.c_size_t
        host_memory.host_memory_remember()

    def set(self, address: int, value: int, count: int) -> None:
        ctypes.memset(address, value, count)

    def interpret(
        self, module: ptx.Module, kernel: str, grid: Extent, block: Extent,
        values: list[bytes], dynamic_shared: int,
    ) -> ptx.Counters:  # fmt: skip
        """Every allocation that the parameters point into goes to the kernel's memory and back."""
        self.memory = ptx.Memory()
        copies: dict[int, ptx.Pointer] = {}
        values = [self._with_copies(value, copies) for value in values]
        counters = super().interpret(module, kernel, grid, block, values, dynamic_shared)
        for start, pointer in copies.items():
            ctypes.memmove(start, self.memory.download(pointer).tobytes(), pointer.size)
        return counters

    def _with_copies(self, value: bytes, copies: dict[int, ptx.Pointer]) -> bytes:
        """A parameter, a number or a struct, with its addresses replaced."""
        words = list(struct.unpack_from(f"<{len(value) // 8}Q", value))
        for i, word in enumerate(words):
            start = ctypes.c_uint64()
            size = self._find(word, start)
            if size == 0:
                continue
            if start.value not in copies:
                data = np.frombuffer(ctypes.string_at(start.value, size), np.uint8)
                offset = start.value % 256
                copies[start.value] = self.memory.upload(data, "a tensor", offset=offset)
            words[i] = copies[start.value].address + word - start.value
        return struct.pack(f"<{len(words)}Q", *words) + value[8 * len(words) :]
