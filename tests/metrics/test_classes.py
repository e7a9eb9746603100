from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dldl_fast.metrics import accuracy, one_off_accuracy


def test_by_numpy():
    random = torch.Generator().manual_seed(0)
    prediction, target = torch.randint(8, (2, 101), generator=random)
    distance = np.abs(prediction.numpy() - target.numpy())
    found = accuracy(prediction, target), one_off_accuracy(prediction, target)
    assert [value.dtype for value in found] == [torch.float64] * 2
    assert found[0].item() == pytest.approx((distance == 0).mean(), abs=1e-15)
    assert found[1].item() == pytest.approx((distance <= 1).mean(), abs=1e-15)
    assert 0 < found[0] < found[1] < 1


def test_dtypes_and_shapes():
    prediction, target = torch.tensor([[3.0, 5.0], [0.0, 7.0]]), torch.tensor([[3, 4], [0, 2]])
    assert accuracy(prediction, target) == 0.5
    assert one_off_accuracy(prediction.half(), target.to(torch.uint8)) == 0.75


def test_a_nan_is_not_hidden():
    prediction, target = torch.tensor([1.0, math.nan]), torch.tensor([1.0, 1.0])
    assert accuracy(prediction, target).isnan()
    assert one_off_accuracy(prediction, target).isnan()


@pytest.mark.parametrize("metric", [accuracy, one_off_accuracy])
def test_bad_input(metric):
    with pytest.raises(ValueError, match=r"prediction must hold numbers of groups, got 2\.5; take"):
        metric(torch.tensor([1.0, 2.5]), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="target must hold numbers of groups, got inf"):
        metric(torch.tensor([1]), torch.tensor([math.inf]))
    with pytest.raises(ValueError, match=r"same shape, got \[2\] and \[1\]"):
        metric(torch.zeros(2), torch.zeros(1))
    with pytest.raises(ValueError, match="at least one value"):
        metric(torch.zeros(0), torch.zeros(0))
    with pytest.raises(TypeError, match="prediction must be a real tensor, got list"):
        metric([1], torch.zeros(1))
