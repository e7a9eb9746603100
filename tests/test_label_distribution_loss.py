"""The kernel against the reference in float64, in every regime of the kernel.

test_cpu_capability.py runs this file again for every instruction set.
"""

from __future__ import annotations

import os
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
    needs_cpp,
    targets_on,
    uniform_grid,
)

pytestmark = needs_cpp

# Labels a row, by what they exercise. The widest vectors that a row fills are used, 16 (AVX-512),
# 8 (AVX2), 4 (baseline) or one value at a time.
ROW_LENGTHS = [
    *(2, 3),  # one value at a time
    *(4, 5, 7),  # vectors of 4: one exactly; two that overlap by 3 and by 1
    *(8, 9, 15),  # vectors of 8, likewise
    *(16, 17, 23, 31, 32, 33),  # vectors of 16: whole, overlapping by 1 to 15 lanes
    *(41, 61, 101, 230),  # grids of the paper and of the released code
    *(47, 48, 49),  # the longest rows that are computed with a row in every lane, and the next
    401,
    *(512, 513),  # the last block of 16 rows; from here row by row, with vectors of 16
    *(1024, 1025),  # the same with vectors of 8
    *(2048, 2049),  # the same with vectors of 4
    4097,
]


def test_instruction_set_that_was_asked_for_is_in_use() -> None:
    used = torch.ops.dldl_fast.cpu_capability()
    assert used == os.environ.get("DLDL_FAST_CPU", used)
    assert used in ("avx512", "avx2", "baseline")


@pytest.mark.parametrize(
    ("kind", "divergence", "regression", "reduction", "dtype"),
    [*product(KINDS, DIVERGENCES, REGRESSIONS, REDUCTIONS, DTYPES)],
)
def test_every_setting(
    kind: str, divergence: str, regression: str, reduction: str, dtype: torch.dtype
) -> None:
    x = (2 * torch.randn(19, 21)).to(dtype)
    sigma = 0.7 + 3 * torch.rand(19, dtype=torch.float64)
    for labels, variance_weight in (
        (bent_grid(21), 0),
        (uniform_grid(21), 0),
        (bent_grid(21), 0.2),
    ):
        assert_kernel_matches(
            x, targets_on(labels, 19), labels=labels, sigma=sigma, weight=torch.rand(19), kind=kind,
            divergence=divergence, regression=regression, reduction=reduction, smooth_l1_beta=1.5,
            lambda_=0.3, ld_weight=1.7, variance_weight=variance_weight,
        )  # fmt: skip


@pytest.mark.parametrize(("n_labels", "dtype"), [*product(ROW_LENGTHS, DTYPES)])
def test_every_row_length(n_labels: int, dtype: torch.dtype) -> None:
    n_rows = 21 if n_labels <= 512 else 5
    x = (3 * torch.randn(n_rows, n_labels)).to(dtype)
    for labels in (uniform_grid(n_labels), bent_grid(n_labels)):
        y = targets_on(labels, n_rows)
        for kind in ("gaussian", "gaussian_bin", "two_hot"):
            assert_kernel_matches(x, y, labels=labels, kind=kind, lambda_=0.1)
        q = torch.rand(n_rows, n_labels, dtype=torch.float64)
        q[:, ::2] = 0
        q[:, 0] = 1
        assert_kernel_matches(x, None, labels=labels, target_distribution=q)


@pytest.mark.parametrize(("n_labels", "dtype"), [*product(ROW_LENGTHS, DTYPES)])
def test_policies_of_other_methods_at_every_row_length(n_labels: int, dtype: torch.dtype) -> None:
    n_rows = 21 if n_labels <= 512 else 5
    x = (3 * torch.randn(n_rows, n_labels)).to(dtype)
    for labels in (uniform_grid(n_labels), bent_grid(n_labels)):
        y = targets_on(labels, n_rows)
        assert_kernel_matches(x, y, labels=labels, kind="laplace", sigma=1.5)
        for kind in ("gaussian", "one_hot"):
            assert_kernel_matches(
                x, y, labels=labels, kind=kind, divergence="likelihood", variance_weight=0.01
            )
        q = torch.rand(n_rows, n_labels)
        assert_kernel_matches(
            x, y, labels=labels, target_distribution=q, divergence="likelihood",
            variance_weight=0.01,
        )  # fmt: skip


