"""Extreme input that has an answer: finite where the mathematics is finite."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import functional
from tests.cases import DTYPES, KINDS, REGRESSIONS, loss_and_grad, needs_cpp, uniform_grid

NAN, INF = math.nan, math.inf
AGES = uniform_grid(101)
NORMALISED = [kind for kind in KINDS if kind != "gaussian_pdf"]


def divergence_of(p: Tensor, x: Tensor) -> float:
    """KL, summed over the labels that have mass."""
    log_p_hat = torch.log_softmax(x.double(), -1)
    mass = p > 0
    return float((p[mass] * (p[mass].log() - log_p_hat[mass])).sum())


def target_seen_by(backend: str, y: float, sigma: float, kind: str, labels: Tensor) -> Tensor:
    """The target distribution behind the gradient, p = S p_hat - dL/dx with S = 1."""
    x = torch.zeros(1, len(labels), dtype=torch.float64)
    loss, grad = loss_and_grad(
        x, torch.tensor([y], dtype=torch.float64), labels=labels, sigma=sigma, kind=kind,
        lambda_=0, reduction="sum", out_of_range="keep", backend=backend,
    )  # fmt: skip
    assert loss.isfinite()
    return 1 / len(labels) - grad[0] / 0.5


def expect_mass(p: Tensor, labels: Tensor, where: dict[float, float]) -> None:
    want = torch.zeros_like(p)
    for label, mass in where.items():
        want[(labels - label).abs().argmin()] = mass
    torch.testing.assert_close(p, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["gaussian", "gaussian_bin", "laplace"])
@pytest.mark.parametrize("sigma", [0.0, 1e-300, 1e-160, 1e-30, 1e-3])
def test_sigma_to_zero_puts_all_mass_on_the_nearest_label(
    backend: str, kind: str, sigma: float
) -> None:
    for y, where in {
        10.0: {10.0: 1.0},
        10.03: {10.0: 1.0},
        10.4: {10.0: 1.0},
        10.5: {10.0: 0.5, 11.0: 0.5},  # halves on a tie
        99.5: {99.0: 0.5, 100.0: 0.5},
        0.0: {0.0: 1.0},
        100.0: {100.0: 1.0},
    }.items():
        expect_mass(target_seen_by(backend, y, sigma, kind, AGES), AGES, where)


@pytest.mark.parametrize("kind", ["gaussian", "gaussian_bin"])
@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_limit_of_sigma_equals_one_hot(backend: str, kind: str, sigma: float) -> None:
    """Also .03 off the grid, where exp(-(l - y)^2 / 2 sigma^2) underflows for every label."""
    x = torch.randn(12, 101)
    y = torch.arange(12) * 8 + torch.tensor([0.0, 0.25, -0.25, 0.375] * 3).clamp_min(0)
    want = loss_and_grad(x, y, labels=AGES, kind="one_hot", backend=backend)
    got = loss_and_grad(x, y, labels=AGES, kind=kind, sigma=sigma, backend=backend)
    torch.testing.assert_close(got, want)


def test_narrow_sigma_between_labels(backend: str) -> None:
    """sigma .03 at y = 10.5 - .001: two labels, their share from the distances squared."""
    y, sigma = 10.499, 0.03
    ratio = math.exp(-((11 - y) ** 2 - (10 - y) ** 2) / (2 * sigma**2))
    where = {10.0: 1 / (1 + ratio), 11.0: ratio / (1 + ratio)}
    expect_mass(target_seen_by(backend, y, sigma, "gaussian", AGES), AGES, where)


def test_narrow_laplace_between_labels(backend: str) -> None:
    """Two labels, their share from the distances."""
    y, sigma = 10.499, 0.03
    ratio = math.exp(-((11 - y) - (y - 10)) / sigma)
    where = {10.0: 1 / (1 + ratio), 11.0: ratio / (1 + ratio)}
    expect_mass(target_seen_by(backend, y, sigma, "laplace", AGES), AGES, where)


def test_narrow_bins_beside_a_border(backend: str) -> None:
    """The neighbour's cell begins within 2 sigma of y, though its label is 17 sigma away."""
    y, sigma = 24.56, 0.03
    below = 0.5 * math.erfc((y - 24.5) / (sigma * math.sqrt(2)))
    p = target_seen_by(backend, y, sigma, "gaussian_bin", AGES)
    expect_mass(p, AGES, {24.0: below, 25.0: 1 - below})


