from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from dldl_fast.metrics import pearson
from dldl_fast.metrics.correlation import comoments, merge_comoments


def related(count):
    target = torch.randn(count, dtype=torch.float64)
    return 0.7 * target + 0.4 * torch.randn(count, dtype=torch.float64), target


@pytest.mark.parametrize("count", [2, 3, 100])
def test_value_by_scipy(count):
    prediction, target = related(count)
    value = pearson(prediction, target)
    assert value.dtype == torch.float64
    want = stats.pearsonr(prediction.numpy(), target.numpy()).statistic
    assert value.item() == pytest.approx(want, abs=1e-14)


def test_an_offset_costs_no_digits():
    """Where sums of squares would have none left: 1e9 squared is 1e18, the variance is 1."""
    prediction, target = related(1000)
    far = (prediction + 1e9).round(decimals=3), (target - 1e9).round(decimals=3)
    near = far[0] - 1e9, far[1] + 1e9  # exact
    assert pearson(*far).item() == pytest.approx(pearson(*near).item(), abs=1e-13)


def test_scale_does_not_matter():
    prediction, target = related(50)
    for scale in (1e-120, 1e120):
        value = pearson(prediction * scale, target * scale).item()
        assert value == pytest.approx(pearson(prediction, target).item(), abs=1e-14)


def test_a_line_gives_no_more_than_one():
    for _ in range(20):
        x = torch.rand(7)
        assert 1 - 1e-6 < pearson(3 * x + 1, x) <= 1
        assert -1 <= pearson(-x, x) < -1 + 1e-6


@pytest.mark.parametrize("value", [0.1, 1e9 / 3, 0.0])
def test_constant_input_is_nan_with_a_warning(value):
    varied, constant = torch.rand(1001), torch.full((1001,), value, dtype=torch.float64)
    with pytest.warns(UserWarning, match="pearson: prediction is constant"):
        assert pearson(constant, varied).isnan()
    with pytest.warns(UserWarning, match="pearson: target is constant"):
        assert pearson(varied, constant).isnan()
    with pytest.warns(UserWarning, match="is constant"):
        assert pearson(varied[:1], varied[:1]).isnan()


def test_a_nan_is_not_hidden():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pearson(torch.tensor([1.0, 2.0, math.nan]), torch.tensor([1.0, 2.0, 3.0])).isnan()


def test_parts_are_merged_by_their_size():
    prediction, target = related(60)
    prediction = prediction + 1e6 * (torch.arange(60) > 20)  # their means are far apart
    sizes = [1, 0, 20, 2, 0, 37]
    parts = torch.stack(
        [comoments(p, t) for p, t in zip(prediction.split(sizes), target.split(sizes), strict=True)]
    )
    merged = merge_comoments(parts)
    x, y = prediction.numpy(), target.numpy()
    spread = [np.var(x), np.var(y), np.cov(x, y, bias=True)[0, 1]]
    want = torch.tensor([60, x.mean(), y.mean(), *(60 * value for value in spread)])
    torch.testing.assert_close(merged, want.double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(merged, comoments(prediction, target), rtol=1e-12, atol=1e-12)
    by_two = merge_comoments(torch.stack([merge_comoments(parts[:2]), merge_comoments(parts[2:])]))
    torch.testing.assert_close(by_two, merged, rtol=1e-12, atol=1e-12)


def test_merged_parts_of_a_constant_are_constant():
    third = torch.full((7,), 1 / 3, dtype=torch.float64)
    parts = torch.stack([comoments(third[:n], third[:n]) for n in (3, 0, 7, 1)])
    assert merge_comoments(parts).tolist() == [11, third[0], third[0], 0, 0, 0]
    assert merge_comoments(parts[1:2]).tolist() == [0] * 6


def test_bad_input():
    with pytest.raises(ValueError, match="at least one value, got none"):
        pearson(torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match=r"same shape, got \[3\] and \[2\]"):
        pearson(torch.zeros(3), torch.zeros(2))
