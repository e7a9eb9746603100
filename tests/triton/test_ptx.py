"""The kernels as Triton compiles them, by their own host code, against the reference in float64."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from dldl_fast import backends, functional, ops
from dldl_fast.labels import uniform_step
from dldl_fast.schema import implement
from tests.cases import (
    DIVERGENCES,
    DTYPES,
    KINDS,
    REDUCTIONS,
    REGRESSIONS,
    assert_kernel_matches,
    bent_grid,
    loss_and_grad,
    targets_on,
    uniform_grid,
)

jit = pytest.importorskip("triton.runtime.jit", reason="triton is not installed")

from tests.triton.launches import PtxLaunches, spilled_bytes  # noqa: E402  (needs Triton)

implement("dldl_fast_triton", "dldl_fast.triton", ("cpu",))


@pytest.fixture(scope="module")
def ptx_launches() -> PtxLaunches:
    return PtxLaunches()


def use(launches: PtxLaunches, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' compiled backend is Triton's, with logits that count as on a GPU."""
    monkeypatch.setitem(backends.OPS, "cpp", ops.triton_ops)
    monkeypatch.setattr(ops, "load_error", None)
    monkeypatch.setattr(functional, "_step_for", lambda logits, grid: uniform_step(grid))
    launches.install(monkeypatch)


@pytest.fixture
def launches(ptx_launches: PtxLaunches, monkeypatch: pytest.MonkeyPatch) -> PtxLaunches:
    use(ptx_launches, monkeypatch)
    ptx_launches.launches.clear()
    return ptx_launches


# Labels a row, by what they exercise.
ROW_LENGTHS = [
    *(2, 16, 17),  # a label a lane, several rows a warp at once
    *(33, 101, 128),  # several labels a lane; all of them in use
    *(401, 1000),  # one row a program; several warps
    1025,
]


