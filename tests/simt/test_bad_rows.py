"""A bad row is NaN in its loss and gradient, and the first one is reported with its reason."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dldl_fast.options import LossOptions
from tests.cases import uniform_grid
from tests.simt.launchers import Launchers

NAN, INF = math.nan, math.inf

# The numbers of BadValue.
CODES = ("target", "outside", "sigma", "histogram", "histogram sum", "weight", "underflow")


def column(bad: float, good: float) -> torch.Tensor:
    """Rows 5 and 40 of 70 are bad: two tiles."""
    values = torch.full((70,), good, dtype=torch.float64)
    values[[5, 40]] = bad
    return values


def histograms(n_labels: int, entries: slice, bad: float) -> torch.Tensor:
    q = torch.ones(70, n_labels, dtype=torch.float64)
    q[5, entries], q[40, entries] = bad, bad
    return q


@pytest.mark.parametrize("n_labels", [101, 1030])
@pytest.mark.parametrize(
    ("changes", "settings", "code"),
    [
        ({"target": column(NAN, 30)}, {}, "target"),
        ({"target": column(INF, 30)}, {"out_of_range": "clamp"}, "target"),
        ({"target": column(-3, 30)}, {}, "outside"),
        ({"sigma": column(-1, 2)}, {}, "sigma"),
        ({"sigma": column(NAN, 2)}, {"kind": "one_hot"}, "sigma"),
        ({"sigma": column(0, 2)}, {"kind": "gaussian_pdf"}, "sigma"),
        ({"weight": column(-1, 1)}, {}, "weight"),
        ({"weight": column(INF, 1)}, {}, "weight"),
        ({"target_distribution": (slice(50, 51), -1.0)}, {}, "histogram"),
        ({"target_distribution": (slice(50, 51), NAN)}, {}, "histogram"),
        ({"target_distribution": (slice(None), 0.0)}, {}, "histogram sum"),
        ({"target_distribution": (slice(None), 1e308)}, {}, "histogram sum"),
        (
            {"target": column(50.5, 50), "sigma": column(1e-3, 1)},
            {"kind": "gaussian_pdf"},
            "underflow",
        ),
    ],
)
def test_bad_rows(
    launchers: Launchers,
    n_labels: int,
    changes: dict[str, Any],
    settings: dict[str, Any],
    code: str,
) -> None:
    if "target_distribution" in changes:
        q = histograms(n_labels, *changes["target_distribution"])
        changes = {"target_distribution": q}
    inputs = {
        "target": torch.full((70,), 30.0), "sigma": 2.0, "weight": None,
        "target_distribution": None, **changes,
    }  # fmt: skip
    logits, labels = torch.randn(70, n_labels), uniform_grid(n_labels)
    want_bad = [i in (5, 40) for i in range(70)]
    for reduction in ("none", "mean"):
        options = LossOptions(reduction=reduction, **settings)
        loss, grad, scale, terms = launchers.forward(
            logits,
            **inputs,
            labels=labels,
            step=1.0,
            options=options,
            return_terms=True,
            needs_grad=True,
        )
        assert launchers.bad_row == (5, CODES.index(code) + 1)
        launchers.scale_rows(grad, torch.ones_like(loss), scale, inputs["weight"])
        assert grad.isnan().all(-1).tolist() == want_bad
        assert grad.isnan().any(-1).tolist() == want_bad
        assert terms[0].isnan().tolist() == want_bad
        if reduction == "none":
            assert loss.isnan().tolist() == want_bad
        else:
            assert loss.isnan()


def test_good_rows_report_nothing(launchers: Launchers) -> None:
    labels = uniform_grid(101)
    launchers.forward(
        torch.randn(70, 101), torch.full((70,), 30.0), 2.0, None, None, labels, 1.0, LossOptions()
    )
    assert launchers.bad_row is None


def test_ignored_rows_and_rows_of_weight_zero_are_left_out(launchers: Launchers) -> None:
    labels = uniform_grid(101)
    logits, target, weight = torch.randn(9, 101), torch.full((9,), 30.0), torch.ones(9)
    target[2], weight[5] = NAN, 0
    logits[2], logits[5] = NAN, NAN
    arguments = (target, 2.0, weight, None, labels, 1.0, LossOptions(ignore_nan=True))
    loss, grad, scale, _ = launchers.forward(logits, *arguments, needs_grad=True)
    assert launchers.bad_row is None
    launchers.scale_rows(grad, torch.ones(()), scale, weight)
    assert not grad[[2, 5]].any()
    kept = [0, 1, 3, 4, 6, 7, 8]
    want, want_grad, _, _ = launchers.forward(
        logits[kept], target[kept], 2.0, None, None, labels, 1.0, LossOptions(), needs_grad=True
    )
    torch.testing.assert_close(loss, want)
    torch.testing.assert_close(grad[kept], want_grad)