def test_longest_rows() -> None:
    labels = uniform_grid(100_000) / 1024
    x = torch.randn(3, 100_000)
    y = torch.tensor([0.0, 31.4159, float(labels[-1])], dtype=torch.float64)
    assert_kernel_matches(x, y, labels=labels)
    assert_kernel_matches(x, y, labels=labels, sigma=0.001, kind="gaussian_bin")


# 101 labels: chunks of 160 rows, which threads share; blocks of 16, 8 or 4 rows and a rest.
@pytest.mark.parametrize("n_rows", [1, 3, 4, 7, 8, 9, 15, 16, 17, 21, 159, 160, 161, 325])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_every_number_of_rows(n_rows: int, reduction: str) -> None:
    labels = uniform_grid(101)
    x, y = 2 * torch.randn(n_rows, 101), targets_on(labels, n_rows)
    weight = torch.rand(n_rows, dtype=torch.float64)
    assert_kernel_matches(x, y, labels=labels, weight=weight, reduction=reduction)
    assert_kernel_matches(x, y, labels=labels, reduction=reduction)


# The same with rows of few labels, where whole blocks have a row in every lane.
@pytest.mark.parametrize("n_rows", [1, 4, 8, 15, 16, 17, 40, 1025])
def test_every_number_of_short_rows(n_rows: int) -> None:
    labels = uniform_grid(21)
    x, y = 2 * torch.randn(n_rows, 21), targets_on(labels, n_rows)
    sigma = 0.5 + 2 * torch.rand(n_rows)
    assert_kernel_matches(x, y, labels=labels, sigma=sigma)
    sigma[n_rows // 2] = 0.1  # too narrow for that: its block takes the other way
    assert_kernel_matches(x, y, labels=labels, sigma=sigma)


# More than 4 MiB of logits: fetched ahead, and the gradient in huge pages.
@pytest.mark.parametrize(("n_rows", "n_labels"), [(12_000, 101), (40_001, 33)])
def test_logits_that_exceed_the_cache(n_rows: int, n_labels: int) -> None:
    labels = uniform_grid(n_labels)
    x, y = 2 * torch.randn(n_rows, n_labels), targets_on(labels, n_rows)
    assert_kernel_matches(x, y, labels=labels)
    assert_kernel_matches(x[:, :-1], y.clamp_max(n_labels - 2), labels=labels[:-1])


# Below half a step the target is tabulated in float64, above it is computed with vectors.
@pytest.mark.parametrize("sigma", [0, 1e-9, 0.03, 0.2, 0.499, 0.501, 1.0, 7.0, 60.0, 1e5, 1e12])
@pytest.mark.parametrize("kind", ["gaussian", "gaussian_bin", "laplace"])
@pytest.mark.parametrize("grid", [uniform_grid, bent_grid])
def test_every_width(grid, kind: str, sigma: float) -> None:
    labels = grid(45)
    assert_kernel_matches(
        torch.randn(32, 45), targets_on(labels, 32), labels=labels, sigma=sigma, kind=kind
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_ordinary_and_special_rows_in_one_block(dtype: torch.dtype) -> None:
    labels = uniform_grid(37)
    y = targets_on(labels, 48)
    sigma = torch.full((48,), 2.0)
    sigma[5], sigma[9], sigma[17], sigma[18] = 0, 0.01, 1e-30, 500
    y[20], y[33] = -7, 80  # out of the grid
    y[40] = torch.nan  # left out
    weight = torch.ones(48)
    weight[2], weight[40] = 0, torch.nan
    x = torch.randn(48, 37).to(dtype)
    for kind in ("gaussian", "gaussian_bin", "laplace"):
        settings = {
            "labels": labels, "kind": kind, "out_of_range": "keep", "ignore_nan": True,
            "sigma": sigma, "reduction": "none",
        }  # fmt: skip
        loss, grad = loss_and_grad(x, y, weight=weight, backend="cpp", **settings)
        used = ~torch.isnan(y)
        settings["sigma"] = sigma[used]
        assert_kernel_matches(x[used], y[used], **settings, weight=weight[used])
        alone = functional.label_distribution_loss(
            x[used], y[used], weight=weight[used], backend="cpp", **settings
        )
        torch.testing.assert_close(loss[used], alone)
        assert loss[40] == 0 and torch.equal(grad[40], torch.zeros_like(grad[40]))
        assert loss[2] == 0 and torch.equal(grad[2], torch.zeros_like(grad[2]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_labels", [5, 17, 23, 101])
def test_half_rows_that_are_no_multiple_of_the_vector(dtype: torch.dtype, n_labels: int) -> None:
    """The last vector overlaps the one before, and both read what the other converts in place."""
    labels = uniform_grid(n_labels)
    x = torch.zeros(17, n_labels, dtype=dtype)
    x[:, -1], x[:, n_labels // 2] = 4, -3
    assert_kernel_matches(x, targets_on(labels, 17), labels=labels, reduction="none")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_given_distribution(dtype: torch.dtype, weighted: bool) -> None:
    labels = bent_grid(26)
    x = torch.randn(18, 26).to(dtype)
    votes = torch.randint(0, 4, (18, 26))
    votes[:, 3] = 1
    weight = torch.rand(18) if weighted else None
    for q in (votes.float(), votes.double() / 7):
        for y in (None, targets_on(labels, 18)):
            assert_kernel_matches(
                x, y, labels=labels, target_distribution=q, weight=weight, regression="l2"
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-300, 1e-60, 1e-39, 1e-20, 1e20, 1e39, 1e300])
def test_given_distribution_of_any_scale(scale: float, dtype: torch.dtype) -> None:
    x = torch.randn(5, 21, dtype=dtype)
    q = 0.1 + torch.rand(5, 21, dtype=torch.float64)
    assert_kernel_matches(x, None, labels=uniform_grid(21), target_distribution=q * scale)


def test_given_distribution_may_have_any_dtype(backend: str) -> None:
    x = torch.randn(4, 6)
    votes = torch.randint(1, 9, (4, 6))
    want = functional.label_distribution_loss(
        x, labels=range(6), target_distribution=votes.double(), backend=backend
    )
    for q in (votes, votes.half(), votes.to(torch.uint8)):
        got = functional.label_distribution_loss(
            x, labels=range(6), target_distribution=q, backend=backend
        )
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shift_of_the_logits_changes_nothing(dtype: torch.dtype) -> None:
    labels = uniform_grid(33)
    x = torch.randint(-4, 5, (20, 33)).to(dtype)  # so that the shifted logits are exact
    y = targets_on(labels, 20)
    loss, grad = loss_and_grad(x, y, labels=labels, backend="cpp")
    for shift in (-96, 64):
        shifted, shifted_grad = loss_and_grad(x + shift, y, labels=labels, backend="cpp")
        assert torch.equal(shifted, loss)
        assert torch.equal(shifted_grad, grad)


@pytest.mark.parametrize("offset", [0, 1_000_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_near_a_million_are_as_exact_as_near_zero(offset: int, dtype: torch.dtype) -> None:
    labels = uniform_grid(31)
    x = torch.randn(16, 31).to(dtype)
    y = (targets_on(labels, 16) * 8).round() / 8
    near_zero = loss_and_grad(x, y, labels=labels, regression="l2", backend="cpp")
    far = loss_and_grad(x, y + offset, labels=labels + offset, regression="l2", backend="cpp")
    assert torch.equal(near_zero[0], far[0])
    assert torch.equal(near_zero[1], far[1])
    assert_kernel_matches(x, y + offset, labels=labels + offset)


def test_float16_gradient_does_not_vanish_under_the_mean() -> None:
    """Each row's share of the mean is 1 / 4096: the gradient is stored before that factor."""
    x = torch.zeros(4096, 101, dtype=torch.float16)
    x[:, 0] = 4
    y = torch.full((4096,), 50.0)
    _, grad = loss_and_grad(x, y, labels=uniform_grid(101), backend="cpp", lambda_=0)
    _, want = loss_and_grad(x.double(), y, labels=uniform_grid(101), backend="reference", lambda_=0)
    big = want.abs() > 1e-6
    assert int(big.sum()) > 4096 * 5
    torch.testing.assert_close(grad[big].double(), want[big], rtol=0.05, atol=0)
