from __future__ import annotations

import math

import pytest
import torch

from dldl_fast.metrics import e_error, mae


def test_mae_by_hand():
    # |20 - 22|, |31 - 30|, |5.5 - 5|
    value = mae(torch.tensor([20.0, 31.0, 5.5]), torch.tensor([22.0, 30.0, 5.0]))
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(3.5 / 3, abs=1e-12)


def test_e_error_by_hand():
    # errors of 1, 2 and 0 standard deviations
    value = e_error(
        torch.tensor([12.0, 26.0, 7.0]),
        torch.tensor([10.0, 20.0, 7.0]),
        torch.tensor([2.0, 3.0, 1.0]),
    )
    expected = (1 - math.exp(-0.5) + 1 - math.exp(-2.0) + 0) / 3
    assert value.item() == pytest.approx(expected, abs=1e-12)


def test_e_error_of_one_sigma_for_all():
    prediction, target = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0])
    each = e_error(prediction, target, torch.tensor([2.0, 2.0]))
    assert e_error(prediction, target, 2.0).item() == each.item()


def test_small_errors_keep_their_digits():
    value = e_error(torch.tensor([1e-9]), torch.tensor([0.0]), 1.0)
    assert value.item() == pytest.approx(5e-19, rel=1e-6)


def test_sigma_zero_is_the_limit():
    prediction, target = torch.tensor([5.0, 5.0]), torch.tensor([5.0, 5.001])
    assert e_error(prediction, target, 0.0).item() == 0.5


def test_half_precision_is_summed_in_float64():
    prediction = torch.full((4096,), 100.0, dtype=torch.float16)
    target = torch.full((4096,), 0.5, dtype=torch.float16)
    assert mae(prediction, target).item() == 99.5


@pytest.mark.parametrize(
    ("prediction", "target", "sigma", "message"),
    [
        (torch.zeros(3), torch.zeros(3, 1), 1.0, r"same shape, got \[3\] and \[3, 1\]"),
        (torch.zeros(0), torch.zeros(0), 1.0, "at least one value"),
        (torch.zeros(2), torch.zeros(2), -1.0, "sigma must be >= 0"),
        (torch.zeros(2), torch.zeros(2), torch.tensor([1.0, math.nan]), "sigma must be >= 0"),
        (torch.zeros(2), torch.zeros(2), torch.ones(3), r"shape \[2\], got \[3\]"),
    ],
)
def test_bad_input(prediction, target, sigma, message):
    with pytest.raises(ValueError, match=message):
        e_error(prediction, target, sigma)
