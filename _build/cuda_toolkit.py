"""Find a complete CUDA toolkit and choose the architectures to compile for.

Neither depends on torch or on a visible GPU: a toolkit is what compiles, so a machine without a GPU
and an environment with a CPU build of torch can build the CUDA library too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

WHEEL_ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0+PTX")
# Its PTX runs on this and every later GPU, and it is the first with bfloat16 arithmetic.
EDITABLE_ARCHITECTURES = ("8.0+PTX",)
ARCHITECTURES_VARIABLE = "TORCH_CUDA_ARCH_LIST"

_USUAL_HOME = Path("/usr/local/cuda")
_NVCC = "nvcc.exe" if os.name == "nt" else "nvcc"
_STATIC_RUNTIME = "cudart_static.lib" if os.name == "nt" else "libcudart_static.a"
_LIBRARY_FOLDERS = ("lib64", "lib", "lib/x64", "lib/x86_64-linux-gnu", "targets/x86_64-linux/lib")


class ToolkitError(Exception):
    """There is no toolkit that can compile the CUDA library; the text says why."""


class Toolkit(NamedTuple):
    """A CUDA toolkit with everything that the build takes from it."""

    home: Path
    nvcc: Path
    include: Path
    libraries: Path
    version: str


def find_toolkit() -> Toolkit:
    """First complete toolkit of CUDA_HOME, CUDA_PATH, the nvcc on PATH and /usr/local/cuda.

    Raises:
        ToolkitError: naming every place that was looked at and what is missing there.
    """
    rejected = ["nvcc is not on PATH"] if shutil.which("nvcc") is None else []
    for origin, home in _candidates():
        nvcc, include = home / "bin" / _NVCC, home / "include"
        libraries = [home / f for f in _LIBRARY_FOLDERS if (home / f / _STATIC_RUNTIME).is_file()]
        if not os.access(nvcc, os.X_OK):
            rejected.append(f"{origin} ({home}) has no bin/{_NVCC}")
        elif not (include / "cuda_runtime.h").is_file():
            rejected.append(f"{origin} ({home}) has no include/cuda_runtime.h")
        elif not libraries:
            rejected.append(f"{origin} ({home}) has no {_STATIC_RUNTIME}")
        else:
            return Toolkit(home, nvcc, include, libraries[0], _version(nvcc))
    raise ToolkitError(
        f"no complete CUDA toolkit was found ({'; '.join(rejected)}); install one and set CUDA_HOME"
    )


def _candidates() -> list[tuple[str, Path]]:
    named = [(name, os.environ.get(name)) for name in ("CUDA_HOME", "CUDA_PATH")]
    found = [(name, Path(home)) for name, home in named if home]
    if nvcc := shutil.which("nvcc"):
        found.append(("the toolkit of the nvcc on PATH", _home_of(Path(nvcc))))
    if _USUAL_HOME.is_dir():
        found.append(("the usual place", _USUAL_HOME))
    return found


def _home_of(nvcc: Path) -> Path:
    """Ask nvcc for its toolkit, since the file on PATH may be a script that starts another one."""
    command = [nvcc, "--dryrun", "-x", "cu", "-c", os.devnull]
    try:
        plan = subprocess.run(command, capture_output=True, text=True).stderr
    except OSError:
        plan = ""
    top = re.search(r"^#\$ TOP=(.+)$", plan, re.MULTILINE)
    return Path(top[1]).resolve() if top else nvcc.resolve().parent.parent


def _version(nvcc: Path) -> str:
    release = re.search(r"release (\d+\.\d+)", _output(nvcc, "--version"))
    if release is None:
        raise ToolkitError(f"{nvcc} --version names no release")
    return release[1]


def _output(*command: str | Path) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolkitError(f"{command[0]} does not run: {error}") from error


def architectures(toolkit: Toolkit, *, editable: bool) -> tuple[str, ...]:
    """Compute capabilities to compile for, such as ("8.6", "9.0+PTX").

    The order: TORCH_CUDA_ARCH_LIST; for an editable installation the GPUs of this machine, and
    where there are none one architecture with PTX; for a wheel the full list.
    """
    if named := os.environ.get(ARCHITECTURES_VARIABLE):
        return tuple(named.replace(";", " ").split())
    wanted = (visible_gpus() or EDITABLE_ARCHITECTURES) if editable else WHEEL_ARCHITECTURES
    return _known_to(toolkit, wanted)


def visible_gpus() -> tuple[str, ...]:
    """Compute capabilities of the GPUs that the driver reports, ascending; empty without one."""
    try:
        report = _output("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
    except ToolkitError:
        return ()
    return tuple(sorted(set(re.findall(r"\d+\.\d+", report)), key=_number))


def _number(architecture: str) -> int:
    return int(architecture.removesuffix("+PTX").replace(".", ""))


def _known_to(toolkit: Toolkit, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Replace what the toolkit is too old for by the PTX of the next lower architecture."""
    listed = _output(toolkit.nvcc, "--list-gpu-arch")
    supported = sorted(int(number) for number in re.findall(r"compute_(\d+)\b", listed))
    with_ptx: dict[int, bool] = {}
    for architecture in wanted:
        usable = [number for number in supported if number <= _number(architecture)]
        if usable:
            ptx = architecture.endswith("+PTX") or usable[-1] != _number(architecture)
            with_ptx[usable[-1]] = with_ptx.get(usable[-1], False) or ptx
    if not with_ptx:
        raise ToolkitError(
            f"CUDA {toolkit.version} no longer compiles for {', '.join(wanted)}; install an older "
            f"toolkit, or set {ARCHITECTURES_VARIABLE}"
        )
    return tuple(f"{n // 10}.{n % 10}" + "+PTX" * ptx for n, ptx in with_ptx.items())


def gencode_flags(chosen: tuple[str, ...]) -> list[str]:
    """The flags by which nvcc compiles for these architectures.

    None under TORCH_CUDA_ARCH_LIST: torch's build reads the variable itself, with its names of
    GPU generations.
    """
    if os.environ.get(ARCHITECTURES_VARIABLE):
        return []
    flags = []
    for architecture in chosen:
        number = _number(architecture)
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if architecture.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags
