"""Label grids."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch

from dldl_fast import DLDLv2Loss, functional
from dldl_fast.labels import MAX_LABELS, as_label_grid, label_grid, on_device, uniform_step
from tests.cases import bent_grid, uniform_grid


def test_grids_of_the_paper_and_of_the_released_code() -> None:
    assert label_grid(0, 100).tolist() == list(range(101))
    assert label_grid(1, 230).tolist() == list(range(1, 231))
    assert len(label_grid(1, 5, 0.1)) == 41
    assert len(label_grid(1, 7, 0.1)) == 61
    assert label_grid(-45, 45).tolist() == list(range(-45, 46))


def test_both_ends_are_exact_and_no_error_adds_up() -> None:
    grid = label_grid(1, 5, 0.1)
    assert grid.dtype == torch.float64
    assert (grid[0], grid[-1]) == (1, 5)
    want = torch.tensor([1 + k / 10 for k in range(41)], dtype=torch.float64)
    torch.testing.assert_close(grid, want, rtol=0, atol=1e-15)
    far = label_grid(1_000_000, 1_000_100, 0.5)
    assert far.tolist() == [1_000_000 + k / 2 for k in range(201)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 100, 0), "label_step must be > 0, got 0"),
        ((0, 100, -1), "label_step must be > 0, got -1"),
        ((100, 0), "label_max must be greater than label_min, got 0 <= 100"),
        ((5, 5), "label_max must be greater than label_min"),
        ((0, 1, 0.3), "must be a multiple of label_step, got 1 and 0.3"),
        ((0, 1, 2), "must be a multiple of label_step"),
        ((0, math.inf), "label_max must be finite"),
        ((math.nan, 1), "label_min must be finite"),
        ((0, 1, math.nan), "label_step must be finite"),
        ((0, 1, 1e-9), "at most 100,000 labels are supported"),
        ((0, 100_000), "labels must hold 2 to 100,000 values, got 100001"),
    ],
)
def test_numbers_that_describe_no_grid(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_grid(*arguments)
    with pytest.raises(ValueError, match=message):
        DLDLv2Loss(*arguments)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 1, 2], r"strictly increasing, got labels\[1\] = 1 and labels\[2\] = 1"),
        ([0, 3, 2], r"strictly increasing, got labels\[1\] = 3 and labels\[2\] = 2"),
        ([0, math.nan, 2], "labels must be finite"),
        ([0, 1, math.inf], "labels must be finite"),
        ([1], "labels must hold 2 to 100,000 values, got 1"),
        ([], "labels must hold 2 to 100,000 values, got 0"),
        ([[0, 1], [2, 3]], r"labels must have shape \[K\], got \[2, 2\]"),
        (torch.arange(3.0, requires_grad=True), "labels must not require grad"),
    ],
)
def test_lists_that_are_no_grid(labels: object, message: str) -> None:
    for use in (
        as_label_grid,
        lambda labels: DLDLv2Loss(labels=labels),
        lambda labels: functional.expectation(torch.zeros(1, 3), labels),
    ):
        with pytest.raises(ValueError, match=message):
            use(labels)


def test_longest_grid() -> None:
    grid = label_grid(0, MAX_LABELS - 1)
    assert (len(grid), grid[-1]) == (MAX_LABELS, MAX_LABELS - 1)


def test_any_source_of_numbers() -> None:
    want = [0, 1, 2, 5]
    for labels in (
        want,
        (0, 1, 2, 5),
        np.array(want),
        torch.tensor(want),
        torch.tensor(want).half(),
    ):
        grid = as_label_grid(labels)
        assert (grid.tolist(), grid.dtype) == (want, torch.float64)


def test_default_device_does_not_move_the_grid() -> None:
    with torch.device("meta"):
        made = [DLDLv2Loss(0, 4), DLDLv2Loss(labels=[0, 1, 2, 3, 4])]
    x, y = torch.randn(2, 5), torch.tensor([1.0, 3.0])
    want = DLDLv2Loss(0, 4)(x, y)
    for criterion in made:
        assert torch.equal(criterion(x, y), want)


@pytest.mark.parametrize("change", ["half", "bfloat16", "float", "double"])
def test_grid_keeps_its_digits_when_the_module_changes_its_dtype(backend: str, change: str) -> None:
    criterion = DLDLv2Loss(1_000_000, 1_000_100, 0.5, sigma=1.0, backend=backend)
    x = torch.randn(4, 201)
    y = torch.tensor([1_000_000.25, 1_000_050.0, 1_000_017.5, 1_000_100.0], dtype=torch.float64)
    want = criterion(x, y)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), criterion)
    getattr(model, change)()
    model.to(torch.bfloat16)
    assert criterion.labels.dtype == torch.float64
    assert torch.equal(criterion.labels, label_grid(1_000_000, 1_000_100, 0.5))
    assert torch.equal(criterion(x, y), want)


def test_copies_of_the_module_compute_the_same(backend: str) -> None:
    criterion = DLDLv2Loss(
        labels=[0, 1, 2, 4, 8, 16], sigma=1.5, lambda_=0.3, ld_weight=2, variance_weight=0.1,
        kind="gaussian_bin", divergence="ce", regression="smooth_l1", smooth_l1_beta=0.4,
        reduction="sum", out_of_range="clamp", ignore_nan=True, validate=False, backend=backend,
    )  # fmt: skip
    x, y = torch.randn(3, 6), torch.tensor([2.5, math.nan, 99.0])
    want = criterion(x, y)
    for copied in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert repr(copied) == repr(criterion)
        assert copied.options == criterion.options
        assert torch.equal(copied(x, y), want)


def test_module_has_no_state_to_save() -> None:
    assert not DLDLv2Loss().state_dict()
    assert not list(DLDLv2Loss().parameters())


def test_representation_names_what_was_changed() -> None:
    assert repr(DLDLv2Loss()) == "DLDLv2Loss(labels=[0 .. 100], K=101, sigma=2)"
    text = repr(DLDLv2Loss(1, 5, 0.1, sigma=0.3, lambda_=0.5, kind="two_hot"))
    assert text == "DLDLv2Loss(labels=[1 .. 5], K=41, sigma=0.3, lambda_=0.5, kind='two_hot')"


def test_grid_that_was_changed_in_place_is_checked_again() -> None:
    labels = torch.arange(5, dtype=torch.float64)
    functional.expectation(torch.zeros(1, 5), labels)
    labels[2] = 9
    with pytest.raises(ValueError, match=r"labels\[2\] = 9 and labels\[3\] = 3"):
        functional.expectation(torch.zeros(1, 5), labels)


def test_uniform_step() -> None:
    assert uniform_step(label_grid(-45, 45, 0.5)) == 0.5
    assert uniform_step(bent_grid(9)) == 0
    nearly = uniform_grid(9) + 1_000_000
    nearly[4] += 1e-7  # as far off as rounding can put it: still uniform
    assert uniform_step(nearly) == 1
    grid = as_label_grid(uniform_grid(5))
    grid[-1] = 9  # changed in place: measured again
    assert uniform_step(grid) == 0


def test_grid_remembers_its_copy_on_another_device() -> None:
    grid, there = uniform_grid(5), torch.device("meta")
    copied = on_device(grid, there)
    assert copied.device == there
    assert on_device(grid, there) is copied
    assert on_device(grid, grid.device) is grid
    grid[-1] = 9  # changed in place: copied again
    assert on_device(grid, there) is not copied
    grid = uniform_grid(5)
    with torch.inference_mode():
        assert not on_device(grid, there).is_inference()  # training may use it later
        assert on_device(uniform_grid(5), there).device == there
