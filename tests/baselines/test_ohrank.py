from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.optimize import minimize

from dldl_fast.baselines import OHRank
from dldl_fast.baselines.ohrank import absolute_costs


def test_costs_are_the_smallest_error_of_a_wrong_answer() -> None:
    labels = np.array([0.0, 1.0, 3.0, 7.0])
    costs = absolute_costs(labels, labels)
    for k in range(3):
        for i, y in enumerate(labels):
            # All labels that are on the other side of l_k than y.
            wrong = labels[: k + 1] if y > labels[k] else labels[k + 1 :]
            assert costs[k, i] == np.abs(wrong - y).min()


def test_hyperplanes_minimise_the_weighted_squared_hinge() -> None:
    rng = np.random.RandomState(1)
    X = rng.randn(40, 2)
    y = np.clip(np.round(2 + 1.5 * X[:, 0] + 0.8 * rng.randn(40)), 0, 4)
    weight = rng.uniform(0.5, 2.0, 40)
    labels, C = np.arange(5.0), 0.7
    model = OHRank(labels=labels, C=C, tol=1e-10).fit(X, y, sample_weight=weight)
    for k in range(4):
        sign = np.where(y > labels[k], 1.0, -1.0)
        cost = np.where(y > labels[k], y - labels[k], labels[k + 1] - y)
        cost = cost * weight.sum() / (cost * weight).sum()

        # Liblinear's penalty includes the intercept.
        def objective(v: np.ndarray, sign: np.ndarray = sign, cost: np.ndarray = cost) -> float:
            hinge = np.maximum(0, 1 - sign * (X @ v[:2] + v[2]))
            return float(0.5 * v @ v + C * (weight * cost * hinge**2).sum())

        best = minimize(objective, np.zeros(3), options={"gtol": 1e-8}).x
        assert [*model.coef_[k], model.intercept_[k]] == pytest.approx(best, abs=1e-5)


def test_counts_the_answers() -> None:
    model = OHRank(labels=[10, 20, 25, 40], C=10.0).fit([[0.0], [1.0]], [10, 40])
    model.coef_ = np.array([[1.0], [-1.0], [1.0]])
    model.intercept_ = np.array([0.5, 0.0, -1.0])
    # Answers that contradict each other count all the same.
    assert model.predict([[-2.0], [0.0], [0.7], [3.0]]).tolist() == [20, 20, 20, 25]


def test_separable_labels_and_labels_that_are_absent() -> None:
    X = np.repeat(np.arange(5.0), 3)[:, None]
    y = np.repeat([2.0, 3.0, 5.0, 8.0, 9.0], 3)
    model = OHRank(labels=range(0, 12), C=1e4).fit(X, y)
    assert model.predict(X).tolist() == y.tolist()
    assert (model.coef_[[0, 1, 9, 10]] == 0).all()
    assert np.sign(model.intercept_[[0, 1, 9, 10]]).tolist() == [1, 1, -1, -1]


def test_values_between_labels_count_as_the_nearest() -> None:
    X = np.arange(6.0)[:, None]
    between = OHRank(labels=[0, 1, 2]).fit(X, [0.4, 0.0, 0.6, 1.4, 1.6, 2.0])
    nearest = OHRank(labels=[0, 1, 2]).fit(X, [0, 0, 1, 1, 2, 2])
    assert np.array_equal(between.coef_, nearest.coef_)


def test_the_unit_and_the_number_of_threads_change_nothing() -> None:
    rng = np.random.RandomState(2)
    X, y = rng.randn(50, 4), rng.randint(0, 6, 50)
    years = OHRank(labels=range(6)).fit(X, y)
    months = OHRank(labels=12 * np.arange(6), n_jobs=2).fit(X, 12 * y)
    assert months.coef_ == pytest.approx(years.coef_)
    assert months.predict(X).tolist() == (12 * years.predict(X)).tolist()
