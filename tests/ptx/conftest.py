from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ptx.launchers import compile_kernels
from tests.shared_build import build_once


@pytest.fixture(scope="session")
def launchers_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launchers of csrc/cuda and their PTX, over the stand-in runtime."""
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is missing: there is no PTX to run")
    return build_once(tmp_path_factory, "ptx_launchers.so", compile_kernels)
