from __future__ import annotations

from pathlib import Path

import pytest

from dldl_fast import ops
from tests.shared_build import build_once
from tests.simt.launchers import Launchers, compile_kernels, compiler


@pytest.fixture(scope="session")
def launchers_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launchers of csrc/cuda and their kernels, compiled for the CPU."""
    if compiler() is None:
        pytest.skip("g++ is missing: the CUDA kernels cannot be compiled for the CPU")

    def build(library: Path) -> None:
        compile_kernels("library.cpp", output=library, flags=["-O2", "-fPIC", "-shared"])

    return build_once(tmp_path_factory, "simt_launchers.so", build)


@pytest.fixture(scope="session")
def launchers(launchers_library: Path) -> Launchers:
    return Launchers(launchers_library)


@pytest.fixture
def backend(launchers: Launchers, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiled ops are those of csrc/cuda; tests written for the CPU's then test them."""
    monkeypatch.setattr(ops, "load_error", None)
    monkeypatch.setattr(ops, "label_distribution_loss", launchers.label_distribution_loss)
    monkeypatch.setattr(ops, "expectation", launchers.expectation)
    return "cpp"
