"""The loss, forward and forward+backward, beside its rivals."""

from __future__ import annotations

import pytest

from .cases import Case, Measure, case_id, cases
from .variants import (
    DIRECTIONS,
    LOSS_VARIANTS,
    Direction,
    bytes_min,
    loss_step,
    make_problem,
    skip_reason,
    verify,
)


@pytest.mark.benchmark(max_time=0.25, min_rounds=5)
@pytest.mark.parametrize("variant", LOSS_VARIANTS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", cases(), ids=case_id)
def test_loss(variant: str, case: Case, direction: Direction, measure: Measure) -> None:
    """One variant on one case; pytest-benchmark groups the variants."""
    if reason := skip_reason(variant):
        pytest.skip(reason)
    rows, labels, dtype, _ = case
    problem = make_problem(rows, labels, dtype)
    if variant == "dldl_fast":
        verify(problem)
    size = (rows, labels, dtype.itemsize, direction)
    measure(
        "loss",
        variant,
        lambda: loss_step(variant, problem, direction),
        bytes_min(*size),
    )
    problem.logits.grad = None
