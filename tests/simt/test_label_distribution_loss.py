"""The CUDA kernels, run thread by thread on the CPU, against the reference in float64.

The tests imported here were written for the CPU kernels; the fixture `backend` makes them call the
CUDA ones.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch

from dldl_fast.options import LossOptions
from tests.cases import (
    DIVERGENCES,
    DTYPES,
    KINDS,
    REDUCTIONS,
    REGRESSIONS,
    assert_kernel_matches,
    bent_grid,
    targets_on,
    uniform_grid,
)
from tests.simt.launchers import Launchers
from tests.test_expectation import (  # noqa: F401
    test_certain_prediction_has_std_zero_and_a_finite_gradient,
    test_extreme_logits,
    test_gradcheck,
    test_only_one_of_the_two_is_used,
    test_values_and_gradients,
)
from tests.test_extreme_input import *  # noqa: F403
from tests.test_label_distribution_loss import (  # noqa: F401
    test_every_width,
    test_float16_gradient_does_not_vanish_under_the_mean,
    test_given_distribution,
    test_given_distribution_of_any_scale,
    test_labels_near_a_million_are_as_exact_as_near_zero,
    test_ordinary_and_special_rows_in_one_block,
)
from tests.test_layouts import test_expanded_rows, test_no_rows, test_strides  # noqa: F401

pytestmark = pytest.mark.usefixtures("backend")

# Labels a row, by what they exercise.
ROW_LENGTHS = [
    *(2, 3, 16),  # 2 lanes a row, 8 slots a lane
    *(17, 31, 32),  # 4 lanes, 8 slots
    *(33, 64),  # 16 slots
    *(100, 101),  # 26 slots, of which 16 need no check
    *(127, 128),  # 32 slots
    *(129, 256),  # 8 lanes, 26 and 32 slots
    401,  # 16 lanes, 26 slots
    512,  # 32 slots; the longest float64 rows in registers
    *(513, 1000, 1024),  # 32 lanes, 26 and 32 slots
    *(1025, 4097),  # a block a row
]


@pytest.mark.parametrize(("n_labels", "dtype"), [*product(ROW_LENGTHS, DTYPES)])
def test_every_row_length(n_labels: int, dtype: torch.dtype) -> None:
    """Several tiles, the last one ragged, with values that differ from row to row."""
    for i, kind in enumerate(KINDS):
        labels = (uniform_grid, bent_grid)[i % 2](n_labels)
        n_rows = 71 if n_labels <= 128 else 11
        assert_kernel_matches(
            torch.randn(n_rows, n_labels).to(dtype),
            targets_on(labels, n_rows),
            labels=labels,
            kind=kind,
            sigma=0.4 + 3 * torch.rand(n_rows),
            weight=torch.rand(n_rows),
            reduction=REDUCTIONS[i % 3],
        )


# The same for the policies of other methods, which have few widths.
EXTENDED_LENGTHS = [
    *(2, 31, 32),  # 4 lanes a row, 8 slots a lane
    *(33, 101, 128),  # 32 slots
    *(129, 401, 512),  # a warp a row; the longest float64 rows in registers
    *(513, 1024),  # all of its slots
    *(1025, 4097),  # a block a row
]


@pytest.mark.parametrize(("n_labels", "dtype"), [*product(EXTENDED_LENGTHS, DTYPES)])
def test_policies_of_other_methods_at_every_row_length(n_labels: int, dtype: torch.dtype) -> None:
    n_rows = 71 if n_labels <= 128 else 11
    x, sigma = torch.randn(n_rows, n_labels).to(dtype), 0.4 + 3 * torch.rand(n_rows)
    for labels in (uniform_grid(n_labels), bent_grid(n_labels)):
        y = targets_on(labels, n_rows)
        assert_kernel_matches(x, y, labels=labels, kind="laplace", sigma=sigma)
        for settings in (
            {"kind": "gaussian"},
            {"kind": "one_hot"},
            {"target_distribution": x.exp()},
        ):
            assert_kernel_matches(
                x, y, labels=labels, divergence="likelihood", variance_weight=0.01, **settings
            )


@pytest.mark.parametrize("n_labels", [21, 1030])
@pytest.mark.parametrize(
    ("kind", "divergence", "regression", "reduction"),
    [*product(KINDS, DIVERGENCES, REGRESSIONS, REDUCTIONS)],
)
def test_every_setting(
    kind: str, divergence: str, regression: str, reduction: str, n_labels: int
) -> None:
    """Two data types each, which take turns."""
    labels = bent_grid(n_labels)
    first = (KINDS.index(kind) + REDUCTIONS.index(reduction)) % 2
    for dtype in DTYPES[first::2]:
        assert_kernel_matches(
            torch.randn(5, n_labels).to(dtype),
            targets_on(labels, 5),
            labels=labels,
            kind=kind,
            divergence=divergence,
            regression=regression,
            smooth_l1_beta=2.0,
            reduction=reduction,
            lambda_=0.3,
            ld_weight=0.7,
            variance_weight=0.1 if dtype == torch.float32 else 0,
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("n_labels", [64, 101])
def test_rows_that_start_anywhere(dtype: torch.dtype, n_labels: int, offset: int) -> None:
    """No value of the storage is 16-byte aligned with its place in the tile but by chance."""
    storage = torch.randn(offset + 40 * n_labels).to(dtype)
    labels = uniform_grid(n_labels)
    x = storage[offset:].view(40, n_labels)
    assert_kernel_matches(x, targets_on(labels, 40), labels=labels)
    assert_kernel_matches(x[1:], targets_on(labels, 39), labels=labels)


@pytest.mark.parametrize("n_labels", [5, 101, 401, 1030])
def test_given_distribution_in_every_regime(n_labels: int) -> None:
    labels = uniform_grid(n_labels)
    for dtype, rater in product(DTYPES, (torch.float32, torch.float64)):
        q = torch.rand(9, n_labels, dtype=rater)
        q[:, 1] = 0
        x = torch.randn(9, n_labels).to(dtype)
        assert_kernel_matches(x, None, labels=labels, target_distribution=q)


@pytest.mark.parametrize("seed", [1, 2])
def test_order_of_the_threads_changes_nothing(launchers: Launchers, seed: int) -> None:
    labels = uniform_grid(101)
    x, y = torch.randn(70, 101), targets_on(labels, 70)
    arguments = (x, y, 2.0, None, None, labels, 1.0, LossOptions())
    want = launchers.forward(*arguments, needs_grad=True)
    launchers.set_seed(seed)
    got = launchers.forward(*arguments, needs_grad=True)
    launchers.set_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(want[:2], got[:2], strict=True))
