"""Bad values on a GPU: NaN in their row, or an error if that is asked for; rows left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.cases import loss_and_grad, needs_gpu
from tests.test_bad_input import (  # noqa: F401
    BAD_VALUES,
    call,
    test_all_rows_ignored,
    test_ignored_rows_are_left_out_whatever_they_hold,
    test_ignored_rows_with_a_given_distribution,
    test_rows_of_weight_zero_are_left_out_whatever_their_logits,
)

pytestmark = [pytest.mark.gpu, needs_gpu]


def bad_values(case: str) -> tuple[dict[str, Any], str]:
    """Arguments with a bad value in row 2 of 4, on the GPU, and the text of the error."""
    changes, message = BAD_VALUES[case]
    there = {k: v.cuda() if isinstance(v, Tensor) else v for k, v in changes.items()}
    return there, message


@pytest.mark.parametrize("case", BAD_VALUES)
def test_value_is_named_where_that_is_asked_for(backend: str, case: str) -> None:
    changes, message = bad_values(case)
    with pytest.raises(ValueError) as error:
        call(backend, validate=True, **changes)
    assert str(error.value) == message


@pytest.mark.parametrize("validate", ["auto", False])
@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_row_alone_is_nan(backend: str, case: str, validate: bool | str) -> None:
    changes, _ = bad_values(case)
    settings = {"target": torch.tensor([10.0, 20.0, 30.0, 40.0]), "labels": range(101), **changes}
    loss, grad = loss_and_grad(
        torch.randn(4, 101), reduction="none", validate=validate, backend=backend, **settings
    )
    assert loss.isnan().tolist() == [False, False, True, False]
    assert grad.isnan().all(-1).tolist() == [False, False, True, False]
    assert grad.isnan().any(-1).tolist() == [False, False, True, False]


def test_first_bad_row_of_many_blocks_is_named(backend: str) -> None:
    target, sigma = torch.full((70_000,), 50.0), torch.ones(70_000)
    sigma[33_333], sigma[33_340], target[65_001] = -3, -4, 101
    x = torch.zeros(70_000, 101)
    for _ in range(3):
        with pytest.raises(ValueError, match=r"^sigma .* got -3 at row 33333$"):
            call(backend, logits=x, target=target, sigma=sigma, validate=True)


@pytest.mark.parametrize("name", ["target", "sigma", "weight", "target_distribution"])
def test_argument_on_the_cpu(backend: str, name: str) -> None:
    shape = (4, 101) if name == "target_distribution" else (4,)
    with pytest.raises(ValueError, match=f"^{name} must be on cuda:0 like logits, got cpu$"):
        call(backend, **{name: torch.ones(shape, device="cpu")})