@pytest.mark.parametrize("n_labels", ROW_LENGTHS)
def test_every_row_length(launches: PtxLaunches, n_labels: int) -> None:
    """A ragged tile; data types, kinds, grids and reductions take turns."""
    number = ROW_LENGTHS.index(n_labels)
    dtype = DTYPES[number % len(DTYPES)]
    labels = (uniform_grid, bent_grid)[number % 2](n_labels)
    n_rows = 35 if n_labels <= 32 else 5
    assert_kernel_matches(
        torch.randn(n_rows, n_labels).to(dtype),
        targets_on(labels, n_rows),
        labels=labels,
        kind=KINDS[number % len(KINDS)],
        sigma=0.4 + 3 * torch.rand(n_rows),
        weight=torch.rand(n_rows),
        reduction=REDUCTIONS[number % 3],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(launches: PtxLaunches, kind: str) -> None:
    """Data types and the other options take turns."""
    number = KINDS.index(kind)
    dtype = DTYPES[number % len(DTYPES)]
    labels = uniform_grid(21)
    assert_kernel_matches(
        2 * torch.randn(7, 21).to(dtype),
        targets_on(labels, 7),
        labels=labels,
        kind=kind,
        divergence=DIVERGENCES[number % 3],
        regression=REGRESSIONS[number % 3],
        reduction=REDUCTIONS[(number + 1) % 3],
        smooth_l1_beta=2.0,
        lambda_=0.3,
        ld_weight=0.7,
    )


@pytest.mark.parametrize(
    ("n_labels", "kind", "dtype"),
    [
        (17, "laplace", torch.float16),
        (101, "laplace", torch.float32),
        (101, "one_hot", torch.float64),
        (401, "gaussian", torch.bfloat16),
    ],
)
def test_policies_of_other_methods(
    launches: PtxLaunches, n_labels: int, kind: str, dtype: torch.dtype
) -> None:
    x, sigma = torch.randn(5, n_labels).to(dtype), 0.6 + 3 * torch.rand(5)
    for labels, divergence in ((uniform_grid(n_labels), "ce"), (bent_grid(n_labels), "likelihood")):
        assert_kernel_matches(
            x, targets_on(labels, 5), labels=labels, kind=kind, sigma=sigma, divergence=divergence,
            variance_weight=0.01,
        )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_given_distribution(launches: PtxLaunches, dtype: torch.dtype) -> None:
    q = torch.rand(3, 101, dtype=torch.float64)
    q[:, 1] = 0
    labels = uniform_grid(101)
    assert_kernel_matches(torch.randn(3, 101).to(dtype), None, labels=labels, target_distribution=q)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_start_anywhere(launches: PtxLaunches, dtype: torch.dtype) -> None:
    x = torch.randn(5 + 6 * 101).to(dtype)[5:].view(6, 101)
    labels = uniform_grid(77)
    assert_kernel_matches(x[1:, :77], targets_on(labels, 5), labels=labels)


@pytest.mark.parametrize(
    ("n_labels", "dtype"), [(16, torch.bfloat16), (101, torch.float32), (1025, torch.float64)]
)
def test_expectation(launches: PtxLaunches, n_labels: int, dtype: torch.dtype) -> None:
    labels = uniform_grid(n_labels)
    x = torch.randn(5, n_labels).to(dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    got = functional.expectation(x, labels, return_std=True, backend="cpp")
    want = functional.expectation(exact, labels, return_std=True, backend="reference")
    tol = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(got, want, rtol=tol, atol=tol)
    (got[0] + 2 * got[1]).sum().backward()
    (want[0] + 2 * want[1]).sum().backward()
    tol = max(tol, torch.finfo(dtype).eps)
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=tol, atol=100 * tol)


def test_reduction_in_several_turns(launches: PtxLaunches, monkeypatch: pytest.MonkeyPatch) -> None:
    """35 programs, 16 of them in a turn."""
    module = importlib.import_module("dldl_fast.triton.label_distribution_loss")
    monkeypatch.setattr(module, "_REDUCE_BLOCK", 16)
    labels = uniform_grid(129)
    x = torch.randn(35, 129, dtype=torch.float64)
    assert_kernel_matches(x, targets_on(labels, 35), labels=labels, weight=torch.rand(35))


def test_launches_of_a_step(launches: PtxLaunches) -> None:
    """One over the rows and the end of the mean; backward changes nothing for an incoming 1."""
    labels = uniform_grid(101)
    loss_and_grad(torch.randn(5, 101), targets_on(labels, 5), labels=labels, backend="cpp")
    assert list(launches.counters) == [
        "label_distribution_loss_kernel",
        "reduce_loss_kernel",
        "scale_rows_kernel",
    ]


def test_arguments_that_a_kernel_would_read_beyond() -> None:
    """Of a direct call of the op; the public functions check theirs before."""
    from dldl_fast.triton import expectation, label_distribution_loss, scale_rows_

    x, y, labels = torch.randn(3, 5), torch.ones(3), uniform_grid(5)
    settings = (1.0, 1.0, 1.0, 0.0, 0, 0, 0, 1.0, 1, 0, False, False, False, True)

    def loss(target: Any = y, sigma: Any = None, weight: Any = None, q: Any = None) -> None:
        label_distribution_loss(x, target, 2.0, sigma, weight, q, labels, *settings)

    with pytest.raises(ValueError, match="target must hold 3 values, got 2"):
        loss(y[:2])
    with pytest.raises(ValueError, match="sigma must hold 3 values, got 4"):
        loss(sigma=torch.ones(4))
    with pytest.raises(TypeError, match="weight must be float32 or float64, got torch.int64"):
        loss(weight=torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="target_distribution must hold 15 values, got 12"):
        loss(q=torch.ones(3, 4))
    with pytest.raises(ValueError, match="target or target_distribution must be given"):
        loss(None)
    with pytest.raises(ValueError, match=r"labels must be a float64 tensor of shape \[5\]"):
        expectation(x, labels[:4], 1.0, False)
    with pytest.raises(ValueError, match="grad_logits must be contiguous"):
        scale_rows_(x.T, torch.ones(()), None, None)


@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_no_spills(architecture: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launches = PtxLaunches(architecture)
    use(launches, monkeypatch)
    launches.interprets = False
    for n_labels, kind, dtype in (
        (16, "gaussian", torch.bfloat16),
        (101, "gaussian", torch.bfloat16),
        (1024, "gaussian", torch.bfloat16),
        (1024, "gaussian", torch.float16),
        (101, KINDS[2], torch.bfloat16),
        (1024, "laplace", torch.bfloat16),
    ):
        labels = uniform_grid(n_labels)
        x = torch.randn(3, n_labels).to(dtype)
        loss_and_grad(x, targets_on(labels, 3), labels=labels, kind=kind, backend="cpp")
        kernel = launches.compiled["label_distribution_loss_kernel"]
        assert kernel.metadata.target.arch == architecture
        assert spilled_bytes(kernel, tmp_path) == 0, (n_labels, kind, dtype)
