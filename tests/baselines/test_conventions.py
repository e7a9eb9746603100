"""What holds for all estimators: scikit-learn's conventions, checks of the input, lazy imports."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from dldl_fast.baselines import BFGSLDL, OHRank
from dldl_fast.estimators import DLDLRegressor, LabelDistributionRegressor

ESTIMATORS = [OHRank(), BFGSLDL(), DLDLRegressor((32,), epochs=15, learning_rate=0.01)]
X = np.random.RandomState(0).randn(30, 3)
Y = np.repeat([1.0, 2.0, 4.0], 10)


def _not_for_us(estimator: Any) -> dict[str, str]:
    if not isinstance(estimator, LabelDistributionRegressor):
        return {}
    return {"check_regressors_no_decision_function": "predict_proba is the predicted distribution"}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=_not_for_us)
def test_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
class TestEveryEstimator:
    def test_default_labels(self, estimator: Any) -> None:
        model = clone(estimator)
        assert model.fit(X, Y).labels_.tolist() == [1, 2, 3, 4]
        assert model.fit(X, Y / 3).labels_ == pytest.approx(np.linspace(1 / 3, 4 / 3, 101))
        assert len(model.fit(X, Y * 25).labels_) == 76
        assert model.fit(X, Y * 50).labels_ == pytest.approx(np.linspace(50, 200, 101))

    def test_given_labels(self, estimator: Any) -> None:
        model = clone(estimator).set_params(labels=np.array([0.0, 1.0, 2.5, 4.0]))
        assert model.fit(X, Y).labels_.tolist() == [0, 1, 2.5, 4]
        prediction = model.predict(X)
        assert prediction.dtype == np.float64
        assert prediction.min() >= 0
        assert prediction.max() <= 4

    def test_values_outside_the_labels(self, estimator: Any) -> None:
        model = clone(estimator).set_params(labels=range(1, 4))
        with pytest.raises(
            ValueError, match="y must lie within the labels, from 1 to 3, got y = 4"
        ):
            model.fit(X, Y)

    def test_one_value_only(self, estimator: Any) -> None:
        with pytest.raises(ValueError, match=r"y holds nothing but 2, .* give labels"):
            clone(estimator).fit(X, np.full(30, 2.0))

    @pytest.mark.parametrize(
        ("weight", "message"),
        [
            (np.full(30, -1.0), "sample_weight must be >= 0, got -1"),
            (np.zeros(30), "sample_weight must be above 0 for at least one row"),
            (np.ones((30, 1)), r"sample_weight must have shape \[N\], got \[30, 1\]"),
            (np.full(30, np.nan), "sample_weight contains NaN"),
            (np.ones(29), r"inconsistent numbers of samples: \[30, 29\]"),
        ],
    )
    def test_bad_weights(self, estimator: Any, weight: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            clone(estimator).fit(X, Y, sample_weight=weight)

    def test_pickle(self, estimator: Any) -> None:
        model = clone(estimator).fit(X.astype(np.float32), Y)
        again = pickle.loads(pickle.dumps(model))
        assert np.array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (OHRank(C=0.0), "C"),
        (OHRank(tol=0), "tol"),
        (OHRank(max_iter=0), "max_iter"),
        (BFGSLDL(C=-1.0), "C"),
        (BFGSLDL(tol=-1.0), "tol"),
        (BFGSLDL(max_iter=0), "max_iter"),
        (BFGSLDL(sigma=-1.0), "sigma"),
        (DLDLRegressor((8, 0)), "hidden_layer_sizes"),
        (DLDLRegressor(epochs=0), "epochs"),
        (DLDLRegressor(batch_size=0), "batch_size"),
        (DLDLRegressor(learning_rate=0.0), "learning_rate"),
        (DLDLRegressor(weight_decay=-0.1), "weight_decay"),
        (DLDLRegressor(dropout=1.0), "dropout"),
        (DLDLRegressor(sigma=float("nan")), "sigma"),
        (DLDLRegressor(lambda_=-1.0), "lambda_"),
        (DLDLRegressor(device="abacus"), "device"),
        (DLDLRegressor(labels=[3, 2, 1]), "labels"),
    ],
)
def test_bad_settings_are_named(estimator: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        estimator.fit(X, Y)


def test_without_scikit_learn() -> None:
    code = """
import sys
import dldl_fast
import dldl_fast.data
assert "sklearn" not in sys.modules and "scipy" not in sys.modules
sys.modules["sklearn"] = None
for package in ("baselines", "estimators"):
    try:
        __import__("dldl_fast." + package)
    except dldl_fast.data.MissingExtraError as error:
        print(error)
"""
    lines = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    message = "estimators need the package 'sklearn', which is not installed; "
    assert lines == [message + "run: pip install 'dldl_fast[baselines]'"] * 2
