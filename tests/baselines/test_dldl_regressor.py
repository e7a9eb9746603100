from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from dldl_fast import functional
from dldl_fast.estimators import DLDLRegressor
from dldl_fast.training import TrainingDivergedError

RNG = np.random.RandomState(4)
X = RNG.randn(120, 3) * [1.0, 50.0, 0.02] + [0.0, 300.0, 0.0]
Y = np.round(20 + 5 * X[:, 0] + 0.1 * (X[:, 1] - 300) + 0.5 * RNG.randn(120))


def small(**settings: object) -> DLDLRegressor:
    defaults = {"epochs": 60, "batch_size": 32, "learning_rate": 0.02, "random_state": 0}
    return DLDLRegressor((32,), **{**defaults, **settings})


def test_learns_from_features_of_any_scale() -> None:
    model = small().fit(X[:90], Y[:90])
    error = np.abs(model.predict(X[90:]) - Y[90:]).mean()
    assert error < 0.25 * np.abs(np.median(Y[:90]) - Y[90:]).mean()
    assert len(model.loss_curve_) == model.n_iter_ == 60
    assert model.loss_curve_[-1] < 0.3 * model.loss_curve_[0]


def test_the_last_step_is_that_of_the_loss() -> None:
    """One step of plain torch from the same initial weights."""
    labels = torch.arange(-10, 61, dtype=torch.float64)
    settings = {"epochs": 1, "batch_size": 200, "labels": labels.numpy(), "weight_decay": 0.0}
    before = small(**settings, learning_rate=1e-300).fit(X, Y).network_
    weight = RNG.uniform(0.5, 2.0, 120)
    model = small(**settings, sigma=3.0, lambda_=0.5).fit(X, Y, sample_weight=weight)
    mean = np.average(X, axis=0, weights=weight)
    std = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))

    optimizer = torch.optim.Adam(before.parameters(), lr=0.02)
    logits = before(torch.tensor((X - mean) / std))
    target, w = torch.tensor(Y), torch.tensor(weight)
    p = functional.label_distribution(target, labels, 3.0)
    log_p_hat = torch.log_softmax(logits, -1)
    kl = (torch.xlogy(p, p) - p * log_p_hat).sum(-1)
    loss = (w * (kl + 0.5 * (log_p_hat.exp() @ labels - target).abs())).sum() / w.sum()
    loss.backward()
    optimizer.step()
    assert model.loss_curve_ == pytest.approx([loss.item()])
    for fitted, stepped in zip(model.network_.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(fitted, stepped)


def test_prediction_is_expectation_and_deviation_of_the_distribution() -> None:
    model = small(epochs=5, labels=[0, 10, 20, 25, 50]).fit(X, Y)
    p_hat = model.predict_proba(X)
    assert p_hat.shape == (120, 5)
    assert p_hat.sum(1) == pytest.approx(1)
    mean, std = model.predict(X, return_std=True)
    assert mean == pytest.approx(p_hat @ model.labels_)
    assert std == pytest.approx(np.sqrt((p_hat * (model.labels_ - mean[:, None]) ** 2).sum(1)))


def test_seed() -> None:
    state = torch.get_rng_state()
    one, same, other = (
        small(epochs=3, dropout=0.3, random_state=seed).fit(X, Y).predict(X) for seed in (5, 5, 6)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_is_for_training_only() -> None:
    model = small(epochs=3, dropout=0.9).fit(X, Y)
    assert np.array_equal(model.predict(X), model.predict(X))


def test_computes_in_the_float_type_of_the_features() -> None:
    single = small().fit(X.astype(np.float32), Y)
    assert single.network_[0].weight.dtype == torch.float32
    assert single.predict_proba(X).dtype == np.float32
    assert small(epochs=1).fit(X, Y).network_[0].weight.dtype == torch.float64


def test_a_linear_model() -> None:
    model = DLDLRegressor((), epochs=1).fit(X, Y)
    assert [tuple(p.shape) for p in model.network_.parameters()] == [
        (len(model.labels_), 3),
        (len(model.labels_),),
    ]


def test_diverged_training_is_an_error() -> None:
    with pytest.raises(TrainingDivergedError, match="lower the learning_rate"):
        small(learning_rate=1e300).fit(X, Y)
