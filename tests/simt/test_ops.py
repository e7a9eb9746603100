"""The ops for CUDA tensors as torch calls them, on CPU tensors.

Everything is the project's own down to the kernels: schema, glue, launchers, autograd. Only the
device, its stream and the runtime are stand-ins. The tests are those of the CPU ops.
"""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

from torch.utils import cpp_extension

from tests.cases import needs_cpp
from tests.pytest_process import run_tests
from tests.simt.launchers import ROOT, compiler

pytestmark = needs_cpp

FILES = ["autograd", "bad_input", "compile", "expectation", "hybrid_pool2d", "layouts"]
# What is said of the CPU kernels alone: their backend, their memory, the other devices' checks.
NOT_THESE = "not reference and not importing and not memory and not float16_gradients_that_only"


def test_ops_on_the_cpu(launchers_library: Path, tmp_path: Path) -> None:
    library = tmp_path / "ops.so"
    include = ["-Itests/simt", "-Itests/simt/cuda", "-Icsrc"]
    include += [f"-isystem{path}" for path in cpp_extension.include_paths()]
    include.append(f"-isystem{sysconfig.get_paths()['include']}")
    link = [f"-L{path}" for path in cpp_extension.library_paths()]
    link += ["-lc10", "-ltorch", "-ltorch_cpu", f"-Wl,-rpath,{launchers_library.parent}"]
    command = [
        str(compiler()), "-std=c++20", "-O1", "-fPIC", "-shared", "-fvisibility=hidden",
        "-DTORCH_STABLE_ONLY", "-DTORCH_TARGET_VERSION=0x020d000000000000ULL",
        "-DDLDL_FAST_CUDA_KEY=CPU", *include, "-o", str(library),
        "csrc/module.cpp", "csrc/cuda/ops.cpp", "tests/simt/build_info.cpp",
        str(launchers_library), *link,
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)

    printed = run_tests(
        "tests/simt/ops_process.py", str(library), files=FILES, chosen=NOT_THESE, environment={}
    )
    assert printed.startswith("no CUDA: run thread by thread on the CPU\n")
