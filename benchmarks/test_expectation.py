"""The fused softmax-expectation for inference, beside ``softmax(logits) @ labels``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import dldl_fast

from .cases import Case, Measure, case_id, cases
from .variants import (
    DIRECTIONS,
    Direction,
    Problem,
    Step,
    clone_step,
    compiled,
    make_problem,
    skip_reason,
)

CASES = [case for case in cases() if case[1:] == (101, torch.float32, 1)]


def eager_expectation(logits: Tensor, grid: Tensor) -> Tensor:
    """The usual two calls; half-precision logits are computed in float32."""
    return logits.softmax(1, dtype=torch.float32) @ grid


EXPECTATIONS: dict[str, Callable[[], Callable[..., Any]]] = {
    "dldl_fast": lambda: dldl_fast.functional.expectation,
    "eager": lambda: eager_expectation,
    "compile": lambda: compiled(eager_expectation),
}


def expectation_step(variant: str, problem: Problem, direction: Direction) -> Step:
    """One step of a variant; the gradient is that of the sum of the expectations."""
    if variant == "clone":
        return clone_step(problem)
    expectation = EXPECTATIONS[variant]()
    logits = problem.logits
    # This library keeps its grid in float64; the rivals' product needs float32.
    grid = problem.grid.double() if variant == "dldl_fast" else problem.grid
    if direction == "forward":
        return lambda: expectation(logits, grid)

    def step() -> None:
        logits.grad = None
        expectation(logits, grid).sum().backward()

    return step


# Byte model, B = N*K*itemsize. Forward must move: read logits B, write expectations (8N, float64);
# this library writes the standard deviations too, another 8N. Forward+backward must also write the
# gradient B; this library reads the logits once more in backward (3B) and keeps nothing of size
# N x K in between.
@pytest.mark.benchmark(max_time=0.25, min_rounds=5)
@pytest.mark.parametrize("variant", [*EXPECTATIONS, "clone"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_expectation(variant: str, case: Case, direction: Direction, measure: Measure) -> None:
    """One variant on one case, for float32 and one thread."""
    rows, labels, dtype, _ = case
    if reason := skip_reason(variant):
        pytest.skip(reason)
    problem = make_problem(rows, labels, dtype)
    if variant == "dldl_fast":
        ours = dldl_fast.functional.expectation(problem.logits.detach(), problem.grid.double())
        usual = problem.logits.detach().double().softmax(1) @ problem.grid.double()
        torch.testing.assert_close(ours, usual, rtol=0, atol=1e-4)
    passes = 1 if direction == "forward" else 2
    measure(
        "expectation",
        variant,
        lambda: expectation_step(variant, problem, direction),
        passes * rows * labels * dtype.itemsize + 8 * rows,
    )
    problem.logits.grad = None
