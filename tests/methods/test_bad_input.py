"""What ends in an error, and what it says."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast.methods import make_method, method_names
from tests.cases import uniform_grid

GRID = uniform_grid(5)
OUTSIDE = "target must lie on the label grid [0, 4]"
BAD_ROWS = {
    "target above": ({"target": [1.0, 4.5, 2.0]}, OUTSIDE, "got 4.5 at row 1"),
    "target below": ({"target": [1.0, 2.0, -1.0]}, OUTSIDE, "got -1 at row 2"),
    "target NaN": ({"target": [math.nan, 2.0, 1.0]}, "target must be finite", "got nan at row 0"),
    "weight": ({"weight": [1.0, -1.0, 1.0]}, "weight must be finite and >= 0", "got -1 at row 1"),
    "weight NaN": ({"weight": [1.0, 1.0, math.nan]}, "weight must be", "got nan at row 2"),
}


def call(name: str, settings: dict[str, Any] | None = None, **changes: list[float]) -> Tensor:
    method = make_method(name, GRID, **(settings or {}))
    rows = {"target": [1.0, 2.0, 3.0], **changes}
    outputs = torch.zeros(3, method.out_features, requires_grad=True)
    return method.loss(outputs, **{key: torch.tensor(value) for key, value in rows.items()})


@pytest.mark.parametrize("name", method_names())
@pytest.mark.parametrize(("changes", "text", "got"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_raises(name: str, changes: dict[str, list[float]], text: str, got: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as error:
        call(name, **changes)
    assert str(error.value).endswith(got)


@pytest.mark.parametrize("name", method_names())
def test_unchecked_bad_rows_give_nan(name: str) -> None:
    for changes, _, _ in BAD_ROWS.values():
        assert bool(torch.isnan(call(name, {"validate": False}, **changes)))
    assert bool(torch.isfinite(call(name, {"validate": False})))


@pytest.mark.parametrize("name", method_names())
def test_rows_with_a_nan_target_can_be_left_out(name: str) -> None:
    left_out = call(name, {"ignore_nan": True}, target=[1.0, math.nan, 3.0])
    assert left_out.item() == pytest.approx(call(name, weight=[1.0, 0.0, 1.0]).item())


@pytest.mark.parametrize("name", method_names())
def test_targets_outside_the_grid_can_be_clamped(name: str) -> None:
    clamped = call(name, {"out_of_range": "clamp"}, target=[-3.0, 2.0, 9.0])
    assert clamped.item() == pytest.approx(call(name, target=[0.0, 2.0, 4.0]).item())
    assert bool(torch.isfinite(call(name, {"out_of_range": "keep"}, target=[-3.0, 2.0, 9.0])))


@pytest.mark.parametrize("name", method_names())
def test_wrong_shapes_and_types(name: str) -> None:
    method = make_method(name, GRID)
    size = method.out_features
    target, good = torch.ones(3), torch.zeros(3, size)
    shape = f"outputs must have shape [..., {size}] for method '{name}' and 5 labels, got [3, 9]"
    for call_ in (method.loss, lambda outputs, _: method.decode(outputs)):
        with pytest.raises(ValueError, match=re.escape(shape)):
            call_(torch.zeros(3, 9), target)
        with pytest.raises(TypeError, match="outputs must be a tensor, got list"):
            call_([0.0], target)
        with pytest.raises(TypeError, match="outputs must be float32, .* got torch.int64"):
            call_(good.long(), target)
    with pytest.raises(ValueError, match=re.escape("target must have shape [3]")):
        method.loss(good, target.unsqueeze(-1))
    with pytest.raises(ValueError, match=re.escape("weight must have shape [3]")):
        method.loss(good, target, weight=torch.ones(2))
    with pytest.raises(ValueError, match="target must not require grad"):
        method.loss(good, target.requires_grad_())


def test_an_unknown_name_lists_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="dldl-v3") as error:
        make_method("dldl-v3", GRID)
    assert all(name in str(error.value) for name in method_names())


@pytest.mark.parametrize("name", method_names())
def test_an_unknown_setting_lists_those_that_there_are(name: str) -> None:
    with pytest.raises(TypeError, match=f"method '{name}' has no setting 'sigmaa'; it has ") as e:
        make_method(name, GRID, sigmaa=1.0)
    method = make_method(name, GRID)
    assert str(e.value).endswith(", ".join(method.settings))


@pytest.mark.parametrize("name", method_names())
def test_bad_values_of_settings(name: str) -> None:
    with pytest.raises(ValueError, match="out_of_range must be one of"):
        make_method(name, GRID, out_of_range="ignore")
    with pytest.raises(ValueError, match="labels must be strictly increasing"):
        make_method(name, [1, 1, 2])


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
@pytest.mark.parametrize(("name", "setting"), [("unimodal", "temperature"), ("sord", "alpha")])
def test_settings_that_must_be_positive(name: str, setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be finite and > 0, got {value}"):
        make_method(name, GRID, **{setting: value})


@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
@pytest.mark.parametrize("setting", ["mean_weight", "variance_weight"])
def test_weights_that_must_not_be_negative(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be finite and >= 0, got {value}"):
        make_method("mean-variance", GRID, **{setting: value})


def test_an_unknown_distance() -> None:
    with pytest.raises(ValueError, match="distance must be one of 'absolute', 'squared', got 'l1'"):
        make_method("sord", GRID, distance="l1")


def test_the_biases_of_coral_have_to_be_where_the_outputs_are() -> None:
    method = make_method("coral", GRID).to("meta")
    with pytest.raises(ValueError, match="use method.to"):
        method.loss(torch.zeros(1, 1), torch.ones(1))
