"""What is compared besides networks: the paper's two-stage methods, and the best constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from torch import Tensor

from dldl_fast.baselines import BFGSLDL, OHRank, linear_svr

TWO_STAGE: dict[str, Callable[[Tensor, float], Any]] = {
    "linear-svr": lambda labels, sigma: linear_svr(),
    "ohrank": lambda labels, sigma: make_pipeline(Normalizer(), OHRank(labels=labels)),
    "bfgs-ldl": lambda labels, sigma: make_pipeline(
        Normalizer(), BFGSLDL(labels=labels, sigma=sigma)
    ),
}
"""Estimators of L2-normalised features, with their default settings, by name."""

MEDIAN = "median"
"""The constant with the smallest mean absolute error on the training rows."""


def fit_two_stage(
    name: str,
    labels: Tensor,
    features: Tensor,
    target: Tensor,
    sigma: Tensor,
    test_features: Tensor,
) -> Tensor:
    """Predictions, float64 [M], of features [M, F] by an estimator fitted to [N, F].

    Features are standardised by the training rows, as for the networks, and then L2-normalised.
    `BFGSLDL` takes one sigma for all rows: the mean of theirs.
    """
    model = make_pipeline(StandardScaler(), TWO_STAGE[name](labels, float(sigma.mean())))
    model.fit(features.numpy(), target.numpy())
    return torch.from_numpy(model.predict(test_features.numpy())).double()
