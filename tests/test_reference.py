"""The reference against formulas written out here with math and numpy, label by label."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from tests.cases import (
    DIVERGENCES,
    DTYPES,
    KINDS,
    REGRESSIONS,
    bent_grid,
    loss_and_grad,
    row_factors,
    uniform_grid,
)


def normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def by_hand(kind: str, y: float, labels: list[float], sigma: float) -> list[float]:
    """The target distribution, as the definition reads."""
    n = len(labels)
    if kind in ("gaussian", "gaussian_pdf"):
        pdf = [
            math.exp(-((label - y) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
            for label in labels
        ]
        return pdf if kind == "gaussian_pdf" else [value / sum(pdf) for value in pdf]
    if kind == "laplace":
        density = [math.exp(-abs(label - y) / sigma) for label in labels]
        return [value / sum(density) for value in density]
    if kind == "gaussian_bin":
        inner = [(labels[k] + labels[k + 1]) / 2 for k in range(n - 1)]
        borders = [2 * labels[0] - inner[0], *inner, 2 * labels[-1] - inner[-1]]
        cdf = [normal_cdf((b - y) / sigma) for b in borders]
        masses = [high - low for low, high in zip(cdf[:-1], cdf[1:], strict=True)]
        return [mass / sum(masses) for mass in masses]
    p = [0.0] * n
    if kind == "one_hot":
        p[min(range(n), key=lambda k: (abs(labels[k] - y), k))] = 1.0
        return p
    k = max(k for k in range(n - 1) if labels[k] <= y)
    share = (y - labels[k]) / (labels[k + 1] - labels[k])
    p[k], p[k + 1] = 1 - share, share
    return p


def rho_by_hand(kind: str, error: float, beta: float) -> float:
    if kind == "l1":
        return abs(error)
    if kind == "l2":
        return error**2
    return error**2 / (2 * beta) if abs(error) < beta else abs(error) - beta / 2


GRIDS = {
    "ages": uniform_grid(101),
    "attractiveness": torch.linspace(1, 5, 41, dtype=torch.float64),
    "bent": bent_grid(23),
}


@pytest.mark.parametrize("sigma", [0.7, 2.0, 9.0])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_target_distribution(kind: str, grid: str, sigma: float) -> None:
    labels = GRIDS[grid]
    y = [labels[0], labels[-1], labels[3], labels[5] + 0.3 * (labels[6] - labels[5])]
    p = functional.label_distribution(torch.tensor(y), labels, sigma, kind)
    for row, target in zip(p, y, strict=True):
        want = by_hand(kind, float(target), labels.tolist(), sigma)
        np.testing.assert_allclose(row, want, rtol=1e-8, atol=1e-10 * max(want))


@pytest.mark.parametrize(
    ("kind", "divergence", "regression"), [*product(KINDS, DIVERGENCES, REGRESSIONS)]
)
def test_loss_row_by_row(kind: str, divergence: str, regression: str) -> None:
    labels = bent_grid(9)
    x = torch.randn(6, 9, dtype=torch.float64)
    y = torch.tensor([0.0, 8.0, 1.3, 2.25, 5.0, 6.9], dtype=torch.float64)
    s = torch.tensor([2.0, 0.8, 1.0, 3.0, 0.6, 1.5], dtype=torch.float64)
    loss = functional.label_distribution_loss(
        x, y, labels=labels, sigma=s, kind=kind, divergence=divergence, regression=regression,
        smooth_l1_beta=0.8, lambda_=0.7, ld_weight=1.3, variance_weight=0.4, reduction="none",
        backend="reference",
    )  # fmt: skip
    for i in range(6):
        e = [math.exp(v) for v in x[i].tolist()]
        p_hat = [v / sum(e) for v in e]
        p = by_hand(kind, float(y[i]), labels.tolist(), float(s[i]))
        if divergence == "likelihood":
            d = -sum(a * b for a, b in zip(p, p_hat, strict=True))
        else:
            d = -sum(a * math.log(b) for a, b in zip(p, p_hat, strict=True))
        if divergence == "kl":
            d += sum(a * math.log(a) for a in p if a > 0)
        y_hat = sum(a * b for a, b in zip(p_hat, labels.tolist(), strict=True))
        want = 1.3 * d + 0.7 * rho_by_hand(regression, y_hat - float(y[i]), 0.8)
        want += 0.4 * sum(b * (a - y_hat) ** 2 for a, b in zip(labels.tolist(), p_hat, strict=True))
        assert float(loss[i]) == pytest.approx(want, rel=1e-9, abs=1e-9)


def test_reductions_and_weights(backend: str) -> None:
    labels = uniform_grid(7)
    x = torch.randn(5, 7, dtype=torch.float64)
    y = torch.tensor([0.0, 1.5, 3.0, 4.2, 6.0])
    w = torch.tensor([1.0, 0.0, 2.5, 0.25, 3.0])
    terms = functional.label_distribution_loss(
        x, y, labels=labels, lambda_=0.3, ld_weight=2.0, reduction="none", return_terms=True,
        backend=backend,
    )  # fmt: skip
    rows = (2 * terms.divergence + 0.3 * terms.regression).tolist()
    weighted = [a * b for a, b in zip(w.tolist(), rows, strict=True)]

    def reduced(reduction: str, weight: Tensor | None = w) -> list[float]:
        return functional.label_distribution_loss(
            x, y, labels=labels, lambda_=0.3, ld_weight=2.0, reduction=reduction, weight=weight,
            backend=backend,
        ).tolist()  # fmt: skip

    assert terms.loss.tolist() == pytest.approx(rows)
    assert reduced("none") == pytest.approx(weighted)
    assert reduced("sum") == pytest.approx(sum(weighted))
    assert reduced("mean") == pytest.approx(sum(weighted) / 6.75)
    assert reduced("mean", None) == pytest.approx(sum(rows) / 5)
    assert reduced("mean", torch.zeros(5)) == 0


def facts_inputs(n_rows: int, n_labels: int) -> tuple[Tensor, Tensor]:
    i = torch.arange(n_rows, dtype=torch.float64).unsqueeze(1)
    k = torch.arange(n_labels, dtype=torch.float64)
    return 2 * torch.sin(0.37 * i + 0.11 * k) + torch.cos(0.05 * i * k), 37 * i[:, 0] % n_labels


@pytest.mark.parametrize(
    ("n_rows", "n_labels", "divergence", "value", "digits"),
    [
        (4, 11, "kl", 4.4310627244, 1e-10),
        (8, 101, "kl", 27.5964475282, 1e-10),
        # Exact to 7 digits only: the entropy of p, KL + H(p), is 3.5e-8 and 1.6e-7 smaller.
        (4, 11, "ce", 6.2215223575, 4e-8),
        (8, 101, "ce", 29.6342312785, 2e-7),
    ],
)
def test_numbers_computed_elsewhere(
    backend: str, n_rows: int, n_labels: int, divergence: str, value: float, digits: float
) -> None:
    x, y = facts_inputs(n_rows, n_labels)
    criterion = DLDLv2Loss(0, n_labels - 1, sigma=2.0, divergence=divergence, backend=backend)
    x.requires_grad_()
    loss = criterion(x, y)
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=digits)
    if n_labels == 101:
        assert x.grad is not None
        assert x.grad[0, 0].item() == pytest.approx(-6.24077e-2, abs=6e-8)


def test_sum_of_the_density_at_the_end_of_the_grid() -> None:
    """Eq. 1 to the letter has mass 0.5997 at y = 0, and 1 / step inside."""
    ages = functional.label_distribution(torch.tensor([0.0, 50.0]), range(101), 2.0, "gaussian_pdf")
    assert ages.sum(-1).tolist() == pytest.approx([0.5997, 1.0], abs=5e-5)
    fine = functional.label_distribution(
        torch.tensor(3.0), torch.linspace(1, 5, 41), 0.3, "gaussian_pdf"
    )
    assert fine.sum().item() == pytest.approx(10, abs=1e-6)


def test_gradient_of_the_density_is_s_p_hat_minus_p(backend: str) -> None:
    labels = uniform_grid(101)
    x = torch.randn(1, 101, dtype=torch.float64)
    loss, grad = loss_and_grad(
        x, torch.zeros(1), labels=labels, kind="gaussian_pdf", lambda_=0, reduction="sum",
        backend=backend,
    )  # fmt: skip
    p = torch.tensor(by_hand("gaussian_pdf", 0.0, labels.tolist(), 2.0), dtype=torch.float64)
    want = p.sum() * torch.softmax(x[0], -1) - p
    torch.testing.assert_close(grad[0] / row_factors(loss), want, rtol=1e-9, atol=1e-10)
    assert abs(float(p.sum()) - 0.5997) < 5e-5  # and so the term S is visible
    p_hat = torch.softmax(x[0], -1)
    kl = (p * (p.log() - p_hat.log())).nan_to_num(0).sum()
    assert loss.item() == pytest.approx(kl.item(), abs=1e-8)


@pytest.mark.parametrize(
    ("kind", "divergence", "regression"), [*product(KINDS, ("kl", "likelihood"), REGRESSIONS)]
)
def test_closed_form_gradient(backend: str, kind: str, divergence: str, regression: str) -> None:
    """Eq. 17, generalised: w_ld (S p_hat - p) + lambda rho' p_hat (l - y_hat)."""
    labels = bent_grid(12)
    x = torch.randn(8, 12, dtype=torch.float64)
    y = torch.tensor([0.0, 11.0, 0.4, 2.0, 3.3, 5.0, 7.9, 10.0])
    loss, grad = loss_and_grad(
        x, y, labels=labels, kind=kind, divergence=divergence, regression=regression,
        smooth_l1_beta=1.5, lambda_=0.6, ld_weight=1.7, variance_weight=0.3, reduction="none",
        backend=backend,
    )  # fmt: skip
    for i in range(8):
        p = np.array(by_hand(kind, float(y[i].double()), labels.tolist(), 2.0))
        e = np.exp(x[i].numpy())
        p_hat = e / e.sum()
        y_hat = float(p_hat @ labels.numpy())
        error = y_hat - float(y[i].double())
        slope = {
            "l1": np.sign(error),
            "l2": 2 * error,
            "smooth_l1": np.clip(error / 1.5, -1, 1),
        }[regression]
        pull = {"kl": p.sum() * p_hat - p, "likelihood": p_hat * (p @ p_hat - p)}[divergence]
        off = labels.numpy() - y_hat
        want = 1.7 * pull + 0.6 * slope * p_hat * off + 0.3 * p_hat * (off**2 - p_hat @ off**2)
        want *= float(row_factors(loss)[i])
        np.testing.assert_allclose(grad[i], want, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("regression", REGRESSIONS)
@pytest.mark.parametrize("n_labels", [3, 5, 9, 17])  # each width of the kernel's vectors
@pytest.mark.parametrize("dtype", DTYPES)
def test_subgradient_is_zero_where_the_expectation_is_exact(
    backend: str, dtype: torch.dtype, n_labels: int, regression: str
) -> None:
    x = torch.zeros(1, n_labels, dtype=dtype)
    middle = torch.tensor([(n_labels - 1) / 2])
    settings = {"labels": uniform_grid(n_labels), "regression": regression, "backend": backend}
    loss, grad = loss_and_grad(x, middle, ld_weight=0, **settings)
    if loss == 0:
        assert not grad.any()
    else:  # 1 / K is rounded before the labels are summed
        assert backend == "reference" and loss < 1e-6


def test_released_weighting_divides_the_divergence_by_the_number_of_labels(backend: str) -> None:
    x, y = facts_inputs(8, 101)
    _, divergence, regression, _ = functional.label_distribution_loss(
        x, y, labels=uniform_grid(101), return_terms=True, backend=backend
    )
    want = divergence.mean() / 101 + regression.mean()
    assert DLDLv2Loss.official(0, 100, backend=backend)(x, y).item() == pytest.approx(want.item())
    fine = DLDLv2Loss.official(1, 5, 0.1, lambda_=0.5, kind="two_hot")
    assert fine.options.ld_weight == 1 / 41
    assert (fine.options.lambda_, fine.options.kind) == (0.5, "two_hot")
    assert DLDLv2Loss.official(labels=[0, 1, 5]).labels.tolist() == [0, 1, 5]
