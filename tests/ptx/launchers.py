"""The launchers of csrc/cuda as nvcc compiled them, over the PTX in the same library.

Addresses are those of the interpreter's memory; host code only passes them on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests import ptx
from tests.ptx.runtime import Launch, Runtime
from tests.simt.launchers import ROOT, Launchers, kernel_files

_CUDA = Path(__file__).with_name("cuda")
_KEPT = "kept_by_nvcc"


def compile_kernels(output: Path, architecture: int = 80) -> None:
    """A library with uncompressed PTX and without NVIDIA's runtime, by nvcc; see `kept_ptx`."""
    kept = output.parent / _KEPT
    kept.mkdir(exist_ok=True)
    sources = [*kernel_files(), _CUDA / "runtime.cpp", ROOT / "tests" / "simt" / "library.cpp"]
    target = f"arch=compute_{architecture},code=compute_{architecture}"
    command = [
        str(shutil.which("nvcc")), f"--threads={os.cpu_count()}", "-std=c++17", "-O3",
        "-shared", "-Xcompiler", "-fPIC", "-gencode", target, "--compress-mode=none",
        "--cudart=none", f"-I{ROOT / 'csrc'}", "-o", str(output), *map(str, sources),
        "--keep", f"--keep-dir={kept}",
    ]  # fmt: skip
    subprocess.run(command, check=True)


def kept_ptx(library: Path) -> list[Path]:
    """The PTX in a library that `compile_kernels` made, a file for each source."""
    return sorted((library.parent / _KEPT).glob("*.ptx"))


class PtxLaunchers(Launchers):
    """`Launchers` on the interpreter.

    Attributes:
        runtime: Where launches go.
    """

    def __init__(self, library: Path) -> None:
        super().__init__(library)
        self.runtime = Runtime(self._library)
        self._written: list[tuple[Tensor, ptx.Pointer]] = []

    @property
    def launches(self) -> list[Launch]:
        """Those of the last call, in their order."""
        return self.runtime.launches

    @property
    def counters(self) -> dict[str, ptx.Counters]:
        """What the launches of the last call counted, by kernel."""
        return {launch.kernel: launch.counters for launch in self.launches}

    def set_seed(self, seed: int) -> None:
        """The interpreter has one order of threads, and looks for races instead."""
        raise NotImplementedError

    def _call(self, name: str, *arguments: Any) -> None:
        self.runtime.launches = []
        try:
            super()._call(name, *arguments)
            for tensor, pointer in self._written:
                values = torch.from_numpy(self.runtime.memory.download(pointer))
                if tensor.numel() > 0:
                    tensor.copy_(values.view(tensor.dtype).view(tensor.shape))
        except RuntimeError:
            if self.runtime.error is not None:
                raise self.runtime.error from None
            raise
        finally:
            self.runtime.memory, self.runtime.error, self._written = ptx.Memory(), None, []

    def _input(self, tensor: Tensor) -> int:
        # The whole span of the view, at the place in a 256-byte line that it has in its storage.
        offset = int(tensor.storage_offset()) * tensor.itemsize % 256
        strides = zip(tensor.shape, tensor.stride(), strict=True)
        count = 1 + sum((size - 1) * stride for size, stride in strides)
        count = count if tensor.numel() > 0 else 0
        values = tensor.detach().as_strided((count,), (1,)).view(torch.uint8)
        return self.runtime.memory.upload(values.numpy(), "input", offset=offset).address

    def _output(self, tensor: Tensor) -> int:
        size = tensor.numel() * tensor.itemsize
        pointer = self.runtime.memory.allocate(size, "u1", "output")
        self._written.append((tensor, pointer))
        return pointer.address

    def _in_place(self, tensor: Tensor) -> int:
        pointer = self.runtime.memory.upload(tensor.detach().reshape(-1).view(torch.uint8).numpy())
        self._written.append((tensor, pointer))
        return pointer.address
