"""Loss, terms, expectation and gradients on a GPU, against the reference in float64 there."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from dldl_fast import functional
from tests.cases import (
    DIVERGENCES,
    DTYPES,
    KINDS,
    REDUCTIONS,
    REGRESSIONS,
    assert_kernel_matches,
    bent_grid,
    loss_and_grad,
    needs_gpu,
    targets_on,
    uniform_grid,
)
from tests.test_expectation import (  # noqa: F401
    test_certain_prediction_has_std_zero_and_a_finite_gradient,
    test_extreme_logits,
    test_labels_near_a_million_are_as_exact_as_near_zero,
    test_only_one_of_the_two_is_used,
    test_values_and_gradients,
)
from tests.test_layouts import (  # noqa: F401
    test_expanded_rows,
    test_leading_dimensions,
    test_no_rows,
    test_single_row_without_batch,
    test_strides,
)

pytestmark = [pytest.mark.gpu, needs_gpu]

# Labels a row: the shortest and the longest of each group of threads in csrc/cuda.
ROW_LENGTHS = [
    *(2, 3, 16, 17, 32),  # 4 lanes a row
    *(33, 64, 65, 96, 97, 101, 104, 105, 128),  # 8 lanes
    *(129, 256, 257, 384, 385, 401, 512, 513, 768, 769, 1024),  # a warp
    *(1025, 4097),  # a block
]


@pytest.mark.parametrize(("n_labels", "dtype"), [*product(ROW_LENGTHS, DTYPES)])
def test_every_row_length(backend: str, n_labels: int, dtype: torch.dtype) -> None:
    """More rows than one tile holds, the last tile ragged; the reductions take turns."""
    n_rows = 323 if n_labels <= 128 else 37
    for i, kind in enumerate(KINDS):
        labels = (uniform_grid, bent_grid)[i % 2](n_labels)
        assert_kernel_matches(
            torch.randn(n_rows, n_labels).to(dtype), targets_on(labels, n_rows), labels=labels,
            kind=kind, sigma=0.4 + 3 * torch.rand(n_rows), weight=torch.rand(n_rows),
            reduction=REDUCTIONS[i % 3], backend=backend,
        )  # fmt: skip


@pytest.mark.parametrize("n_labels", [21, 1030])
@pytest.mark.parametrize(
    ("kind", "divergence", "regression", "reduction"),
    [*product(KINDS, DIVERGENCES, REGRESSIONS, REDUCTIONS)],
)
def test_every_setting(
    backend: str, kind: str, divergence: str, regression: str, reduction: str, n_labels: int
) -> None:
    for dtype, grid in product(DTYPES, (uniform_grid, bent_grid)):
        labels = grid(n_labels)
        assert_kernel_matches(
            torch.randn(19, n_labels).to(dtype), targets_on(labels, 19), labels=labels, kind=kind,
            divergence=divergence, regression=regression, reduction=reduction, smooth_l1_beta=2.0,
            lambda_=0.3, ld_weight=0.7, backend=backend,
        )  # fmt: skip


@pytest.mark.parametrize("n_labels", [2, 32, 33, 101, 128, 129, 512, 513, 1024, 1025, 4097])
@pytest.mark.parametrize("dtype", DTYPES)
def test_policies_of_other_methods(backend: str, dtype: torch.dtype, n_labels: int) -> None:
    n_rows = 323 if n_labels <= 128 else 37
    x, sigma = torch.randn(n_rows, n_labels).to(dtype), 0.4 + 3 * torch.rand(n_rows)
    for labels in (uniform_grid(n_labels), bent_grid(n_labels)):
        y = targets_on(labels, n_rows)
        assert_kernel_matches(x, y, labels=labels, kind="laplace", sigma=sigma, backend=backend)
        for settings in (
            {"kind": "gaussian"},
            {"kind": "one_hot"},
            {"target_distribution": x.exp()},
        ):
            assert_kernel_matches(
                x, y, labels=labels, divergence="likelihood", variance_weight=0.01, backend=backend,
                **settings,
            )  # fmt: skip


@pytest.mark.parametrize("n_labels", [5, 101, 401, 1030])
@pytest.mark.parametrize("dtype", DTYPES)
def test_given_distribution(backend: str, dtype: torch.dtype, n_labels: int) -> None:
    labels = uniform_grid(n_labels)
    x = torch.randn(70, n_labels).to(dtype)
    for rater in (torch.float32, torch.float64):
        q = torch.rand(70, n_labels, dtype=rater)
        q[:, 1] = 0
        for y in (None, targets_on(labels, 70)):
            assert_kernel_matches(x, y, labels=labels, target_distribution=q, backend=backend)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [1, 2, 3, 4, 5, 6, 7])
def test_rows_that_start_anywhere(backend: str, dtype: torch.dtype, offset: int) -> None:
    """The first row is on no 16-byte boundary; nor is any row of 101 labels but by chance."""
    x = torch.randn(offset + 140 * 101).to(dtype)[offset:].view(140, 101)
    labels = uniform_grid(101)
    for given in (x, x[1:], x[::2]):
        y = targets_on(labels, len(given))
        assert_kernel_matches(given, y, labels=labels, backend=backend)
    y = targets_on(labels[:77], 140)
    assert_kernel_matches(x[:, 3:80], y, labels=labels[:77], backend=backend)


# Narrower than half a step, as wide as one, far wider than the grid.
@pytest.mark.parametrize("sigma", [0, 1e-9, 0.03, 0.499, 0.501, 7.0, 60.0, 1e12])
@pytest.mark.parametrize("kind", ["gaussian", "gaussian_bin", "laplace"])
def test_every_width(backend: str, kind: str, sigma: float) -> None:
    for labels in (uniform_grid(45), bent_grid(45)):
        y = targets_on(labels, 90)
        x = torch.randn(90, 45)
        assert_kernel_matches(x, y, labels=labels, sigma=sigma, kind=kind, backend=backend)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_many_rows(backend: str, reduction: str) -> None:
    """More tiles than the block that adds up their sums has threads."""
    labels = uniform_grid(101)
    y = targets_on(labels, 65_537)
    x = torch.randn(65_537, 101)
    assert_kernel_matches(x, y, labels=labels, reduction=reduction, backend=backend)


@pytest.mark.parametrize("n_labels", [101, 1030])
def test_same_bits_in_every_run(backend: str, n_labels: int) -> None:
    labels = uniform_grid(n_labels)
    x, y, weight = torch.randn(20_000, n_labels), targets_on(labels, 20_000), torch.rand(20_000)
    runs = []
    for _ in range(3):
        settings = {"labels": labels, "weight": weight, "backend": backend}
        moments = functional.expectation(x, labels, return_std=True, backend=backend)
        runs.append((*loss_and_grad(x, y, **settings), *moments))
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_reference_computes_there_what_it_computes_on_the_cpu() -> None:
    """Else the comparisons of this folder would say little."""
    labels = bent_grid(101)
    x, y = torch.randn(50, 101, dtype=torch.float64), targets_on(labels, 50)
    for kind in KINDS:
        settings = {"kind": kind, "backend": "reference"}
        there = loss_and_grad(x, y, labels=labels, **settings)
        here = loss_and_grad(x.cpu(), y.cpu(), labels=labels.cpu(), **settings)
        for a, b in zip(there, here, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-10, atol=1e-12)
