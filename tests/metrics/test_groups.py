from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dldl_fast.metrics import group_bias, group_mae


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_borders_by_numpy(dtype):
    target = torch.arange(0, 80, 3).to(dtype)
    prediction = target + (5 * torch.randn(len(target))).to(dtype)
    borders = [0, 18, 30, 60]  # 18, 30 and 60 are targets
    error = (prediction.double() - target.double()).numpy()
    which = np.digitize(target.numpy(), borders)
    for metric, values in ((group_mae, np.abs(error)), (group_bias, error)):
        found = metric(prediction, target, borders=borders)
        assert (found.dtype, found.shape) == (torch.float64, (5,))
        assert found[0].isnan()  # no target below 0
        want = [values[which == group].mean() for group in range(1, 5)]
        assert found[1:].tolist() == pytest.approx(want, abs=1e-14)
        again = metric(prediction, target, borders=torch.tensor(borders))
        torch.testing.assert_close(again, found, rtol=0, atol=0, equal_nan=True)


def test_groups_by_number():
    prediction, target = torch.tensor([[3.0, 5.0], [9.0, 1.0]]), torch.zeros(2, 2)
    groups = torch.tensor([[0, 2], [0, 0]], dtype=torch.int32)
    found = group_mae(prediction, target, groups=groups)
    assert found[[0, 2]].tolist() == pytest.approx([13 / 3, 5])
    assert found[1].isnan()
    assert group_bias(-prediction, target, groups=groups, n_groups=4)[2].item() == -5
    assert group_mae(prediction, target, groups=groups, n_groups=4)[3].isnan()


def test_a_nan_stays_in_its_group():
    prediction = torch.tensor([1.0, math.nan, 4.0])
    found = group_mae(prediction, torch.zeros(3), groups=torch.tensor([0, 1, 0]))
    assert found[0].item() == 2.5
    assert found[1].isnan()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, ValueError, "either borders=.* or groups="),
        ({"borders": [1], "groups": torch.zeros(2).long()}, ValueError, "either borders="),
        ({"borders": [1], "n_groups": 2}, ValueError, "n_groups goes with groups="),
        ({"borders": [2, 2]}, ValueError, r"borders must be finite increasing.*got \[2, 2\]"),
        ({"borders": []}, ValueError, "at least one"),
        ({"borders": [1, math.inf]}, ValueError, "borders must be finite"),
        ({"groups": torch.zeros(2)}, TypeError, "groups must be a tensor of integers, got torch.f"),
        ({"groups": [0, 1]}, TypeError, "groups must be a tensor of integers, got list"),
        ({"groups": torch.zeros(3).long()}, ValueError, r"shape of target, \[2\], got \[3\]"),
        ({"groups": torch.tensor([0, -1])}, ValueError, "n_groups = 1, got -1"),
        ({"groups": torch.tensor([0, 2]), "n_groups": 2}, ValueError, "n_groups = 2, got 2"),
    ],
)
def test_bad_groups(settings, error, message):
    for metric in (group_mae, group_bias):
        with pytest.raises(error, match=message):
            metric(torch.zeros(2), torch.zeros(2), **settings)


def test_no_values():
    none = torch.zeros(0)
    with pytest.raises(ValueError, match="at least one value, got none"):
        group_mae(none, none, groups=none.long())
