"""nvcc compiles every kernel, and none of them spills registers to memory.

Once for the oldest GPUs, and once to the PTX of compute capability 8.0, which is what an editable
install carries: from that, every later architecture has its own machine code.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from tests.simt.launchers import ROOT

KERNELS = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<spills>\d+) bytes spill stores, "
    r"(?P<reloads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is missing"),
]


@pytest.fixture(scope="module")
def ptx_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The PTX of all kernels, by the compute capability that it is for."""
    folder = tmp_path_factory.mktemp("ptx")
    made: dict[str, list[Path]] = {"75": [], "80": []}
    for capability, source in product(made, sorted((ROOT / "csrc" / "cuda").glob("*.cu"))):
        file = folder / f"{source.stem}_{capability}.ptx"
        command = ["nvcc", "-std=c++17", "-O3", f"-I{ROOT / 'csrc'}", "-ptx", "-o", str(file)]
        subprocess.run([*command, f"-arch=compute_{capability}", str(source)], check=True)
        made[capability].append(file)
    return made


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120"])
def test_no_kernel_spills(
    ptx_files: dict[str, list[Path]], architecture: str, tmp_path: Path
) -> None:
    known = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True)
    if architecture not in known.stdout.split():
        pytest.skip(f"this nvcc does not know {architecture}")
    for file in ptx_files["75" if architecture == "sm_75" else "80"]:
        command = ["ptxas", "-v", "-O3", f"-arch={architecture}", str(file)]
        command += ["-o", str(tmp_path / "kernels.cubin")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        kernels = [match.groupdict() for match in KERNELS.finditer(said)]
        assert len(kernels) == said.count("Compiling entry function")
        for kernel in kernels:
            print(f"{architecture} {kernel['registers']:>3} registers  {kernel['name']}")
            assert kernel["spills"] == kernel["reloads"] == "0", kernel
