"""Predicted values and distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dldl_fast.methods import Method, make_method, method_names
from tests.cases import bent_grid, uniform_grid
from tests.methods.test_values import outputs_of

GRID = bent_grid(9) - 3
CONSISTENT = {"ranking", "or-cnn"}
THRESHOLDS = ("ranking", "or-cnn", "coral", "corn")
VALUE_ONLY = {"mr-l1", "mr-l2"}


def consistent_method(name: str, labels: Tensor = GRID) -> Method:
    return make_method(name, labels, **({"consistent": True} if name in CONSISTENT else {}))


@pytest.mark.parametrize("name", sorted(set(method_names()) - VALUE_ONLY))
def test_a_distribution_sums_to_1_and_gives_the_decoded_value(name: str) -> None:
    method = consistent_method(name)
    outputs = 3 * outputs_of(method, 40)
    p, value = method.distribution(outputs), method.decode(outputs)
    assert method.has_distribution and p.shape == (40, 9) and p.dtype == torch.float64
    assert bool((p >= 0).all())
    torch.testing.assert_close(p.sum(-1), torch.ones(40, dtype=torch.float64))
    assert value.dtype == torch.float64
    if name in THRESHOLDS:  # the median: the first label that no more than half exceeds
        exceeds = 1 - p.cumsum(-1)
        for row, y_hat in zip(exceeds.tolist(), value.tolist(), strict=True):
            assert y_hat == next(
                label for label, q in zip(GRID.tolist(), row, strict=True) if q <= 0.5
            )
    else:
        torch.testing.assert_close(value, (p * GRID).sum(-1))


@pytest.mark.parametrize("name", ["ranking", "or-cnn"])
def test_ranking_counts_and_consistently_stops_at_the_first_no(name: str) -> None:
    outputs = outputs_of(make_method(name, GRID), 40)
    counted, stopped = make_method(name, GRID).decode(outputs), consistent_method(name)
    for row, count, first_no in zip(
        outputs.tolist(), counted.tolist(), stopped.decode(outputs).tolist(), strict=True
    ):
        yes = [1 / (1 + math.exp(-x)) > 0.5 for x in row]
        assert count == GRID[sum(yes)]
        assert first_no == GRID[[*yes, False].index(False)]
    # Probabilities that decrease are left as they are.
    falling = torch.tensor([[3.0, 1.0, -1.0]])
    method = consistent_method(name, uniform_grid(4))
    sigmoid = torch.sigmoid(falling[0]).tolist()
    want = [1 - sigmoid[0], sigmoid[0] - sigmoid[1], sigmoid[1] - sigmoid[2], sigmoid[2]]
    torch.testing.assert_close(method.distribution(falling), torch.tensor([want]))


def test_no_threshold_above_one_half_is_the_first_label_and_all_are_the_last() -> None:
    for name in ("ranking", "or-cnn", "corn"):
        method = make_method(name, GRID)
        zeros = torch.zeros(1, method.out_features)  # a probability of 1/2 does not count
        assert method.decode(zeros).item() == GRID[0]
        assert method.decode(zeros + 100).item() == GRID[-1]


def test_corn_multiplies_its_probabilities() -> None:
    method = make_method("corn", uniform_grid(4))
    outputs = torch.tensor([[2.0, 1.5, 0.5]], dtype=torch.float64)
    s = torch.sigmoid(outputs[0]).tolist()
    exceeds = [1.0, s[0], s[0] * s[1], s[0] * s[1] * s[2], 0.0]
    want = [a - b for a, b in zip(exceeds, exceeds[1:], strict=False)]
    torch.testing.assert_close(method.distribution(outputs)[0], torch.tensor(want).double())
    assert method.decode(outputs).item() == sum(e > 0.5 for e in exceeds[1:4])


def test_coral_shares_one_output_among_all_thresholds() -> None:
    method = make_method("coral", uniform_grid(4))
    assert method.out_features == 1 and [tuple(p.shape) for p in method.parameters()] == [(3,)]
    (bias,) = method.parameters()
    bias.data = torch.tensor([1.0, 0.0, -1.0])
    outputs = torch.tensor([[-1.5], [-0.5], [0.5], [1.5]])
    assert method.decode(outputs).tolist() == [0, 1, 2, 3]
    bias.data = torch.tensor([0.0, 1.0, -1.0])  # before the biases are in order
    p = method.distribution(outputs)
    assert bool((p >= 0).all())
    torch.testing.assert_close(p.sum(-1), torch.ones(4))


def test_metric_regression_maps_tanh_between_the_ends() -> None:
    method = make_method("mr-l2", [1, 2, 5])
    outputs = torch.tensor([[-100.0], [0.0], [0.5], [100.0]], dtype=torch.float64)
    want = [1, 3, 3 + 2 * math.tanh(0.5), 5]
    torch.testing.assert_close(method.decode(outputs), torch.tensor(want, dtype=torch.float64))


def test_a_binomial_distribution_has_one_peak_and_the_mean_of_its_probability() -> None:
    method = make_method("unimodal", uniform_grid(101))
    outputs = torch.linspace(-6, 6, 50, dtype=torch.float64).unsqueeze(-1)
    p = method.distribution(outputs)
    rises = (p[:, 1:] > p[:, :-1]).int()
    assert bool((rises.diff(dim=-1) <= 0).all())
    torch.testing.assert_close(method.decode(outputs), 100 * torch.sigmoid(outputs.squeeze(-1)))


@pytest.mark.parametrize("name", sorted({*VALUE_ONLY, *CONSISTENT}))
def test_what_has_no_distribution_says_so(name: str) -> None:
    method = make_method(name, GRID)
    assert not method.has_distribution
    with pytest.raises(ValueError, match=f"method '{name}' predicts no distribution"):
        method.distribution(torch.zeros(1, method.out_features))


@pytest.mark.parametrize("name", method_names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_outputs_give_finite_losses_gradients_and_values(
    name: str, dtype: torch.dtype
) -> None:
    method = consistent_method(name, uniform_grid(101))
    signs = torch.ones(4, method.out_features)
    signs[1], signs[2, ::2], signs[3, 1::2] = -1, -1, -1
    for size in (1e4, 100.0, 0.0):
        outputs = (size * signs).to(dtype).requires_grad_()
        loss = method.loss(outputs, torch.tensor([0.0, 100.0, 50.5, 3.0]))
        loss.backward()
        assert loss.dtype == torch.float32 and bool(torch.isfinite(loss))
        assert outputs.grad is not None and bool(torch.isfinite(outputs.grad).all())
        value = method.decode(outputs.detach())
        assert bool(((value >= 0) & (value <= 100)).all())
        if method.has_distribution:
            p = method.distribution(outputs.detach())
            assert p.dtype == torch.float32 and bool((p >= 0).all())
            torch.testing.assert_close(p.sum(-1), torch.ones(4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", method_names())
def test_outputs_of_nan_decode_to_nan(name: str) -> None:
    method = make_method(name, GRID)
    outputs = torch.zeros(2, method.out_features)
    outputs[1, 0] = math.nan
    assert torch.isnan(method.decode(outputs)).tolist() == [False, True]