@pytest.mark.parametrize(
    ("kind", "sigma"),
    [
        *itertools.product(
            ("gaussian", "gaussian_bin"), (1e6, 1e9, 1e14, 1e17, 1e30, 1e200, 1e300)
        ),
        *(("laplace", sigma) for sigma in (1e9, 1e17, 1e30, 1e300)),
    ],
)
def test_huge_sigma_is_the_uniform_distribution(backend: str, kind: str, sigma: float) -> None:
    p = target_seen_by(backend, 10.3, sigma, kind, AGES)
    torch.testing.assert_close(p, torch.full_like(p, 1 / 101), rtol=1e-6, atol=0)


ATTRACTIVENESS = torch.arange(41, dtype=torch.float64) * 0.1 + 1


@pytest.mark.parametrize(
    ("labels", "y", "low", "high"),
    [
        (AGES, 10.5, 10, 11),
        (ATTRACTIVENESS, 1.05, 1.0, 1.1),  # as exact as the midpoint of the two labels
        (AGES + 1_000_000, 1_000_010.5, 1_000_010, 1_000_011),
        (torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64), 2.5, 1, 4),
    ],
    ids=["ages", "attractiveness", "near a million", "bent"],
)
def test_ties(backend: str, labels: Tensor, y: float, low: float, high: float) -> None:
    k = int((labels - low).abs().argmin())
    y = float((labels[k] + labels[k + 1]) / 2)
    for kind in ("gaussian", "gaussian_bin", "laplace"):
        p = target_seen_by(backend, y, 0.0, kind, labels)
        expect_mass(p, labels, {low: 0.5, high: 0.5})
    # one_hot: the lower one, and the other side as soon as y is off the midpoint
    expect_mass(target_seen_by(backend, y, 1.0, "one_hot", labels), labels, {low: 1})
    above = math.nextafter(y, INF)
    expect_mass(target_seen_by(backend, above, 1.0, "one_hot", labels), labels, {high: 1})
    expect_mass(target_seen_by(backend, above, 0.0, "gaussian", labels), labels, {high: 1})


@pytest.mark.parametrize("sigma", [0.0, 1e-20, 1e-9])
@pytest.mark.parametrize("power", [1, 1.5], ids=["equally spaced", "bent"])
def test_ties_of_labels_whose_sums_are_rounded(backend: str, power: float, sigma: float) -> None:
    labels = ATTRACTIVENESS**power
    for kind, (low, high) in itertools.product(
        ("gaussian", "laplace"), itertools.pairwise(labels.tolist())
    ):
        p = target_seen_by(backend, (low + high) / 2, sigma, kind, labels)
        expect_mass(p, labels, {low: 0.5, high: 0.5})


@pytest.mark.parametrize("kind", NORMALISED)
@pytest.mark.parametrize("sigma", [0.0, 1e-30, 0.03, 2.0, 30.0])
@pytest.mark.parametrize("y", [130.0, 1e6, 1e30, 1e300, -40.0, -1e300])
def test_targets_far_outside_are_kept_without_nan(
    backend: str, kind: str, sigma: float, y: float
) -> None:
    p = target_seen_by(backend, y, sigma, kind, AGES)
    assert bool((p > -1e-12).all())
    assert float(p.sum()) == pytest.approx(1)
    end = 100 if y > 0 else 0
    assert int(p.argmax()) == end
    # The exponents relative to the label at the end of the grid.
    u = (AGES - end).abs()
    exponents = {"gaussian": u * (u + 2 * abs(y - end)) / 2, "laplace": u * sigma}
    if kind in exponents:
        want = (u == 0).double()
        if sigma > 1e-20:
            want = torch.exp(-exponents[kind] / sigma**2)
        torch.testing.assert_close(p, want / want.sum(), rtol=1e-9, atol=1e-10)
    if (abs(y) >= 1e6 and kind != "laplace") or kind in ("two_hot", "one_hot"):
        expect_mass(p, AGES, {float(end): 1.0})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", NORMALISED)
