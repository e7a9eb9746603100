"""Quantiles of the predicted distribution."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
import torch

from dldl_fast import functional
from tests.cases import DTYPES, bent_grid


def by_definition(row: list[float], labels: list[float], q: float) -> float:
    peak = max(row)
    mass = [math.exp(x - peak) for x in row]
    wanted = q * math.fsum(mass)
    return next(
        label for label, below in zip(labels, accumulate(mass), strict=True) if below >= wanted
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_labels", [2, 5, 101])
def test_values(dtype: torch.dtype, n_labels: int) -> None:
    labels = bent_grid(n_labels) - 3
    logits = (2 * torch.randn(7, n_labels)).to(dtype)
    levels = torch.rand(9).tolist()
    found = functional.quantile(logits, labels, levels)
    assert (found.shape, found.dtype) == ((9, 7), torch.float64)
    for q, of_rows in zip(levels, found, strict=True):
        want = [by_definition(row, labels.tolist(), q) for row in logits.double().tolist()]
        assert of_rows.tolist() == want
        assert torch.equal(functional.quantile(logits, labels, q), of_rows)


def test_median_is_the_label_with_the_smallest_expected_absolute_error() -> None:
    logits, labels = 3 * torch.randn(50, 31, dtype=torch.float64), bent_grid(31)
    distance = (labels - labels.unsqueeze(-1)).abs()
    best = (logits.softmax(-1) @ distance).argmin(-1)
    assert torch.equal(functional.quantile(logits, labels, 0.5), labels[best])


@pytest.mark.parametrize("n_labels", [4, 10, 102, 1000, 100_000])
def test_an_exact_tie_gives_the_lower_label(n_labels: int) -> None:
    """Of K equal probabilities the first half is exactly 1/2, whatever rounding makes of it."""
    labels = torch.arange(n_labels, dtype=torch.float64)
    median = functional.quantile(torch.full((n_labels,), 0.3), labels, 0.5)
    assert median.item() == n_labels // 2 - 1
    tenths = [k / 10 for k in range(1, 10)]
    if n_labels % 10 == 0:
        found = functional.quantile(torch.zeros(n_labels), labels, tenths)
        assert found.tolist() == [k * n_labels // 10 - 1 for k in range(1, 10)]


def test_ends_are_the_labels_that_have_probability() -> None:
    out = -math.inf
    logits = torch.tensor([[out, 0.0, 1.0, out], [0.0, out, out, out], [out, out, 3.0, 4.0]])
    found = functional.quantile(logits, [1, 2, 4, 8], [0, 0.5, 1])
    assert found.tolist() == [[2, 1, 4], [4, 1, 8], [4, 1, 8]]


def test_rows_without_a_distribution_are_nan() -> None:
    logits = torch.zeros(4, 3)
    logits[1], logits[2, 0], logits[3, 2] = -math.inf, math.nan, math.inf
    found = functional.quantile(logits, range(3), [0.0, 0.5, 1.0])
    assert found.isnan().tolist() == [[False, True, True, True]] * 3


def test_leading_dimensions_and_layouts() -> None:
    logits = torch.randn(3, 4, 11)
    want = functional.quantile(logits, range(11), [0.1, 0.9])
    assert want.shape == (2, 3, 4)
    strided = logits.mT.contiguous().mT
    assert torch.equal(functional.quantile(strided, range(11), [0.1, 0.9]), want)
    assert functional.quantile(logits[1, 2], range(11), 0.1) == want[0, 1, 2]
    assert functional.quantile(logits[:0], range(11), 0.1).shape == (0, 4)
    assert functional.quantile(logits, range(11), []).shape == (0, 3, 4)


def test_nothing_is_made_on_the_default_device() -> None:
    logits = torch.randn(3, 5)
    with torch.device("meta"):
        found = functional.quantile(logits, range(5), [0.1, 0.5])
    assert torch.equal(found, functional.quantile(logits, range(5), [0.1, 0.5]))


def test_labels_near_a_million_and_no_gradient() -> None:
    logits = torch.randn(8, 31, requires_grad=True)
    labels = torch.arange(31, dtype=torch.float64)
    near = functional.quantile(logits, labels, 0.7)
    assert torch.equal(functional.quantile(logits, labels + 1_000_000, 0.7) - 1_000_000, near)
    assert not near.requires_grad


@pytest.mark.parametrize("q", [-0.01, 1.0001, math.nan, [0.5, 2.0]])
def test_levels_outside(q: float) -> None:
    with pytest.raises(ValueError, match=r"q must be in \[0, 1\], got"):
        functional.quantile(torch.zeros(2, 3), range(3), q)


@pytest.mark.parametrize("q", [None, "half", [[0.5]], torch.tensor(0.5)])
def test_levels_of_another_type(q: object) -> None:
    with pytest.raises(TypeError, match=r"q must be a number in \[0, 1\] or a sequence"):
        functional.quantile(torch.zeros(2, 3), range(3), q)


def test_wrong_logits() -> None:
    with pytest.raises(ValueError, match=r"logits must have shape \[\.\.\., 5\].*got \[3, 4\]"):
        functional.quantile(torch.zeros(3, 4), range(5), 0.5)
    with pytest.raises(TypeError, match="got torch.int64"):
        functional.quantile(torch.zeros(3, 5, dtype=torch.int64), range(5), 0.5)
