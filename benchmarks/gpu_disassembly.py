"""What ptxas makes of a PTX text: registers, spills, shared memory and the widths of accesses."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from _build.cuda_toolkit import ToolkitError, find_toolkit

_RESOURCES = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
_TARGET = re.compile(r"^\s*\.target\s+(sm_\w+)", re.MULTILINE)
_FUNCTION = re.compile(r"^\s*Function : (\w+)$", re.MULTILINE)
# `/*0130*/  @!P0 LDG.E.128.CONSTANT R4, ...`: the opcode behind the address and the predicate.
_ACCESS = re.compile(
    r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(LDG|STG|LDS|STS|LDL|STL|LD|ST)((?:\.\w+)*)\s",
    re.MULTILINE,
)
_WIDTHS = {"128": 128, "64": 64, "U16": 16, "S16": 16, "U8": 8, "S8": 8}


@dataclass(frozen=True)
class Resources:
    """What a kernel takes.

    Args:
        registers: Of a thread.
        spill_bytes: Stored to and loaded from local memory for want of registers.
        static_shared: Bytes of a block's shared memory that the kernel declares.
    """

    registers: int
    spill_bytes: int
    static_shared: int


@dataclass(frozen=True)
class Binary:
    """A kernel as machine code.

    Args:
        architecture: The one it is for, such as `sm_90`.
        resources: What it takes.
        accesses: Its loads and stores as they stand in the code, by kind and bits of a lane: `LDG`
            and `STG` of global memory, `LDS` and `STS` of shared memory, `LDL` and `STL` of local
            memory, `LD` and `ST` of any.
    """

    architecture: str
    resources: Resources
    accesses: Counter[tuple[str, int]]


def assemble(text: str, folder: Path) -> dict[str, Binary]:
    """Compile a PTX text for the architecture that it names; gives its kernels by name."""
    (architecture,) = _TARGET.findall(text)
    source, cubin = folder / "kernels.ptx", folder / "kernels.cubin"
    source.write_text(text, encoding="utf-8")
    command = [find_tool("ptxas"), "-v", f"-arch={architecture}", "-o", str(cubin), str(source)]
    resources = parse_resources(_run(command).stderr)
    accesses = parse_accesses(_run([find_tool("cuobjdump"), "--dump-sass", str(cubin)]).stdout)
    return {name: Binary(architecture, found, accesses[name]) for name, found in resources.items()}


def parse_resources(said: str) -> dict[str, Resources]:
    """Read what `ptxas -v` says, by kernel."""
    found = {}
    for match in _RESOURCES.finditer(said):
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        spilled = int(match["stores"]) + int(match["loads"])
        static_shared = int(shared[1]) if shared else 0
        found[match["name"]] = Resources(int(match["registers"]), spilled, static_shared)
    if len(found) != said.count("Compiling entry function"):
        raise ValueError(f"expected registers and spills of every kernel, got:\n{said}")
    return found


def parse_accesses(listing: str) -> dict[str, Counter[tuple[str, int]]]:
    """Loads and stores in what `cuobjdump --dump-sass` lists, by kernel."""
    _, *parts = _FUNCTION.split(listing)
    return {
        name: Counter((kind, _width(suffixes)) for kind, suffixes in _ACCESS.findall(code))
        for name, code in zip(parts[::2], parts[1::2], strict=True)
    }


def _width(suffixes: str) -> int:
    named = [_WIDTHS[suffix] for suffix in suffixes.split(".") if suffix in _WIDTHS]
    return named[0] if named else 32


def widths(accesses: Counter[tuple[str, int]], kinds: Iterable[str]) -> str | None:
    """Instructions of these kinds by width, such as `128:20 32:3`; None without any."""
    counts: Counter[int] = Counter()
    for (kind, bits), count in accesses.items():
        if kind in kinds:
            counts[bits] += count
    return " ".join(f"{bits}:{counts[bits]}" for bits in sorted(counts, reverse=True)) or None


def find_tool(name: str) -> str:
    """Path of a program of the CUDA toolkit: on PATH, in the toolkit, or in a Python package.

    Raises:
        RuntimeError: It is at none of these places.
    """
    folders = []
    with contextlib.suppress(ToolkitError):
        folders.append(find_toolkit().home / "bin")
    for package, pattern in (("nvidia", "*/bin"), ("triton", "backends/nvidia/bin")):
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            folders += sorted(Path(folder).glob(pattern))
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    if (found := shutil.which(name, path=path)) is None:
        raise RuntimeError(
            f"{name} is neither on PATH nor in a CUDA toolkit nor in packages of NVIDIA or Triton; "
            "install the toolkit, or pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
        )
    return found


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return result
