from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dldl_fast.metrics import bias, cumulative_score, e_error, mae, rmse


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


def test_rmse_and_bias_by_numpy():
    prediction, target = torch.randn(2, 57).mul(9)
    difference = prediction.double().numpy() - target.double().numpy()
    assert rmse(prediction, target).item() == pytest.approx(np.sqrt(np.mean(difference**2)))
    assert bias(prediction, target).item() == pytest.approx(np.mean(difference), abs=1e-15)
    assert bias(target + 3, target).item() == pytest.approx(3, abs=1e-6)


def test_cumulative_score_counts_the_threshold_itself():
    prediction, target = torch.tensor([10, 15, 16, 30]), torch.tensor([10, 10, 10, 10])
    assert cumulative_score(prediction, target, 5).item() == 0.5
    assert cumulative_score(prediction, target, [0, 4.9, 5, 6, 19, 20]).tolist() == [
        0.25, 0.25, 0.5, 0.75, 0.75, 1,
    ]  # fmt: skip


def test_shapes_are_flattened():
    prediction, target = torch.randn(2, 3, 4, dtype=torch.float64)
    flat = prediction.reshape(-1), target.reshape(-1)
    for metric in (mae, bias, rmse):
        assert metric(prediction, target) == metric(*flat)
    each = torch.rand(3, 4)
    assert e_error(prediction, target, each) == e_error(*flat, each.reshape(-1))


def test_a_nan_is_not_hidden():
    prediction, target = torch.tensor([1.0, math.nan]), torch.tensor([1.0, 1.0])
    for value in (
        mae(prediction, target),
        bias(prediction, target),
        rmse(prediction, target),
        cumulative_score(prediction, target, 5),
        e_error(prediction, target, 1.0),
    ):
        assert value.isnan()


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


@pytest.mark.parametrize("threshold", [-1, math.nan, [1.0, -1.0], [[1.0]]])
def test_bad_threshold(threshold):
    with pytest.raises(ValueError, match="threshold must be a number >= 0 or a sequence"):
        cumulative_score(torch.zeros(2), torch.zeros(2), threshold)


def test_other_types():
    with pytest.raises(TypeError, match="prediction must be a real tensor, got list"):
        mae([1.0], torch.zeros(1))
    with pytest.raises(TypeError, match="target must be a real tensor, got dtype torch.complex64"):
        mae(torch.zeros(1), torch.zeros(1, dtype=torch.complex64))
