"""nvcc compiles every kernel, and none of them spills registers to memory.

Once for the oldest GPUs, and once to the PTX of compute capability 8.0, which is what an editable
install carries, and what all other tests here run: from that, every later architecture has its own
machine code.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ptx.launchers import kept_ptx
from tests.simt.launchers import ROOT, kernel_files

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
def oldest(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The PTX of all kernels for compute capability 7.5."""
    folder = tmp_path_factory.mktemp("ptx")
    made = []
    for source in kernel_files():
        file = folder / f"{source.stem}.ptx"
        command = ["nvcc", "-std=c++17", "-O3", f"-I{ROOT / 'csrc'}", "-ptx", "-o", str(file)]
        subprocess.run([*command, "-arch=compute_75", str(source)], check=True)
        made.append(file)
    return made


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120"])
def test_no_kernel_spills(
    oldest: list[Path], launchers_library: Path, architecture: str, tmp_path: Path
) -> None:
    known = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True)
    if architecture not in known.stdout.split():
        pytest.skip(f"this nvcc does not know {architecture}")
    files = oldest if architecture == "sm_75" else kept_ptx(launchers_library)
    assert len(files) == len(kernel_files())
    for file in files:
        command = ["ptxas", "-v", "-O3", f"-arch={architecture}", str(file)]
        command += ["-o", str(tmp_path / "kernels.cubin")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        kernels = [match.groupdict() for match in KERNELS.finditer(said)]
        assert len(kernels) == said.count("Compiling entry function") > 0
        for kernel in kernels:
            print(f"{architecture} {kernel['registers']:>3} registers  {kernel['name']}")
            assert kernel["spills"] == kernel["reloads"] == "0", kernel
