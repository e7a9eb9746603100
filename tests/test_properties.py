"""Kernel against reference on inputs that hypothesis makes up."""

from __future__ import annotations

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dldl_fast import functional
from tests.cases import (
    DIVERGENCES,
    DTYPES,
    KINDS,
    REDUCTIONS,
    REGRESSIONS,
    assert_kernel_matches,
    needs_cpp,
)

pytestmark = needs_cpp

# The same examples in every run.
profile = settings(derandomize=True, deadline=None, max_examples=120, database=None)


@st.composite
def grids(draw: st.DrawFn) -> Tensor:
    """Equally spaced or not, of steps from 1/64 to 8, and up to a million away from 0."""
    n_labels = draw(st.integers(2, 70))
    step = 2.0 ** draw(st.integers(-6, 3))
    first = draw(st.sampled_from([0, 1, -45, 1_000_000, -3_000])) * step
    if draw(st.booleans()):
        return first + step * torch.arange(n_labels, dtype=torch.float64)
    steps = draw(st.lists(st.integers(1, 9), min_size=n_labels - 1, max_size=n_labels - 1))
    places = torch.tensor([0, *steps], dtype=torch.float64).cumsum(0)
    return first + step * places


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, dict]:
    labels = draw(grids())
    n_rows, n_labels = draw(st.integers(1, 37)), len(labels)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(DTYPES))
    size = draw(st.sampled_from([0.1, 1.0, 5.0]))
    layout = draw(st.sampled_from(["rows", "columns", "every second", "expanded"]))
    x = size * torch.randn(n_rows, n_labels, generator=generator)
    x = x.to(dtype)
    if layout == "columns":
        x = x.mT.contiguous().mT
    elif layout == "every second":
        x = x.repeat_interleave(2, 1)[:, ::2]
    elif layout == "expanded":
        x = x[:1].expand(n_rows, n_labels)
    span = float(labels[-1] - labels[0])
    y = labels[0] + span * torch.rand(n_rows, dtype=torch.float64, generator=generator)
    on_label = torch.rand(n_rows, generator=generator) < 0.3
    y[on_label] = labels[torch.randint(n_labels, (int(on_label.sum()),), generator=generator)]
    step = span / (n_labels - 1)
    width = draw(st.sampled_from([0.01, 0.3, 1.0, 3.0, 40.0]))
    sigma = step * width * (0.5 + torch.rand(n_rows, dtype=torch.float64, generator=generator))
    options = {
        "labels": labels,
        "sigma": sigma,
        "kind": draw(st.sampled_from(KINDS)),
        "divergence": draw(st.sampled_from(DIVERGENCES)),
        "regression": draw(st.sampled_from(REGRESSIONS)),
        "smooth_l1_beta": draw(st.sampled_from([0.1, 1.0, 7.0])),
        "reduction": draw(st.sampled_from(REDUCTIONS)),
        "lambda_": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "ld_weight": draw(st.sampled_from([0.0, 0.01, 1.0])),
        "variance_weight": draw(st.sampled_from([0.0, 0.05, 1.0])),
    }
    if draw(st.booleans()):
        options["weight"] = torch.rand(n_rows, generator=generator).clamp_min(0.01)
    if draw(st.integers(0, 3)) == 0:
        q = torch.rand(n_rows, n_labels, generator=generator)
        q[q < 0.3] = 0
        q[:, n_labels // 2] = 0.5
        options["target_distribution"] = q
    return x, y, options


@profile
@given(cases())
def test_kernel_matches_the_reference(case: tuple[Tensor, Tensor, dict]) -> None:
    x, y, options = case
    if options["kind"] == "gaussian_pdf" and "target_distribution" not in options:
        p = functional.label_distribution(y, options["labels"], options["sigma"], "gaussian_pdf")
        assume(bool((p.sum(-1) > 1e-30).all()))  # an error otherwise
    assert_kernel_matches(x, y, **options)


@profile
@given(cases(), st.integers(-50, 50))
def test_shift_of_the_logits(case: tuple[Tensor, Tensor, dict], shift: int) -> None:
    x, y, options = case
    x = x.round()  # so that the shifted logits are exact in every dtype
    options["kind"] = "gaussian"
    loss = [
        functional.label_distribution_loss(logits, y, backend="cpp", **options)
        for logits in (x, x + shift)
    ]
    assert torch.equal(loss[0], loss[1])


@profile
@given(cases())
def test_gradients_of_normalised_targets_sum_to_zero(case: tuple[Tensor, Tensor, dict]) -> None:
    """Since the loss does not see a shift of the logits."""
    x, y, options = case
    assume(x.dtype in (torch.float32, torch.float64) and options["kind"] != "gaussian_pdf")
    x = x.contiguous().requires_grad_()
    loss = functional.label_distribution_loss(x, y, backend="cpp", **options)
    loss.sum().backward()
    assert x.grad is not None
    scale = x.grad.abs().sum(-1) + 1e-30
    eps = torch.finfo(x.dtype).eps
    span = float(options["labels"][-1] - options["labels"][0])
    slack = eps * options["lambda_"] * span * (1 + 2 * span + span / options["smooth_l1_beta"])
    slack += eps * options["variance_weight"] * span**2
    assert bool((x.grad.sum(-1).abs() <= 100 * (eps * (scale + 1) + slack) + 1e-9).all())


@profile
@given(grids(), st.floats(0, 1), st.sampled_from([0.0, 1e-200, 0.01, 0.5, 2.0, 1e6, 1e200]))
def test_target_distributions_are_distributions(labels: Tensor, place: float, width: float) -> None:
    y = labels[0] + place * (labels[-1] - labels[0])
    step = float(labels[1] - labels[0])
    for kind in ("gaussian", "gaussian_bin", "two_hot", "one_hot", "laplace"):
        p = functional.label_distribution(y, labels, width * step, kind)
        assert bool((p >= 0).all())
        assert abs(float(p.sum()) - 1) < 1e-12
        if kind != "gaussian_bin":  # where a wider cell may hold more
            assert p[(labels - y).abs().argmin()] >= p.max() - 1e-9
        if kind == "two_hot":
            assert abs(float((p * (labels - labels[0])).sum() - (y - labels[0]))) < 1e-9 * step
