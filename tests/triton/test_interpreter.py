"""Triton's kernels by its own interpreter: tests of the CPU ops, with Triton's in their place."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.cases import needs_cpp
from tests.simt.launchers import ROOT

pytestmark = [
    needs_cpp,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="triton is not installed"
    ),
]

FILES = [
    "autograd",
    "bad_input",
    "compile",
    "expectation",
    "extreme_input",
    "hybrid_pool2d",
    "layouts",
]
# What is said of the CPU kernels alone: memory, the order of checks, the type of an error in a
# graph. And gradcheck, which calls the kernel too often for an interpreter.
NOT_THESE = [
    "reference", "importing", "memory", "no_copy", "gradcheck", "among_rows_of_other_faults",
    "runtime_error_of_the_same_text", "large_planes",
]  # fmt: skip


def test_ops_by_the_interpreter() -> None:
    run = subprocess.run(
        [
            sys.executable, "tests/triton/interpreter_process.py", "-q", "-p", "no:cacheprovider",
            "-k", " and ".join(f"not {name}" for name in NOT_THESE), "-W", "ignore",
            *(f"tests/test_{name}.py" for name in FILES),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