def test_kept_targets_in_every_dtype(backend: str, kind: str, dtype: torch.dtype) -> None:
    """The error of the expectation enters as it is: y_hat - 130, not y_hat - 100."""
    x = torch.zeros(2, 101, dtype=dtype)
    y = torch.tensor([130.0, 1e6], dtype=torch.float64)
    terms = functional.label_distribution_loss(
        x, y, labels=AGES, kind=kind, out_of_range="keep", return_terms=True, backend=backend
    )
    assert terms.regression.tolist() == pytest.approx([80, 999_950], rel=1e-6)
    p = functional.label_distribution(y, AGES, 2.0, kind)
    want = [divergence_of(p[i], x[i]) for i in range(2)]
    assert terms.divergence.tolist() == pytest.approx(want, rel=1e-5)
    _, grad = loss_and_grad(x, y, labels=AGES, kind=kind, out_of_range="keep", backend=backend)
    assert bool(grad.isfinite().all())


@pytest.mark.parametrize("kind", NORMALISED)
def test_clamp_moves_the_target_for_both_terms(backend: str, kind: str) -> None:
    x = torch.randn(3, 101)
    y = torch.tensor([130.0, -1e30, 1e300], dtype=torch.float64)
    settings = {"labels": AGES, "kind": kind, "backend": backend}
    got = loss_and_grad(x, y, out_of_range="clamp", **settings)
    want = loss_and_grad(x, torch.tensor([100.0, 0.0, 100.0]), **settings)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [200.0, 1e4])
