"""pytest in a process where Triton interprets, and the tests' compiled backend is Triton's.

TRITON_INTERPRET=1 python tests/triton/interpreter_process.py [pytest's arguments]
"""

from __future__ import annotations

import sys

import pytest
import triton

from dldl_fast import backends, functional, ops
from dldl_fast.labels import uniform_step
from dldl_fast.triton import tiles

if __name__ == "__main__":
    if not triton.knobs.runtime.interpret:
        sys.exit("set TRITON_INTERPRET=1")
    backends.OPS["cpp"] = ops.triton_ops
    # As for logits on a GPU.
    functional._step_for = lambda logits, grid: uniform_step(grid)
    # A program of the interpreter takes as long for many rows as for few.
    tiles._PER_THREAD = tiles._PER_THREAD_FLOAT64 = 256
    sys.exit(pytest.main(sys.argv[1:]))
