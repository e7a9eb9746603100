"""Evaluation metrics: those of the paper's section 4.2 and what practitioners ask for beside them.

Every metric is a function of all predictions at once, in float64. `dldl_fast.metrics.streaming`
holds the same metrics as classes that are fed batch by batch, also in several processes; it needs
torchmetrics, the functions do not.
"""

from dldl_fast.metrics.classes import accuracy, one_off_accuracy
from dldl_fast.metrics.correlation import pearson
from dldl_fast.metrics.distributions import (
    calibration_error,
    crps,
    emd,
    interval_coverage,
    interval_width,
)
from dldl_fast.metrics.groups import group_bias, group_mae
from dldl_fast.metrics.values import bias, cumulative_score, e_error, mae, rmse

__all__ = [
    "accuracy",
    "bias",
    "calibration_error",
    "crps",
    "cumulative_score",
    "e_error",
    "emd",
    "group_bias",
    "group_mae",
    "interval_coverage",
    "interval_width",
    "mae",
    "one_off_accuracy",
    "pearson",
    "rmse",
]
