"""Triton's kernels by its own interpreter: tests of the CPU ops, with Triton's in their place."""

from __future__ import annotations

import importlib.util

import pytest

from tests.cases import needs_cpp
from tests.pytest_process import run_tests

pytestmark = [
    needs_cpp,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="triton is not installed"
    ),
]

FILES = ["autograd", "bad_input", "compile", "expectation", "extreme_input", "layouts"]
# What is said of the CPU kernels alone: memory, the order of checks, the type of an error in a
# graph. And what takes an interpreter minutes: gradcheck, ties in long rows, most graphs and
# most sigmas; float16, which differs from bfloat16 only in how it is loaded and stored.
NOT_THESE = [
    "reference", "importing", "memory", "no_copy", "gradcheck", "among_rows_of_other_faults",
    "runtime_error_of_the_same_text", "ties_of_labels",
    "(test_compile and not default_compiler)",
    "(sigma_to_zero and not 0.0-)", "dtype3",
]  # fmt: skip
# Of hybrid pooling few sizes and one data type.
POOLING = [
    "values_and_gradients and dtype2 and (window or lanes or average)", "nan_and_infinities",
    "storage_offset", "nothing_to_pool", "has_the_layout_of_its_input", "backward_twice",
    "double_backward", "test_compile",
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (FILES, " and ".join(f"not {name}" for name in NOT_THESE)),
        (["hybrid_pool2d"], f"({' or '.join(POOLING)}) and not reference"),
    ],
    ids=["rows", "pooling"],
)
def test_ops_by_the_interpreter(files: list[str], chosen: str) -> None:
    run_tests(
        "tests/triton/interpreter_process.py", "-W", "ignore", files=files, chosen=chosen,
        environment={"TRITON_INTERPRET": "1"},
    )  # fmt: skip
