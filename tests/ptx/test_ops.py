"""The ops for CUDA tensors as torch calls them, on CPU tensors, over the PTX that nvcc compiled.

Schema, autograd, glue, launchers and kernels are those of a GPU; the runtime is a stand-in, and
launches are interpreted. The tests are those of the CPU ops; tests/simt runs all of them without
PTX.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

from torch.utils import cpp_extension

from tests.cases import needs_cpp
from tests.pytest_process import run_tests
from tests.simt.launchers import ROOT

pytestmark = needs_cpp

FILES = ["autograd", "bad_input", "compile", "expectation", "hybrid_pool2d", "layouts"]
# Where launches, their number and who owns the memory matter; values: see test_launchers.py.
THESE = [
    "opcheck and not of_the_loss", "second_backward and (none or mean)", "two_losses",
    "terms_are_detached", "default_compiler", "single_row and mean",
    "only_the_bad_row_is_nan and mass", "storage_offset", "nothing_to_pool",
    "has_the_layout_of_its_input", "backward_twice",
]  # fmt: skip


def test_ops_over_ptx(launchers_library: Path, tmp_path: Path) -> None:
    library = tmp_path / "ops.so"
    include = [f"-isystem={path}" for path in cpp_extension.include_paths()]
    include.append(f"-isystem={sysconfig.get_paths()['include']}")
    link = [f"-L{path}" for path in cpp_extension.library_paths()]
    link += ["-lc10", "-ltorch", "-ltorch_cpu", f"-Xlinker=-rpath={launchers_library.parent}"]
    sources = [
        "csrc/module.cpp", "csrc/cuda/ops.cpp", "tests/simt/build_info.cpp",
        "tests/ptx/cuda/host_memory.cpp",
    ]  # fmt: skip
    command = [
        str(shutil.which("nvcc")), "-std=c++20", "-O1", "-shared", "--cudart=none",
        "-Xcompiler=-fPIC,-fvisibility=hidden", "-DTORCH_TARGET_VERSION=0x020d000000000000ULL",
        "-DDLDL_FAST_CUDA_KEY=CPU", "-Itests/simt", "-Icsrc", *include, "-o", str(library),
        *sources, str(launchers_library), *link,
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)

    printed = run_tests(
        "tests/ptx/ops_process.py", str(library), str(launchers_library), files=FILES,
        chosen=f"({' or '.join(THESE)}) and not reference", environment={},
    )  # fmt: skip
    n_launches = int(printed.splitlines()[-1].split()[0])
    assert n_launches > 100
