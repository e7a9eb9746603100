"""Losses and gradients of all methods beside literal loops, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss
from dldl_fast.methods import METHODS, Method, make_method, method_names
from tests.cases import bent_grid, targets_on, uniform_grid
from tests.methods import oracles

GRIDS = {
    "uniform": uniform_grid(7),
    "bent": bent_grid(9) - 3,
    "tenths": torch.tensor([1 + k / 10 for k in range(11)], dtype=torch.float64),
    "two labels": torch.tensor([-1.0, 2.0], dtype=torch.float64),
}
SIGMA = torch.tensor([0.7, 1.1, 2.0, 0.5, 0.9], dtype=torch.float64)
ONES = torch.ones(5, dtype=torch.float64)


def outputs_of(method: Method, rows: int = 5) -> Tensor:
    return torch.randn(rows, method.out_features, dtype=torch.float64, requires_grad=True)


def check(method: Method, oracle: str, **arguments: Any) -> None:
    labels = method.labels
    outputs, target = outputs_of(method), targets_on(labels, 5)
    for parameter in method.parameters():
        parameter.data = parameter.data.double()
    inputs = [outputs, *method.parameters()]
    got = method.loss(outputs, target, **arguments)
    want = oracles.loss(
        oracle,
        outputs,
        target,
        arguments.get("sigma", 2 * ONES) * ONES,
        arguments.get("weight", ONES),
        labels.tolist(),
        *method.parameters(),
    )
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(got, inputs), torch.autograd.grad(want, inputs), rtol=1e-8, atol=1e-11
    )


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("name", method_names())
def test_loss_and_gradient_are_those_of_the_formula(name: str, grid: Tensor) -> None:
    check(make_method(name, grid), name)
    check(make_method(name, grid), name, sigma=0.8)
    check(make_method(name, grid), name, sigma=SIGMA)


@pytest.mark.parametrize("name", method_names())
def test_weights_weight_the_mean(name: str) -> None:
    weight = torch.tensor([1.0, 3.0, 0.0, 0.5, 2.0], dtype=torch.float64)
    check(make_method(name, GRIDS["bent"]), name, weight=weight)


@pytest.mark.parametrize("name", method_names())
def test_a_weight_of_two_is_two_rows(name: str) -> None:
    method = make_method(name, GRIDS["bent"])
    outputs, target = outputs_of(method, 3), targets_on(method.labels, 3)
    twice = method.loss(outputs[[0, 1, 1, 2]], target[[0, 1, 1, 2]])
    torch.testing.assert_close(
        method.loss(outputs, target, weight=torch.tensor([1, 2, 1])), twice, rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("name", method_names())
def test_a_row_of_weight_0_is_left_out_whatever_it_holds(name: str) -> None:
    method = make_method(name, uniform_grid(7))
    outputs, target = outputs_of(method, 3), targets_on(method.labels, 3)
    with_nan = torch.cat([outputs, torch.full((1, method.out_features), torch.nan)])
    weight = torch.tensor([1.0, 2.0, 1.0, 0.0])
    loss = method.loss(with_nan, torch.cat([target, target[:1]]), weight=weight)
    want = method.loss(outputs, target, weight=weight[:3])
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=0)
    (grad,) = torch.autograd.grad(loss, outputs)
    assert bool(torch.isfinite(grad).all())


@pytest.mark.parametrize("name", method_names())
def test_no_rows_and_no_weight_give_0(name: str) -> None:
    method = make_method(name, uniform_grid(7))
    assert method.loss(outputs_of(method, 0), torch.empty(0)).item() == 0
    nothing = method.loss(outputs_of(method, 2), torch.ones(2), weight=torch.zeros(2))
    assert nothing.item() == 0


@pytest.mark.parametrize("name", method_names())
def test_leading_dimensions_are_rows(name: str) -> None:
    method = make_method(name, uniform_grid(7))
    outputs, target = outputs_of(method, 6), targets_on(method.labels, 6)
    stacked = outputs.reshape(2, 3, -1), target.reshape(2, 3)
    torch.testing.assert_close(method.loss(*stacked), method.loss(outputs, target))
    assert method.decode(stacked[0]).tolist() == method.decode(outputs).reshape(2, 3).tolist()
    assert method.loss(outputs[0], target[0]).dim() == 0
    assert method.decode(outputs[0]).shape == ()


@pytest.mark.parametrize("name", method_names())
def test_a_method_is_a_module_that_is_its_loss(name: str) -> None:
    method = METHODS[name](labels=uniform_grid(7))
    outputs, target = outputs_of(method), targets_on(method.labels, 5)
    assert isinstance(method, torch.nn.Module) and method.name == name
    assert torch.equal(method(outputs, target), method.loss(outputs, target))
    assert (len(list(method.parameters())) > 0) == (name == "coral")


@pytest.mark.parametrize("name", ["ranking", "or-cnn", "coral", "corn"])
def test_targets_do_not_exceed_their_label_by_the_last_digit(name: str) -> None:
    method = make_method(name, 100 + GRIDS["tenths"])
    outputs, target = outputs_of(method, 10), method.labels[:-1]
    exact = method.loss(outputs, target)
    # In float64, float32's 101.7 is greater than the label 101.7.
    assert torch.equal(method.loss(outputs, target.float()), exact)
    assert torch.equal(method.loss(outputs, target.nextafter(target + 1)), exact)
    assert not torch.equal(method.loss(outputs, target + 1e-3), exact)


@pytest.mark.parametrize("name", method_names())
def test_sigma_is_checked_where_there_is_one_and_ignored_elsewhere(name: str) -> None:
    method = make_method(name, uniform_grid(7))
    outputs, target = outputs_of(method), targets_on(method.labels, 5)
    if "sigma" in method.settings:
        with pytest.raises(ValueError, match="sigma must be finite and >= 0"):
            method.loss(outputs, target, sigma=-1.0)
    else:
        assert torch.equal(method.loss(outputs, target, sigma=-1.0), method.loss(outputs, target))


@pytest.mark.parametrize(
    ("name", "settings", "rest"),
    [
        ("dldl-v2", {"lambda_": 0.3, "sigma": 1.5, "kind": "gaussian_bin"}, {}),
        ("dldl-v2-official", {"lambda_": 0.3, "regression": "l2"}, {"ld_weight": 1 / 7}),
        ("dldl", {"sigma": 0.8, "divergence": "ce"}, {"lambda_": 0.0}),
        ("er-smooth", {"smooth_l1_beta": 0.25}, {"regression": "smooth_l1", "ld_weight": 0.0}),
        (
            "mean-variance",
            {"variance_weight": 0.5},
            {"kind": "one_hot", "divergence": "ce", "regression": "l2", "lambda_": 0.1},
        ),
        ("hl-gauss", {"sigma": 0.5}, {"kind": "gaussian_bin", "divergence": "ce", "lambda_": 0.0}),
    ],
)
def test_settings_reach_the_fused_loss(
    name: str, settings: dict[str, Any], rest: dict[str, Any]
) -> None:
    method = make_method(name, uniform_grid(7), **settings)
    outputs, target = outputs_of(method), targets_on(method.labels, 5)
    want = DLDLv2Loss(labels=uniform_grid(7), **settings, **rest)(outputs, target)
    assert torch.equal(method.loss(outputs, target), want)


def test_sord_with_squared_distances_has_a_gaussian_target() -> None:
    method = make_method("sord", GRIDS["bent"], alpha=0.4, distance="squared")
    outputs, target = outputs_of(method), targets_on(method.labels, 5)
    p = torch.softmax(-0.4 * (target[:, None] - method.labels) ** 2, -1)
    want = torch.nn.functional.cross_entropy(outputs, p)
    torch.testing.assert_close(method.loss(outputs, target), want, rtol=1e-9, atol=0)
    steep = make_method("sord", GRIDS["bent"], alpha=2.5)
    p = torch.softmax(-2.5 * (target[:, None] - method.labels).abs(), -1)
    want = torch.nn.functional.cross_entropy(outputs, p)
    torch.testing.assert_close(steep.loss(outputs, target), want, rtol=1e-9, atol=0)


def test_the_weight_of_the_mean_is_half_a_lambda() -> None:
    method = make_method("mean-variance", GRIDS["bent"], mean_weight=0.8, variance_weight=0.0)
    outputs, target = outputs_of(method), targets_on(method.labels, 5)
    error = method.decode(outputs) - target
    want = make_method("dex", GRIDS["bent"]).loss(outputs, target) + 0.4 * error.square().mean()
    torch.testing.assert_close(method.loss(outputs, target), want, rtol=1e-9, atol=0)


def test_temperature_narrows_the_distribution() -> None:
    output = torch.tensor([[0.4]], dtype=torch.float64)
    wide = make_method("unimodal", uniform_grid(7)).distribution(output)
    narrow = make_method("unimodal", uniform_grid(7), temperature=0.5).distribution(output)
    torch.testing.assert_close(narrow, wide**2 / (wide**2).sum())


def test_dldl_v2_on_the_published_numbers() -> None:
    # Logits 2 sin(.37 i + .11 k) + cos(.05 i k), targets (37 i) mod K
    i, k = torch.arange(8.0, dtype=torch.float64), torch.arange(101.0, dtype=torch.float64)
    logits = 2 * torch.sin(0.37 * i[:, None] + 0.11 * k) + torch.cos(0.05 * i[:, None] * k)
    loss = make_method("dldl-v2", k).loss(logits, (37 * i) % 101)
    assert loss.item() == pytest.approx(27.5964475282, abs=1e-9)
