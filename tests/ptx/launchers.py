"""The launchers of csrc/cuda as nvcc compiled them, over the PTX in the same library.

The host code runs as it is: choice of kernel, grid, shared memory and order of the arguments. Its
calls of the CUDA runtime end in a stand-in (`cuda/runtime.cpp`), from where each launch comes here
and is interpreted. Addresses are those of the interpreter's memory; host code only passes them on.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests import ptx
from tests.simt.launchers import ROOT, Launchers

_CUDA = Path(__file__).with_name("cuda")


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


def compile_command(output: Path, architecture: int = 80) -> list[str]:
    """nvcc's command for a library with uncompressed PTX and without NVIDIA's runtime."""
    kernels = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    # It asks the CUDA runtime for its version, and holds no kernel.
    kernels = [path for path in kernels if path.stem != "build_info"]
    sources = [*kernels, _CUDA / "runtime.cpp", ROOT / "tests" / "simt" / "library.cpp"]
    target = f"arch=compute_{architecture},code=compute_{architecture}"
    return [
        str(shutil.which("nvcc")), "-std=c++17", "-O3", "-shared", "-Xcompiler", "-fPIC",
        "-gencode", target, "--compress-mode=none", "--cudart=none",
        f"-I{ROOT / 'csrc'}", "-o", str(output), *map(str, sources),
    ]  # fmt: skip


class PtxLaunchers(Launchers):
    """`Launchers` on the interpreter.

    Attributes:
        launches: Those of the last call, in their order.
    """

    def __init__(self, library: Path) -> None:
        super().__init__(library)
        self.launches: list[Launch] = []
        self._modules: dict[int, tuple[str, ptx.Module]] = {}
        self._memory = ptx.Memory()
        self._written: list[tuple[Tensor, ptx.Pointer]] = []
        self._error: Exception | None = None
        # Kept, since C holds no reference.
        self._functions = _Launch(self._caught(self._launch)), _Set(self._caught(self._set))
        self._library.runtime_set_functions(*self._functions)

    @property
    def counters(self) -> dict[str, ptx.Counters]:
        """What the launches of the last call counted, by kernel."""
        return {launch.kernel: launch.counters for launch in self.launches}

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

    def set_seed(self, seed: int) -> None:
        """The interpreter has one order of threads, and looks for races instead."""
        raise NotImplementedError

    def _call(self, name: str, *arguments: Any) -> None:
        self.launches = []
        try:
            super()._call(name, *arguments)
            for tensor, pointer in self._written:
                values = torch.from_numpy(self._memory.download(pointer))
                if tensor.numel() > 0:
                    tensor.copy_(values.view(tensor.dtype).view(tensor.shape))
        except RuntimeError:
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            self._memory, self._written, self._error = ptx.Memory(), [], None

    def _input(self, tensor: Tensor) -> int:
        # The whole span of the view, at the place in a 256-byte line that it has in its storage.
        offset = int(tensor.storage_offset()) * tensor.itemsize % 256
        strides = zip(tensor.shape, tensor.stride(), strict=True)
        count = 1 + sum((size - 1) * stride for size, stride in strides)
        count = count if tensor.numel() > 0 else 0
        values = tensor.detach().as_strided((count,), (1,)).view(torch.uint8)
        return self._memory.upload(values.numpy(), "input", offset=offset).address

    def _output(self, tensor: Tensor) -> int:
        size = tensor.numel() * tensor.itemsize
        pointer = self._memory.allocate(size, "u1", "output")
        self._written.append((tensor, pointer))
        return pointer.address

    def _in_place(self, tensor: Tensor) -> int:
        pointer = self._memory.upload(tensor.detach().reshape(-1).view(torch.uint8).numpy())
        self._written.append((tensor, pointer))
        return pointer.address

    def _caught(self, function: Callable[..., None]) -> Callable[..., int]:
        """No exception passes through C: it is kept, and the launch fails."""

        def call(*arguments: Any) -> int:
            try:
                function(*arguments)
            except Exception as error:
                self._error = error
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
        counters = module.launch(
            kernel, (grid.x, grid.y, grid.z), (block.x, block.y, block.z), values, self._memory,
            dynamic_shared=shared_bytes,
        )  # fmt: skip
        blocks, threads = grid.x * grid.y * grid.z, block.x * block.y * block.z
        self.launches.append(Launch(text, kernel, blocks, threads, shared_bytes, counters))

    def _set(self, address: int, value: int, count: int) -> None:
        self._memory.fill(address, bytes([value & 0xFF]) * count)


def _ptx_in(fatbin: int) -> str:
    """The text that an object file's fat binary holds."""
    magic, _, header, size = struct.unpack("<IHHQ", ctypes.string_at(fatbin, 16))
    if magic != 0xBA55ED50:
        raise ValueError(f"expected a fat binary at 0x{fatbin:x}, got the number 0x{magic:x}")
    texts = re.findall(rb"\.version [^\0]*", ctypes.string_at(fatbin, header + size))
    if len(texts) != 1:
        raise ValueError(f"expected one uncompressed PTX text, got {len(texts)}")
    return str(texts[0].decode())
