"""What this installation is made of and what works here: `python -m dldl_fast.env`.

Needs nothing beyond torch and numpy, so that it runs where something else does not.
"""

from __future__ import annotations

import importlib.metadata
import platform
from typing import NamedTuple

import numpy
import torch

import dldl_fast
from dldl_fast import backends, ops
from dldl_fast.build_info import BuildInfo, build_info


class LibraryStatus(NamedTuple):
    """Whether a compiled library is loaded; `detail` says what it is, or why not and what to do."""

    name: str
    built: bool
    loaded: bool
    detail: str


class Environment(NamedTuple):
    """Versions, compiled libraries and backends of an installation.

    `instruction_set` is "avx512", "avx2" or "baseline", or says why the CPU kernels use none.
    """

    versions: dict[str, str]
    build: BuildInfo
    libraries: list[LibraryStatus]
    instruction_set: str
    cuda_devices: list[str]
    backends: list[backends.BackendStatus]


def environment() -> Environment:
    """Describe this installation.

    Example:
        >>> report = environment()
        >>> sorted(report.versions)
        ['Python', 'dldl_fast', 'numpy', 'torch', 'triton']
        >>> [library.name for library in report.libraries]
        ['_C', '_C_cuda']
    """
    build = build_info()
    return Environment(
        versions={
            "dldl_fast": dldl_fast.__version__,
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "triton": _installed("triton"),
        },
        build=build,
        libraries=[_cpu_library(), _cuda_library()],
        instruction_set=_instruction_set(),
        cuda_devices=_cuda_devices(),
        backends=backends.status(),
    )


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _instruction_set() -> str:
    if ops.load_error is not None:
        return "none: the CPU library is not loaded"
    try:
        return str(torch.ops.dldl_fast.cpu_capability())
    except RuntimeError as error:
        return f"none: {error}"


def _cpu_library() -> LibraryStatus:
    built, reason = ops.library_file("_C") is not None, ops.load_error
    return LibraryStatus("_C", built, reason is None, reason or "CPU kernels")


def _cuda_library() -> LibraryStatus:
    built, reason = ops.library_file("_C_cuda") is not None, ops.load_cuda()
    detail = reason or str(torch.ops.dldl_fast.cuda_build_info())
    return LibraryStatus("_C_cuda", built, reason is None, detail)


def _cuda_devices() -> list[str]:
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def main() -> None:
    """Print the report of `environment` as plain text."""
    report = environment()
    build = report.build
    toolkit = build.cuda_toolkit or "none"
    if build.cuda_architectures:
        toolkit += f", for {build.cuda_architectures}"
    _print_table("Versions", report.versions)
    _print_table(
        "Build",
        {
            "torch": build.torch or "none",
            "C++ compiler": build.compiler or "none",
            "CUDA toolkit": toolkit,
        },
    )
    _print_table(
        "Compiled libraries",
        {x.name: f"{'loaded' if x.loaded else 'not loaded'}: {x.detail}" for x in report.libraries},
    )
    _print_table(
        "Hardware",
        {
            "processor": platform.machine(),
            "instruction set": report.instruction_set,
            "CUDA devices": ", ".join(report.cuda_devices) or "none that torch can use",
        },
    )
    _print_table(
        "Backends",
        {x.name: "works" if x.available else f"does not work: {x.reason}" for x in report.backends},
    )


def _print_table(title: str, rows: dict[str, str]) -> None:
    print(f"{title}:")
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")


if __name__ == "__main__":
    main()
