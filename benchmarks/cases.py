"""Which sizes the suite runs; DLDL_FAST_BENCH selects ``all``, ``quick`` or ``smoke``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from itertools import product

import pytest
import torch

from .bars import BARS

MODES = ("all", "quick", "smoke")
Case = tuple[int, int, torch.dtype, int]  # rows, labels, dtype of the logits, threads
Measure = Callable[..., None]  # fixtures of conftest.py
Compare = Callable[..., None]
Keep = Callable[[Callable[[], object]], None]


def mode() -> str:
    """How much to run, from DLDL_FAST_BENCH."""
    value = os.environ.get("DLDL_FAST_BENCH", "all")
    if value not in MODES:
        raise pytest.UsageError(f"DLDL_FAST_BENCH must be one of {', '.join(MODES)}, got {value!r}")
    return value


def command(config: pytest.Config) -> str:
    """The command line of this run."""
    return f"DLDL_FAST_BENCH={mode()} {shlex.join(['pytest', *config.invocation_params.args])}"


def cases() -> list[Case]:
    """The cases of the present mode, equal sizes side by side (they share their inputs)."""
    if mode() == "smoke":
        return [(128, 101, torch.float32, 1)]
    if mode() == "quick":
        sizes = [(bar.rows, bar.labels) for bar in BARS[:2]]
        return [(*size, torch.float32, 1) for size in sizes]
    rows, labels = (32, 128, 1024, 8192, 65536), (16, 101, 401)
    # bfloat16 and two threads at the bars' sizes alone: torch.compile takes seconds for every case.
    return [
        *product(rows, labels, (torch.float32,), (1,)),
        (65536, 101, torch.float32, 2),
        (65536, 101, torch.bfloat16, 1),
        (128, 101, torch.bfloat16, 1),
    ]


def case_id(value: object) -> str | None:
    """Readable ids for cases; pytest names the other parameters itself."""
    if not isinstance(value, tuple):
        return None
    rows, labels, dtype, threads = value
    return f"{rows}x{labels}-{dtype_name(dtype)}-{threads}thr"


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
