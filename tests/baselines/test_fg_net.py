"""Real data: ages from features of FG-NET faces, where the material beside the project is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.io import loadmat
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from dldl_fast.baselines import BFGSLDL, OHRank, linear_svr
from dldl_fast.estimators import DLDLRegressor

FG_NET = Path(__file__).parents[3] / "shared" / "data" / "FG-Net.mat"


@pytest.mark.skipif(not FG_NET.exists(), reason=f"{FG_NET.name} is not beside the project")
@pytest.mark.parametrize(
    "model",
    [
        linear_svr(),
        make_pipeline(Normalizer(), OHRank(labels=range(70))),
        make_pipeline(Normalizer(), BFGSLDL(labels=range(70))),
        DLDLRegressor(labels=range(70), epochs=40, random_state=0),
    ],
    ids=["SVR", "OHRank", "BFGS-LDL", "DLDL-v2"],
)
def test_error_is_far_below_that_of_the_median(model: Any) -> None:
    data = loadmat(FG_NET)
    X, y = data["features"].astype(np.float32), data["age"].ravel()
    order = np.random.RandomState(0).permutation(len(y))
    train, test = order[200:], order[:200]
    error = np.abs(model.fit(X[train], y[train]).predict(X[test]) - y[test]).mean()
    assert error < 0.65 * np.abs(np.median(y[train]) - y[test]).mean()
