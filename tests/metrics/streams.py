"""Every streaming metric beside its function, and rows to feed both with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dldl_fast import metrics
from dldl_fast.metrics import streaming

LABELS = [0, 1, 2, 4, 8, 16, 17]
BORDERS = [3, 9]
N_GROUPS = 5


class Case(NamedTuple):
    name: str
    make: Callable[[], Any]
    function: Callable[..., Tensor]
    arguments: tuple[str, ...]


VALUES = ("prediction", "target")
GROUPS = ("predicted_groups", "groups")
ON_GRID = ("distribution", "target")
CASES = [
    Case("mae", streaming.MAEMetric, metrics.mae, VALUES),
    Case("bias", streaming.BiasMetric, metrics.bias, VALUES),
    Case("rmse", streaming.RMSEMetric, metrics.rmse, VALUES),
    Case("e_error", streaming.EErrorMetric, metrics.e_error, (*VALUES, "sigma")),
    Case("pearson", streaming.PearsonMetric, metrics.pearson, VALUES),
    Case(
        "cumulative_score",
        lambda: streaming.CumulativeScoreMetric(2),
        lambda *rows: metrics.cumulative_score(*rows, 2),
        VALUES,
    ),
    Case(
        "cumulative_score_curve",
        lambda: streaming.CumulativeScoreMetric([0.5, 1, 2]),
        lambda *rows: metrics.cumulative_score(*rows, [0.5, 1, 2]),
        VALUES,
    ),
    Case("accuracy", streaming.AccuracyMetric, metrics.accuracy, GROUPS),
    Case("one_off_accuracy", streaming.OneOffAccuracyMetric, metrics.one_off_accuracy, GROUPS),
    Case(
        "group_mae",
        lambda: streaming.GroupMAEMetric(borders=BORDERS),
        lambda *rows: metrics.group_mae(*rows, borders=BORDERS),
        VALUES,
    ),
    Case(
        "group_mae_by_number",
        lambda: streaming.GroupMAEMetric(n_groups=N_GROUPS),
        lambda p, t, g: metrics.group_mae(p, t, groups=g, n_groups=N_GROUPS),
        (*VALUES, "groups"),
    ),
    Case(
        "group_bias",
        lambda: streaming.GroupBiasMetric(n_groups=N_GROUPS),
        lambda p, t, g: metrics.group_bias(p, t, groups=g, n_groups=N_GROUPS),
        (*VALUES, "groups"),
    ),
    Case(
        "crps",
        lambda: streaming.CRPSMetric(LABELS),
        lambda *rows: metrics.crps(*rows, LABELS),
        ON_GRID,
    ),
    Case(
        "emd",
        lambda: streaming.EMDMetric(LABELS),
        lambda *rows: metrics.emd(*rows, LABELS),
        ("distribution", "target_distribution"),
    ),
    Case(
        "interval_coverage",
        lambda: streaming.IntervalCoverageMetric(LABELS, 0.6),
        lambda *rows: metrics.interval_coverage(*rows, LABELS, 0.6),
        ON_GRID,
    ),
    Case(
        "interval_width",
        lambda: streaming.IntervalWidthMetric(LABELS),
        lambda *rows: metrics.interval_width(*rows, LABELS),
        ("distribution",),
    ),
    Case(
        "calibration_error",
        lambda: streaming.CalibrationErrorMetric(LABELS),
        lambda *rows: metrics.calibration_error(*rows, LABELS),
        ON_GRID,
    ),
]


def make_rows(count: int) -> dict[str, Tensor]:
    """Named arguments of `count` rows; the last group is empty."""
    random = torch.Generator().manual_seed(7)
    target = 17 * torch.rand(count, generator=random, dtype=torch.float64)
    return {
        "prediction": target + torch.randn(count, generator=random),
        "target": target,
        "sigma": torch.rand(count, generator=random),
        "groups": torch.randint(N_GROUPS - 1, (count,), generator=random),
        "distribution": torch.randn(count, len(LABELS), generator=random).softmax(-1),
        "target_distribution": torch.randn(count, len(LABELS), generator=random).softmax(-1),
        "predicted_groups": torch.randint(N_GROUPS, (count,), generator=random),
    }


def batches(case: Case, rows: dict[str, Tensor], sizes: list[int]) -> list[tuple[Tensor, ...]]:
    """The arguments of a case, cut into batches."""
    return list(zip(*(rows[name].split(sizes) for name in case.arguments), strict=True))