def test_logits_of_great_size(backend: str, size: float, dtype: torch.dtype) -> None:
    """One peak far above the rest, on and off the target, and one far below."""
    x = torch.zeros(4, 101, dtype=dtype)
    x[0, 30], x[1, 30], x[2, 30] = size, -size, size
    x[3, ::2], x[3, 1::2] = size, -size
    y = torch.tensor([30.0, 30.0, 90.0, 30.0])
    loss, grad = loss_and_grad(x, y, labels=AGES, reduction="none", backend=backend)
    p = functional.label_distribution(y, AGES, 2.0)
    p_hat = torch.softmax(x.double(), -1)
    for i in range(4):
        y_hat = float((p_hat[i] * AGES).sum())
        want = divergence_of(p[i], x[i]) + abs(y_hat - float(y[i]))
        assert float(loss[i]) == pytest.approx(want, rel=1e-5)
        slope = (y_hat > y[i]).double() - (y_hat < y[i]).double()
        slope = 0.0 if abs(y_hat - float(y[i])) < 1e-9 else slope
        want_grad = p_hat[i] - p[i] + slope * p_hat[i] * (AGES - y_hat)
        got = grad[i].double() / (0.5 + i % 3)
        # At the kink (row 0) and beside it rounding decides about the slope.
        if abs(y_hat - float(y[i])) > 1e-3:
            tol = 3e-5 + 2 * torch.finfo(dtype).eps * want_grad.abs()
            assert bool(((got - want_grad).abs() <= tol).all())
        else:
            assert bool(got.isfinite().all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_rows(backend: str, dtype: torch.dtype) -> None:
    y = torch.tensor([30.0])
    want = math.log(101) + float(
        torch.special.xlogy(p := functional.label_distribution(y, AGES, 2.0), p).sum()
    )
    for value in (0.0, 5.0, -300.0, 6e4):
        x = torch.full((1, 101), value, dtype=dtype)
        loss, grad = loss_and_grad(x, y, labels=AGES, lambda_=0, backend=backend)
        assert loss.item() == pytest.approx(want, rel=1e-6)
        want_grad = 0.5 * (1 / 101 - p)
        torch.testing.assert_close(grad.double(), want_grad, rtol=2e-2, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_masked_labels_outside_the_target(backend: str, kind: str, dtype: torch.dtype) -> None:
    """0 * (-inf) counts as 0: labels without target mass may be masked out."""
    x = torch.randn(1, 101).to(dtype)
    x[:, 60:] = -INF
    y = torch.tensor([30.0])
    settings = {"kind": kind, "sigma": 1.0, "backend": backend}
    loss, grad = loss_and_grad(x, y, labels=AGES, **settings)
    assert bool(grad.isfinite().all())
    assert torch.equal(grad[:, 60:], torch.zeros(1, 41, dtype=dtype))
    short, short_grad = loss_and_grad(x[:, :60], y, labels=AGES[:60], **settings)
    torch.testing.assert_close(loss, short, rtol=1e-5, atol=0)
    torch.testing.assert_close(grad[:, :60], short_grad, rtol=2e-2, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_masked_label_under_the_target_gives_infinity_as_in_torch(backend: str, kind: str) -> None:
    x = torch.randn(2, 101)
    x[0, 30] = -INF
    y = torch.tensor([30.0, 30.0])
    loss, grad = loss_and_grad(
        x, y, labels=AGES, kind=kind, reduction="none", lambda_=0, backend=backend
    )
    assert loss[0] == INF
    assert loss[1].isfinite() and bool(grad[1].isfinite().all())
    p = functional.label_distribution(y, AGES, 2.0, kind)
    in_torch = torch.nn.functional.cross_entropy(x.double(), p, reduction="none")
    assert in_torch[0] == INF


def test_masked_label_in_the_tail_is_harmless(backend: str) -> None:
    """Mass below 1e-11 of the peak counts as 0 (7.1 sigma), above it does not."""
    y = torch.tensor([30.0])
    for label, finite in ((45, True), (44, False)):  # 7.5 and 7 sigma
        x = torch.zeros(1, 101)
        x[0, label] = -INF
        loss, _ = loss_and_grad(x, y, labels=AGES, sigma=2.0, backend=backend)
        assert bool(loss.isfinite()) == finite


def test_masked_label_in_the_tail_of_laplace_is_harmless(backend: str) -> None:
    y = torch.tensor([30.0])
    for label, finite in ((56, True), (55, False)):  # 26 and 25 sigma; the tail begins at 25.3
        x = torch.zeros(1, 101)
        x[0, label] = -INF
        loss, _ = loss_and_grad(x, y, labels=AGES, sigma=1.0, kind="laplace", backend=backend)
        assert bool(loss.isfinite()) == finite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", NORMALISED)
def test_likelihood_is_finite_for_any_logits(backend: str, kind: str, dtype: torch.dtype) -> None:
    """It has no logarithm: a label that is masked or far below the others has likelihood 0."""
    x = torch.randn(3, 101).to(dtype)
    x[0, 10:60], x[1, 10:60], x[2, 30] = -INF, -1e4, 1e4
    y = torch.full((3,), 30.0)
    loss, grad = loss_and_grad(
        x, y, labels=AGES, sigma=0.1, kind=kind, divergence="likelihood", lambda_=0,
        reduction="none", backend=backend,
    )  # fmt: skip
    assert loss[:2].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert loss[2].item() == pytest.approx(-1, abs=1e-3)
    torch.testing.assert_close(grad, torch.zeros_like(grad), rtol=0, atol=2e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1_000_000])
def test_variance_of_certain_and_of_most_uncertain_predictions(
    backend: str, dtype: torch.dtype, offset: int
) -> None:
    labels = AGES + offset
    x = torch.zeros(3, 101, dtype=dtype)
    x[0, 30] = 200  # all mass on one label
    x[1, 0] = x[1, 100] = 200  # halves on both ends
    y = torch.full((3,), 30.0 + offset, dtype=torch.float64)
    loss, grad = loss_and_grad(
        x, y, labels=labels, lambda_=0, ld_weight=0, variance_weight=0.5, reduction="none",
        backend=backend,
    )  # fmt: skip
    assert loss.tolist() == pytest.approx([0, 1250, 425], rel=1e-6, abs=1e-6)
    u = torch.arange(-50, 51, dtype=torch.float64)
    torch.testing.assert_close(grad[:2], torch.zeros_like(grad[:2]), rtol=0, atol=1e-4)
    want = 2.5 * 0.5 * (u**2 - 850) / 101
    eps = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(grad[2].double(), want, rtol=eps, atol=1e-3 * eps + 1e-5)


def test_variance_of_masked_labels(backend: str) -> None:
    x = torch.randn(2, 101)
    x[:, 60:] = -INF
    y = torch.tensor([30.0, 10.0])
    settings = {"sigma": 1.0, "variance_weight": 0.3, "backend": backend}
    loss, grad = loss_and_grad(x, y, labels=AGES, **settings)
    short, short_grad = loss_and_grad(x[:, :60], y, labels=AGES[:60], **settings)
    torch.testing.assert_close(loss, short, rtol=1e-5, atol=0)
    torch.testing.assert_close(grad[:, :60], short_grad, rtol=1e-4, atol=1e-6)
    assert not grad[:, 60:].any()


def test_masked_labels_without_divergence(backend: str) -> None:
    """ld_weight = 0 skips the divergence, also where it is inf."""
    x = torch.zeros(1, 101)
    x[0, 30] = -INF
    loss, grad = loss_and_grad(x, torch.tensor([30.0]), labels=AGES, ld_weight=0, backend=backend)
    want = (5050 - 30) / 100 - 30
    assert loss.item() == pytest.approx(want, rel=1e-6)
    assert bool(grad.isfinite().all())


def test_skipped_regression_may_overflow(backend: str) -> None:
    """lambda_ = 0 skips the regression, also where its square is inf."""
    x, y = torch.zeros(1, 101), torch.tensor([1e30])
    settings = {
        "labels": AGES, "regression": "l2", "out_of_range": "keep", "backend": backend,
        "return_terms": True,
    }  # fmt: skip
    terms = functional.label_distribution_loss(x, y, lambda_=0, **settings)
    assert terms.regression.item() == INF
    assert terms.loss.item() == pytest.approx(math.log(101), rel=1e-6)
    assert functional.label_distribution_loss(x, y, **settings).loss.item() == INF
    _, grad = loss_and_grad(
        x, y, labels=AGES, regression="l2", out_of_range="keep", lambda_=0, backend=backend
    )
    assert bool(grad.isfinite().all())


@pytest.mark.parametrize("regression", REGRESSIONS)
def test_zero_coefficients_leave_one_term(backend: str, regression: str) -> None:
    x, y = torch.randn(6, 101), torch.rand(6) * 100
    settings: dict[str, Any] = {"labels": AGES, "regression": regression, "backend": backend}
    terms = functional.label_distribution_loss(x, y, return_terms=True, **settings)
    _, std = functional.expectation(x, AGES, return_std=True, backend=backend)
    for changes, rows in (
        ({"lambda_": 0}, terms.divergence),
        ({"ld_weight": 0}, terms.regression),
        ({"lambda_": 0, "ld_weight": 0}, torch.zeros(6)),
        ({"lambda_": 0, "ld_weight": 0, "variance_weight": 1}, std**2),
    ):
        loss, grad = loss_and_grad(x, y, **settings, **changes)
        torch.testing.assert_close(loss, rows.mean().to(loss.dtype))
        if len(changes) == 2:
            assert not grad.any()


def test_dex_is_cross_entropy_of_the_nearest_label(backend: str) -> None:
    x = torch.randn(6, 101)
    y = torch.tensor([0.0, 3.4, 3.5, 3.6, 50.0, 100.0])
    loss, grad = loss_and_grad(x, y, labels=AGES, kind="one_hot", lambda_=0, backend=backend)
    x.requires_grad_()
    want = torch.nn.functional.cross_entropy(x, torch.tensor([0, 3, 3, 4, 50, 100]))
    want.backward(torch.tensor(0.5))
    torch.testing.assert_close(loss, want.detach())
    torch.testing.assert_close(grad, x.grad)


def test_released_dex_is_the_likelihood_of_the_nearest_label(backend: str) -> None:
    x = torch.randn(6, 101)
    y = torch.tensor([0.0, 3.4, 3.5, 3.6, 50.0, 100.0])
    loss, grad = loss_and_grad(
        x, y, labels=AGES, kind="one_hot", divergence="likelihood", lambda_=0, backend=backend
    )
    x.requires_grad_()
    want = torch.nn.functional.nll_loss(x.softmax(-1), torch.tensor([0, 3, 3, 4, 50, 100]))
    want.backward(torch.tensor(0.5))
    torch.testing.assert_close(loss, want.detach())
    torch.testing.assert_close(grad, x.grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("divergence", ["kl", "likelihood"])
def test_nan_logits_make_only_their_row_nan(
    backend: str, divergence: str, value: float, dtype: torch.dtype
) -> None:
    """In the first, middle and last place of a row, inside and outside of the target's window."""
    x = torch.randn(21, 101).to(dtype)
    x[2, 0], x[9, 50], x[20, 100] = value, value, value
    y = torch.full((21,), 50.0)
    loss, grad = loss_and_grad(
        x, y, labels=AGES, divergence=divergence, reduction="none", backend=backend
    )
    bad = [i in (2, 9, 20) for i in range(21)]
    assert loss.isnan().tolist() == bad
    assert grad.isnan().all(-1).tolist() == bad
    assert grad.isnan().any(-1).tolist() == bad


def test_row_of_minus_infinity_is_nan_as_in_torch(backend: str) -> None:
    x = torch.randn(3, 101)
    x[1] = -INF
    loss, grad = loss_and_grad(
        x, torch.full((3,), 50.0), labels=AGES, reduction="none", backend=backend
    )
    assert bool(torch.log_softmax(x, -1)[1].isnan().all())
    assert loss.isnan().tolist() == [False, True, False]
    assert grad.isnan().all(-1).tolist() == [False, True, False]


def test_exact_regression_on_a_grid_far_from_zero(backend: str) -> None:
    labels = AGES + 1_000_000
    x = torch.zeros(1, 101)
    terms = functional.label_distribution_loss(
        x, torch.tensor([1_000_050.25], dtype=torch.float64), labels=labels, return_terms=True,
        backend=backend,
    )  # fmt: skip
    assert terms.expectation.item() == pytest.approx(1_000_050, rel=0, abs=2e-6)
    assert terms.regression.item() == pytest.approx(0.25, rel=0, abs=2e-6)


@needs_cpp
def test_denormal_and_tiny_probabilities_are_no_nan() -> None:
    x = torch.linspace(0, -120, 101).unsqueeze(0)
    for dtype in DTYPES:
        loss, grad = loss_and_grad(x.to(dtype), torch.tensor([100.0]), labels=AGES, backend="cpp")
        want, _ = loss_and_grad(
            x.to(dtype).double(), torch.tensor([100.0]), labels=AGES, backend="reference"
        )
        assert loss.item() == pytest.approx(want.item(), rel=1e-5)
        assert bool(grad.isfinite().all())
