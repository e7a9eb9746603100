from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dldl_fast import ops
from tests.simt.launchers import Launchers, compile_command, compiler


@pytest.fixture(scope="session")
def launchers(tmp_path_factory: pytest.TempPathFactory) -> Launchers:
    if compiler() is None:
        pytest.skip("g++ is missing: the CUDA kernels cannot be compiled for the CPU")
    library: Path = tmp_path_factory.mktemp("simt") / "simt.so"
    command = compile_command("library.cpp", output=library, flags=["-O2", "-fPIC", "-shared"])
    subprocess.run(command, check=True)
    return Launchers(library)


@pytest.fixture
def backend(launchers: Launchers, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiled ops are those of csrc/cuda; tests written for the CPU's then test them."""
    monkeypatch.setattr(ops, "load_error", None)
    monkeypatch.setattr(ops, "label_distribution_loss", launchers.label_distribution_loss)
    monkeypatch.setattr(ops, "expectation", launchers.expectation)
    return "cpp"
