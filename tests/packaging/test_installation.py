"""Builds and installs into a new environment, as a user does. Needs a package index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="the paths of a POSIX environment are used"),
]

ROOT = Path(__file__).resolve().parents[2]
TORCH = torch.__version__.partition("+")[0]
BUILD_INPUTS = ("_build", "csrc", "dldl_fast", "setup.py", "pyproject.toml", "README.md", "LICENSE")

# A module with nothing in it, in place of the kernels: builds that only have to succeed or fail.
EMPTY_MODULE = """#include <Python.h>
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr,
                               nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
"""

# Eq. 12 on logits[i,k] = 2 sin(.37 i + .11 k) + cos(.05 i k), y[i] = 37 i mod 11, sigma 2.
LOSS = """
import sys, torch
from dldl_fast import DLDLv2Loss
i, k = torch.arange(4.0, dtype=torch.float64)[:, None], torch.arange(11.0, dtype=torch.float64)
logits = 2 * torch.sin(0.37 * i + 0.11 * k) + torch.cos(0.05 * i * k)
criterion = DLDLv2Loss(0.0, 10.0, sigma=2.0, backend=sys.argv[1])
print(f"{criterion(logits, (37 * i[:, 0]) % 11).item():.10f}")
"""
LOSS_VALUE = "4.4310627244\n"


class Environment:
    """A new virtual environment; commands run in it, outside of the source tree."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True, symlinks=True)
        self.folder = folder

    def run(self, *arguments: str | Path, fails: bool = False, **variables: str) -> str:
        """Output of `python <arguments>`; it must fail or succeed as said."""
        own = ("DLDL_FAST_", "PIP_QUIET", "PIP_VERBOSE", "PYTHONPATH")
        settings = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        done = subprocess.run(
            [self.folder / "bin" / "python", *arguments],
            cwd=self.folder,
            env=settings | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def pip(self, *arguments: str | Path, fails: bool = False, **variables: str) -> str:
        """Output of `pip <arguments>`."""
        return self.run("-m", "pip", *arguments, fails=fails, **variables)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment with torch, the version that the tests run with, and numpy."""
    folder = tmp_path_factory.mktemp("installation") / "environment"
    created = Environment(folder)
    created.pip("install", f"torch=={TORCH}", "numpy")
    yield created
    shutil.rmtree(folder)  # a gigabyte


def copy_tree(folder: Path) -> Path:
    """What an sdist holds of the sources, so that no build touches the checkout."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "_build_info.json")
    for name in BUILD_INPUTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        elif source.is_file():
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source tree."""
    return copy_tree(tmp_path / "tree")


@pytest.fixture
def small_tree(tree: Path) -> Path:
    """A copy with an empty module for the kernels, which builds in seconds."""
    shutil.rmtree(tree / "csrc" / "cpu")
    (tree / "csrc" / "module.cpp").write_text(EMPTY_MODULE)
    return tree


@pytest.fixture
def failing_toolkit(tmp_path: Path) -> Path:
    """A CUDA toolkit that looks complete and compiles nothing."""
    home = tmp_path / "cuda"
    for name in ("bin/nvcc", "include/cuda_runtime.h", "lib64/libcudart_static.a"):
        (home / name).parent.mkdir(parents=True)
        (home / name).touch()
    (home / "bin/nvcc").write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "  --version) echo 'Cuda compilation tools, release 12.4, V12.4.99' ;;\n"
        "  --list-gpu-arch) echo compute_80 ;;\n"
        "  *) echo 'nvcc: unsupported host compiler' >&2; exit 1 ;;\n"
        "esac\n"
    )
    (home / "bin/nvcc").chmod(0o755)
    return home


@pytest.fixture(scope="module")
def wheel(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A wheel with the CPU kernels, built under pip's isolation, and the log of its build.

    The CUDA library is a matter of tests/ptx/test_spills.py: for all architectures of a wheel, nvcc
    takes ten minutes.
    """
    folder = tmp_path_factory.mktemp("wheel")
    tree = copy_tree(folder / "tree")
    log = environment.pip(
        "wheel", "-v", "--no-deps", "--wheel-dir", folder, tree, DLDL_FAST_CUDA="0"
    )
    (built,) = folder.glob("*.whl")
    return built, log


def test_build_uses_the_torch_that_is_installed(
    environment: Environment, wheel: tuple[Path, str]
) -> None:
    _, log = wheel
    assert f"-I{environment.folder}/lib" in log
    assert "Collecting torch" not in log


def test_wheel_serves_every_later_python_and_holds_no_sources(wheel: tuple[Path, str]) -> None:
    built, _ = wheel
    assert "-cp310-abi3-" in built.name
    files = zipfile.ZipFile(built).namelist()
    assert {"dldl_fast/_C.abi3.so", "dldl_fast/_build_info.json", "dldl_fast/py.typed"} < {*files}
    assert {name.partition("/")[0].partition("-")[0] for name in files} == {"dldl_fast"}
    assert not [name for name in files if name.endswith((".cpp", ".h", ".cu"))]


def test_installed_wheel_computes_the_loss(
    environment: Environment, wheel: tuple[Path, str]
) -> None:
    built, _ = wheel
    environment.pip("install", "--force-reinstall", "--no-deps", built)
    assert environment.run("-c", LOSS, "cpp") == LOSS_VALUE
    report = environment.run("-m", "dldl_fast.env")
    assert "cpp        works\n" in report
    assert "_C       loaded" in report


def test_plain_install_leaves_torch_alone(environment: Environment, small_tree: Path) -> None:
    before = environment.pip("freeze", "--exclude", "dldl_fast")
    environment.pip("install", small_tree, DLDL_FAST_CUDA="0")
    assert environment.pip("freeze", "--exclude", "dldl_fast") == before


def test_no_extension_needs_no_compiler(environment: Environment, tree: Path) -> None:
    bare = {"PATH": str(environment.folder / "bin"), "CC": "false", "CXX": "false"}
    failed = environment.pip("install", tree, fails=True, **bare)
    assert "no C++ compiler" in failed
    assert "set DLDL_FAST_NO_EXT=1" in failed

    environment.pip("install", "--force-reinstall", "--no-deps", tree, DLDL_FAST_NO_EXT="1", **bare)
    assert environment.run("-c", LOSS, "reference", **bare) == LOSS_VALUE
    assert environment.run("-c", LOSS, "auto", **bare) == LOSS_VALUE
    report = environment.run("-m", "dldl_fast.env", **bare)
    assert "_C       not loaded: DLDL_FAST_NO_EXT=1 was set for the build" in report
    assert "cpp        does not work: " in report
    assert "reference  works\n" in report


def test_failing_toolkit(environment: Environment, small_tree: Path, failing_toolkit: Path) -> None:
    if tuple(map(int, TORCH.split(".")[:2])) < (2, 13):
        pytest.skip(f"torch {TORCH} builds no CUDA library")
    cuda = {"CUDA_HOME": str(failing_toolkit), "TORCH_CUDA_ARCH_LIST": ""}
    failed = environment.pip("install", small_tree, fails=True, DLDL_FAST_CUDA="1", **cuda)
    assert "nvcc: unsupported host compiler" in failed
    assert "DLDL_FAST_CUDA=1, but the CUDA library cannot be built: CUDA 12.4 did not" in failed

    log = environment.pip("install", "-v", "-e", small_tree, **cuda)
    message = "CPU build, without the CUDA library: CUDA 12.4 did not compile it"
    assert log.count(message) == 1
    assert sorted(path.name for path in (small_tree / "dldl_fast").glob("*.so")) == ["_C.abi3.so"]
    info = (small_tree / "dldl_fast" / "_build_info.json").read_text()
    assert "CUDA 12.4 did not compile it" in info


def test_editable_install_removes_what_an_earlier_one_compiled(
    environment: Environment, small_tree: Path
) -> None:
    environment.pip("install", "-e", small_tree, DLDL_FAST_CUDA="0")
    assert (small_tree / "dldl_fast" / "_C.abi3.so").is_file()
    environment.pip("install", "-e", small_tree, DLDL_FAST_NO_EXT="1")
    assert not (small_tree / "dldl_fast" / "_C.abi3.so").exists()


def test_sdist_builds(environment: Environment, small_tree: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "MANIFEST.in", small_tree)
    code = "from _build import backend; print(backend.build_sdist('dist'))"
    subprocess.run([sys.executable, "-c", code], cwd=small_tree, check=True)
    (sdist,) = (small_tree / "dist").glob("*.tar.gz")
    environment.pip(
        "wheel", "--no-deps", "--wheel-dir", tmp_path / "out", sdist, DLDL_FAST_CUDA="0"
    )
    (built,) = (tmp_path / "out").glob("*.whl")
    assert "dldl_fast/_C.abi3.so" in zipfile.ZipFile(built).namelist()
