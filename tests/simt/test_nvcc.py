"""nvcc compiles every kernel, and none of them spills registers to memory."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.simt.launchers import ROOT

KERNELS = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<spills>\d+) bytes spill stores, "
    r"(?P<reloads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is missing")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120"])
def test_no_kernel_spills(architecture: str, tmp_path: Path) -> None:
    known = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True)
    if architecture not in known.stdout.split():
        pytest.skip(f"this nvcc does not know {architecture}")
    for source in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
        command = ["nvcc", "-std=c++17", "-O3", f"-I{ROOT / 'csrc'}", f"-arch={architecture}"]
        command += ["-Xptxas", "-v", "-cubin", "-o", str(tmp_path / "kernels.cubin"), str(source)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        kernels = [match.groupdict() for match in KERNELS.finditer(said)]
        assert len(kernels) == said.count("Compiling entry function")
        for kernel in kernels:
            print(f"{architecture} {kernel['registers']:>3} registers  {kernel['name']}")
            assert kernel["spills"] == kernel["reloads"] == "0", kernel
