from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.optimize import minimize
from scipy.special import log_softmax, softmax, xlogy
from sklearn.exceptions import ConvergenceWarning

from dldl_fast.baselines import BFGSLDL

LABELS = np.array([0.0, 1.0, 2.0, 4.0])
RNG = np.random.RandomState(3)
X = RNG.randn(25, 2)
Y = RNG.uniform(0.0, 4.0, 25)
WEIGHT = RNG.uniform(0.5, 2.0, 25)
HISTOGRAMS = RNG.randint(0, 9, (25, 4)) + np.eye(4)[RNG.randint(0, 4, 25)]


def gaussians(sigma: float) -> np.ndarray:
    p = np.exp(-((LABELS - Y[:, None]) ** 2) / (2 * sigma**2))
    return p / p.sum(1, keepdims=True)


def oracle(p: np.ndarray, weight: np.ndarray, C: float) -> tuple[np.ndarray, float]:
    """Predicted distributions and smallest value, by plain numpy and differences."""

    def objective(v: np.ndarray) -> float:
        W, b = v[:8].reshape(4, 2), v[8:]
        kl = (xlogy(p, p) - p * log_softmax(X @ W.T + b, 1)).sum(1)
        return float((C * (weight * kl).sum() + 0.5 * (W**2).sum()) / (C * weight.sum()))

    found = minimize(objective, np.zeros(12), method="BFGS", options={"gtol": 1e-7})
    return softmax(X @ found.x[:8].reshape(4, 2).T + found.x[8:], 1), found.fun


@pytest.mark.parametrize("C", [0.5, 20.0])
def test_finds_the_minimum(C: float) -> None:
    p_hat, smallest = oracle(gaussians(0.8), WEIGHT, C)
    model = BFGSLDL(labels=LABELS, sigma=0.8, C=C, tol=1e-8).fit(X, Y, sample_weight=WEIGHT)
    assert model.loss_ == pytest.approx(smallest, rel=1e-6)
    assert model.predict_proba(X) == pytest.approx(p_hat, abs=1e-5)
    mean, std = model.predict(X, return_std=True)
    assert mean == pytest.approx(p_hat @ LABELS, abs=1e-5)
    assert std**2 == pytest.approx(p_hat @ LABELS**2 - (p_hat @ LABELS) ** 2, abs=1e-4)


def test_learns_histograms() -> None:
    weight = WEIGHT.copy()
    weight[[4, 20]] = 0.0  # left out of the histograms too
    p = HISTOGRAMS / HISTOGRAMS.sum(1, keepdims=True)
    p_hat, smallest = oracle(p, weight, 5.0)
    model = BFGSLDL(labels=LABELS, C=5.0, tol=1e-8)
    model.fit(X, p @ LABELS, sample_weight=weight, target_distribution=HISTOGRAMS)
    assert model.loss_ == pytest.approx(smallest, rel=1e-6)
    assert model.predict_proba(X) == pytest.approx(p_hat, abs=1e-5)


def test_no_penalty() -> None:
    # One feature that is 1 for one half of the rows: their mean distribution can be met exactly.
    p, half = gaussians(1.0), np.arange(25) < 12
    model = BFGSLDL(labels=LABELS, sigma=1.0, C=math.inf, tol=1e-9).fit(half[:, None] * 1.0, Y)
    assert model.predict_proba([[1.0], [0.0]]) == pytest.approx(
        np.stack([p[half].mean(0), p[~half].mean(0)]), abs=1e-6
    )


@pytest.mark.parametrize(("labels", "sigma"), [(range(0, 101), 2.0), (range(1, 6), 0.5)])
def test_default_sigma(labels: range, sigma: float) -> None:
    y = np.linspace(labels[0], labels[-1], 25)
    assert BFGSLDL(labels=labels).fit(X, y).sigma_ == sigma


def test_warns_when_it_has_not_converged() -> None:
    with pytest.warns(ConvergenceWarning, match="not converged after 2 iterations"):
        model = BFGSLDL(labels=LABELS, max_iter=2).fit(X, Y)
    assert model.n_iter_ == 2


@pytest.mark.parametrize(
    ("histograms", "labels", "message"),
    [
        (HISTOGRAMS, None, "labels must be given for a target_distribution"),
        (HISTOGRAMS[:, :3], LABELS, r"target_distribution must have shape \[25, 4\]"),
        (HISTOGRAMS[:20], LABELS, r"inconsistent numbers of samples: \[25, 20\]"),
        (-HISTOGRAMS, LABELS, "target_distribution"),
        (HISTOGRAMS * np.nan, LABELS, "target_distribution contains NaN"),
    ],
)
def test_bad_histograms(histograms: np.ndarray, labels: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BFGSLDL(labels=labels).fit(X, Y, target_distribution=histograms)
