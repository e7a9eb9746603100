"""The kernels that nvcc compiled, run by their own host code, against the reference in float64."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from dldl_fast import ops
from dldl_fast.options import LossOptions
from tests import ptx
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
from tests.ptx.launchers import PtxLaunchers
from tests.test_expectation import test_only_one_of_the_two_is_used  # noqa: F401
from tests.test_layouts import test_no_rows  # noqa: F401

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture(scope="module")
def launchers(launchers_library: Path) -> PtxLaunchers:
    return PtxLaunchers(launchers_library)


@pytest.fixture
def backend(launchers: PtxLaunchers, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiled ops are those of csrc/cuda; tests written for the CPU's then test them."""
    monkeypatch.setattr(ops, "load_error", None)
    monkeypatch.setattr(ops, "label_distribution_loss", launchers.label_distribution_loss)
    monkeypatch.setattr(ops, "expectation", launchers.expectation)
    return "cpp"


# Labels a row, by what they exercise.
ROW_LENGTHS = [
    *(2, 3, 16),  # 2 lanes a row, 8 slots a lane
    *(17, 31, 32),  # 4 lanes, 8 slots
    *(33, 64),  # 16 slots
    *(100, 101),  # 26 slots, of which 16 need no check
    *(127, 128),  # 32 slots
    *(129, 256),  # 8 lanes, 26 and 32 slots
    *(401, 512),  # 16 lanes
    *(800, 1000, 1024),  # 32 lanes, 26 and 32 slots
    *(1025, 4097),  # a block a row
]


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("n_labels", ROW_LENGTHS)
def test_every_row_length(n_labels: int, turn: int) -> None:
    """A ragged tile of every width; data types, kinds and reductions take turns.

    Two data types a length, so that two lengths of one line above have all four; tests/simt has
    every data type at every length.
    """
    number = ROW_LENGTHS.index(n_labels) + 2 * turn
    dtype = DTYPES[number % len(DTYPES)]
    kind = KINDS[number % len(KINDS)]
    labels = (uniform_grid, bent_grid)[number % 2](n_labels)
    n_rows = 19 if n_labels <= 128 else 5
    assert_kernel_matches(
        torch.randn(n_rows, n_labels).to(dtype),
        targets_on(labels, n_rows),
        labels=labels,
        kind=kind,
        sigma=0.4 + 3 * torch.rand(n_rows),
        weight=torch.rand(n_rows),
        reduction=REDUCTIONS[number % 3],
    )


# The policies of other methods have kernels of their own, in few widths.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_labels", [31, 101, 512, 1024, 1030])
def test_policies_of_other_methods(n_labels: int, dtype: torch.dtype) -> None:
    number = DTYPES.index(dtype)
    labels = (uniform_grid, bent_grid)[number % 2](n_labels)
    n_rows = 19 if n_labels <= 128 else 3
    assert_kernel_matches(
        torch.randn(n_rows, n_labels).to(dtype),
        targets_on(labels, n_rows),
        labels=labels,
        kind=("laplace", "one_hot", "gaussian")[n_labels % 3],
        divergence=("likelihood", "ce")[number // 2],
        variance_weight=0.01,
        weight=torch.rand(n_rows),
    )


@pytest.mark.parametrize(("kind", "dtype"), [*product(KINDS, DTYPES)])
def test_every_kind(kind: str, dtype: torch.dtype) -> None:
    """Each with every divergence, regression and reduction at least once over the data types."""
    number = KINDS.index(kind) + DTYPES.index(dtype)
    for labels in (uniform_grid(21), bent_grid(21)):
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_labels", [5, 101, 401, 1030])
def test_given_distribution(n_labels: int, dtype: torch.dtype) -> None:
    labels = uniform_grid(n_labels)
    q = torch.rand(3, n_labels, dtype=(torch.float32, torch.float64)[n_labels % 2])
    q[:, 1] = 0
    x = torch.randn(3, n_labels).to(dtype)
    assert_kernel_matches(x, None, labels=labels, target_distribution=q)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [1, 2, 5])
@pytest.mark.parametrize("n_labels", [64, 101])
def test_rows_that_start_anywhere(dtype: torch.dtype, n_labels: int, offset: int) -> None:
    """The first row is on no 16-byte boundary; nor is any row of 101 labels but by chance."""
    x = torch.randn(offset + 21 * n_labels).to(dtype)[offset:].view(21, n_labels)
    labels = uniform_grid(n_labels)
    assert_kernel_matches(x[1:], targets_on(labels, 20), labels=labels)
    n_fewer = n_labels - 24
    assert_kernel_matches(x[:, :n_fewer], targets_on(labels[:n_fewer], 21), labels=labels[:n_fewer])


@pytest.mark.parametrize("n_labels", [16, 101, 1030])
def test_bad_rows(launchers: PtxLaunchers, n_labels: int) -> None:
    logits, target = torch.randn(9, n_labels), torch.full((9,), 3.0)
    target[4], target[7] = 1e6, torch.nan
    labels = uniform_grid(n_labels)
    arguments = (logits, target, 2.0, None, None, labels, 1.0, LossOptions(reduction="none"))
    loss, grad, _, _ = launchers.forward(*arguments, needs_grad=True)
    assert launchers.bad_row == (4, 2)  # the first one; kTargetOutside
    assert grad is not None
    want = [i in (4, 7) for i in range(9)]
    assert loss.isnan().tolist() == want
    assert grad.isnan().all(-1).tolist() == grad.isnan().any(-1).tolist() == want


def test_a_refused_launch(launchers: PtxLaunchers) -> None:
    """The error names the kernel, and torch does not find it again behind a launch of its own."""
    labels = uniform_grid(5)
    arguments = (torch.randn(2, 5), torch.ones(2), 2.0, None, None, labels, 1.0, LossOptions())
    with launchers.runtime.refusing():
        with pytest.raises(RuntimeError, match="^label_distribution_loss_tiles: the stand-in"):
            launchers.forward(*arguments, needs_grad=True)
        assert launchers.runtime.last_error() == 0
        with pytest.raises(RuntimeError, match="^expectation_tiles: the stand-in"):
            launchers.moments(arguments[0], labels, 1.0)


def sectors(counters: dict[str, ptx.Counters]) -> int:
    return sum(c.sectors_loaded + c.sectors_stored for c in counters.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_labels", [101, 401, 1024])
def test_bytes_that_are_moved(launchers: PtxLaunchers, n_labels: int, dtype: torch.dtype) -> None:
    """At most 1.05 times the fewest 32-byte sectors that reading and writing all rows takes."""
    n_rows = 256 if n_labels < 200 else 64
    labels = uniform_grid(n_labels)
    x, y = torch.randn(n_rows, n_labels).to(dtype), targets_on(labels, n_rows).float()
    launchers.forward(x, y, 2.0, None, None, labels, 1.0, LossOptions(), needs_grad=True)
    assert [name for name in launchers.counters if "reduce_loss" not in name] != []
    assert len(launchers.counters) == 2  # one kernel over the rows, and the end of the mean
    least = (2 * n_rows * n_labels * x.itemsize + 4 * n_rows) / 32
    assert sectors(launchers.counters) <= 1.05 * least
