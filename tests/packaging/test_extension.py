"""What setup.py decides to build, without building it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from _build import cuda_toolkit, extension
from _build.cuda_toolkit import Toolkit, ToolkitError
from _build.settings import BuildError
from dldl_fast import build_info, ops

ROOT = Path(__file__).resolve().parents[2]
TOOLKIT = Toolkit(Path("/cuda"), Path("/cuda/nvcc"), Path("/cuda/inc"), Path("/cuda/lib"), "13.0")


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new enough torch, a compiler, and no CUDA toolkit."""
    for variable in ("DLDL_FAST_NO_EXT", "DLDL_FAST_CUDA", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch, "__version__", "2.13.0")
    monkeypatch.setattr(extension, "_compiler", lambda: "c++ 12")
    monkeypatch.setattr(cuda_toolkit, "find_toolkit", no_toolkit)


def no_toolkit() -> Toolkit:
    raise ToolkitError("there is none here")


@pytest.fixture
def toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_toolkit, "find_toolkit", lambda: TOOLKIT)
    monkeypatch.setattr(cuda_toolkit, "architectures", lambda _, editable: ("8.0", "9.0+PTX"))


def built(arguments: dict[str, Any]) -> list[str]:
    return [module.name for module in arguments.get("ext_modules", [])]


def written(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The build information that the build_py command of these arguments writes."""
    from setuptools import Distribution

    command = arguments["cmdclass"]["build_py"](Distribution({"packages": []}))
    command.build_lib = str(folder)
    command.ensure_finalized()
    (folder / "dldl_fast").mkdir(exist_ok=True)
    command.run()
    content: dict[str, Any] = json.loads((folder / "dldl_fast/_build_info.json").read_text())
    return content


@pytest.mark.parametrize("command", ["egg_info", "dist_info", "sdist"])
def test_metadata_needs_neither_torch_nor_compiler(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(extension, "_torch_version", None)
    monkeypatch.setattr(extension, "_compiler", None)
    assert extension.setup_arguments([command]) == {}


def test_auto_without_toolkit_is_a_cpu_build_with_a_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = extension.setup_arguments(["bdist_wheel"])
    assert built(arguments) == ["dldl_fast._C"]
    message = "dldl_fast: CPU build, without the CUDA library: there is none here\n"
    assert capsys.readouterr().out == message
    info = written(arguments, tmp_path)
    assert info["no_cuda"] == "there is none here"
    assert (info["no_extension"], info["torch"], info["compiler"]) == ("", "2.13.0", "c++ 12")


def test_1_without_toolkit_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLDL_FAST_CUDA", "1")
    with pytest.raises(BuildError, match="DLDL_FAST_CUDA=1, but.*cannot be built: there is none"):
        extension.setup_arguments(["editable_wheel"])


@pytest.mark.usefixtures("toolkit")
def test_0_leaves_cuda_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLDL_FAST_CUDA", "0")
    arguments = extension.setup_arguments(["bdist_wheel"])
    assert built(arguments) == ["dldl_fast._C"]
    assert "DLDL_FAST_CUDA=0 was set" in written(arguments, tmp_path)["no_cuda"]


@pytest.mark.usefixtures("toolkit")
def test_with_toolkit(tmp_path: Path) -> None:
    arguments = extension.setup_arguments(["bdist_wheel"])
    assert built(arguments) == ["dldl_fast._C_cuda", "dldl_fast._C"]
    cuda, cpu = arguments["ext_modules"]
    assert ("TORCH_TARGET_VERSION", "0x020d000000000000ULL") in cuda.define_macros
    assert ("TORCH_TARGET_VERSION", "0x020a000000000000ULL") in cpu.define_macros
    assert "-gencode=arch=compute_90,code=compute_90" in cuda.extra_compile_args["nvcc"]
    flags = [*cpu.extra_compile_args, *cuda.extra_compile_args["nvcc"]]
    assert not [flag for flag in flags if flag.startswith(("-std", "-march", "-ffast-math"))]
    info = written(arguments, tmp_path)
    assert (info["cuda_toolkit"], info["cuda_architectures"]) == ("13.0", "8.0 9.0+PTX")
    assert info["no_cuda"] == ""


@pytest.mark.usefixtures("toolkit")
def test_every_source_belongs_to_one_library() -> None:
    cuda, cpu = extension.setup_arguments(["bdist_wheel"])["ext_modules"]
    found = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.cpp", "*.cu")
        for path in (ROOT / "csrc").rglob(pattern)
    }
    assert {*cuda.sources, *cpu.sources} == found
    assert not {*cuda.sources} & {*cpu.sources}


def test_value_of_cuda_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLDL_FAST_CUDA", "on")
    with pytest.raises(BuildError, match="DLDL_FAST_CUDA must be one of auto, 0, 1; got 'on'"):
        extension.setup_arguments(["bdist_wheel"])


@pytest.mark.usefixtures("toolkit")
def test_older_torch_gets_no_cuda_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch, "__version__", "2.12.1+cu126")
    arguments = extension.setup_arguments(["bdist_wheel"])
    assert built(arguments) == ["dldl_fast._C"]
    assert (
        "needs torch >= 2.13, and the build found 2.12.1" in written(arguments, tmp_path)["no_cuda"]
    )


def test_old_torch_gets_no_compiled_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    arguments = extension.setup_arguments(["bdist_wheel"])
    assert built(arguments) == []
    assert (
        "need torch >= 2.10, and the build found 2.9.1"
        in written(arguments, tmp_path)["no_extension"]
    )


def test_no_extension(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLDL_FAST_NO_EXT", "1")
    monkeypatch.setattr(extension, "_torch_version", None)
    monkeypatch.setattr(extension, "_compiler", None)
    arguments = extension.setup_arguments(["bdist_wheel"])
    assert built(arguments) == []
    assert "DLDL_FAST_NO_EXT=1 was set" in written(arguments, tmp_path)["no_extension"]
    monkeypatch.setenv("DLDL_FAST_CUDA", "1")
    with pytest.raises(BuildError, match="DLDL_FAST_CUDA=1, but DLDL_FAST_NO_EXT=1 was set"):
        extension.setup_arguments(["bdist_wheel"])


def test_a_build_removes_the_libraries_of_an_earlier_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stale = tmp_path / "dldl_fast" / "_C_cuda.abi3.so"
    stale.parent.mkdir()
    stale.touch()
    monkeypatch.setenv("DLDL_FAST_NO_EXT", "1")
    written(extension.setup_arguments(["bdist_wheel"]), tmp_path)
    assert not stale.exists()


def test_the_package_reads_what_the_build_writes(tmp_path: Path) -> None:
    info = written(extension.setup_arguments(["bdist_wheel"]), tmp_path)
    assert tuple(info) == build_info.BuildInfo._fields


def test_build_and_package_agree_on_versions() -> None:
    assert extension.MIN_TORCH == ops.MIN_TORCH
    assert extension.MIN_TORCH_CUDA == ops.MIN_TORCH_CUDA


@pytest.mark.parametrize("compiler", ["/does/not/exist", "false"])
def test_missing_compiler_says_what_to_do(monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(BuildError, match=r"no C\+\+ compiler.*Install one.*DLDL_FAST_NO_EXT=1"):
        extension._compiler()
