from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ptx.launchers import compile_command


@pytest.fixture(scope="session")
def launchers_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launchers of csrc/cuda and their PTX, over the stand-in runtime."""
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is missing: there is no PTX to run")
    library: Path = tmp_path_factory.mktemp("ptx") / "launchers.so"
    subprocess.run(compile_command(library), check=True)
    return library
