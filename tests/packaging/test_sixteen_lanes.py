"""The kernels at the 16 lanes of AVX-512, on machines without it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from dldl_fast import ops

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which("c++")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler"),
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"), reason="16 lanes are used on x86-64 only"
    ),
    pytest.mark.skipif(
        ops.load_error is None and torch.ops.dldl_fast.cpu_capability() == "avx512",
        reason="this CPU has AVX-512: all other tests run it",
    ),
]


def test_sixteen_lanes_agree_with_one(tmp_path: Path) -> None:
    program = tmp_path / "sixteen_lanes"
    sources = [ROOT / "tests/packaging/sixteen_lanes.cpp", ROOT / "csrc/cpu/kernels_scalar.cpp"]
    flags = ["-std=c++20", "-O1", "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    subprocess.run([str(COMPILER), *flags, *map(str, sources), "-o", str(program)], check=True)
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    assert run.stdout.startswith("1512 cases")
