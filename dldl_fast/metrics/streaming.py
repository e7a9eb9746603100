"""The metrics of `dldl_fast.metrics` as torchmetrics classes, fed batch by batch.

One class for every function: ``MAEMetric`` for `mae`, ``CRPSMetric`` for `crps`. Fed with batches
of any sizes, also empty ones, and by any number of processes, a class gives what its function gives
for all rows at once, in float64. What is kept are sums, none of the rows. ``update`` takes the
arguments of the function that belong to the rows and raises its errors; ``__init__`` takes the
others, and those of `torchmetrics.Metric`. Without any row the result is NaN, with a warning.

Needs torchmetrics: ``pip install 'dldl_fast[metrics]'``.

Example:
    >>> metric = MAEMetric()
    >>> metric.update(torch.tensor([20.0, 31.0]), torch.tensor([22.0, 30.0]))
    >>> metric.update(torch.tensor([40.0]), torch.tensor([43.0]))
    >>> metric.compute()
    tensor(2., dtype=torch.float64)
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dldl_fast.data.base import MissingExtraError
from dldl_fast.labels import as_label_grid
from dldl_fast.metrics.classes import near_rows
from dldl_fast.metrics.correlation import comoments, correlation, merge_comoments
from dldl_fast.metrics.distributions import (
    CALIBRATION_LEVELS,
    calibration_rows,
    check_interval_level,
    crps_rows,
    emd_rows,
    interval_coverage_rows,
    interval_width_rows,
    mean_calibration_error,
)
from dldl_fast.metrics.groups import as_borders, as_groups, sums_and_counts
from dldl_fast.metrics.values import (
    as_thresholds,
    cumulative_score_rows,
    e_error_rows,
    error_rows,
)

try:
    from torchmetrics import Metric
except ImportError as error:
    raise MissingExtraError(
        "dldl_fast.metrics.streaming needs the package 'torchmetrics'; "
        "run: pip install 'dldl_fast[metrics]'"
    ) from error


class _MeanMetric(Metric):
    """Mean over all rows, from their sum and their number.

    Args:
        shape: shape of the sum.
        settings: what the metric was made with.
        counted_apart: whether each entry of the sum has a number of rows of its own.
    """

    is_differentiable = False
    full_state_update = False
    count: Tensor

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        settings: object = None,
        counted_apart: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # MetricCollection lets two metrics share their states for good if those have the same names
        # and, after the first batch, the same values. So a name says what is summed.
        settings_id = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        self._sum_name = f"sum_{type(self).__name__}_{settings_id}"
        self.add_state(self._sum_name, torch.zeros(shape, dtype=torch.float64), "sum")
        n_counts = shape if counted_apart else ()
        self.add_state("count", torch.zeros(n_counts, dtype=torch.int64), "sum")

    def _add(self, sums: Tensor, count: int | Tensor) -> None:
        setattr(self, self._sum_name, getattr(self, self._sum_name) + sums)
        self.count = self.count + count

    def _add_rows(self, rows: Tensor) -> None:
        self._add(rows.sum(0), len(rows))

    def compute(self) -> Tensor:
        """The metric of all rows so far."""
        if not bool(self.count.any()):
            _warn_of_no_rows(self)
        mean: Tensor = getattr(self, self._sum_name) / self.count
        return mean


class MAEMetric(_MeanMetric):
    """`dldl_fast.metrics.mae` (Eq. 19), streaming.

    Example:
        >>> MAEMetric()(torch.tensor([20.0, 31.0]), torch.tensor([22.0, 30.0])).item()
        1.5
    """

    higher_is_better = False

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add values, both [N]."""
        self._add_rows(error_rows(prediction, target).abs())


class BiasMetric(_MeanMetric):
    """`dldl_fast.metrics.bias`, streaming.

    Example:
        >>> BiasMetric()(torch.tensor([20.0, 31.0]), torch.tensor([22.0, 30.0])).item()
        -0.5
    """

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add values, both [N]."""
        self._add_rows(error_rows(prediction, target))


class RMSEMetric(_MeanMetric):
    """`dldl_fast.metrics.rmse` (Eq. 21), streaming.

    Example:
        >>> RMSEMetric()(torch.tensor([23.0, 34.0]), torch.tensor([22.0, 27.0])).item()
        5.0
    """

    higher_is_better = False

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add values, both [N]."""
        self._add_rows(error_rows(prediction, target).square())

    def compute(self) -> Tensor:
        """The metric of all rows so far."""
        return super().compute().sqrt()


class EErrorMetric(_MeanMetric):
    """`dldl_fast.metrics.e_error` (Eq. 20), streaming.

    Example:
        >>> metric = EErrorMetric()
        >>> round(metric(torch.tensor([30.0, 32.0]), torch.tensor([30.0, 30.0]), 2.0).item(), 6)
        0.196735
    """

    higher_is_better = False

    def update(self, prediction: Tensor, target: Tensor, sigma: float | Tensor) -> None:
        """Add values, both [N], and their sigma, a number or [N]."""
        self._add_rows(e_error_rows(prediction, target, sigma))


class CumulativeScoreMetric(_MeanMetric):
    """`dldl_fast.metrics.cumulative_score`, streaming.

    Args:
        threshold: t, >= 0, in the unit of the target: a number, or T of them for a curve.
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> CumulativeScoreMetric(5)(torch.tensor([20.0, 31.0]), torch.tensor([22.0, 25.0])).item()
        0.5
    """

    higher_is_better = True

    def __init__(self, threshold: float | Sequence[float], **kwargs: Any) -> None:
        thresholds = as_thresholds(threshold)
        super().__init__(tuple(thresholds.shape), thresholds.tolist(), **kwargs)
        self._thresholds = thresholds

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add values, both [N]."""
        self._add_rows(cumulative_score_rows(prediction, target, self._thresholds))


class AccuracyMetric(_MeanMetric):
    """`dldl_fast.metrics.accuracy`, streaming.

    Example:
        >>> AccuracyMetric()(torch.tensor([3, 5, 0, 7]), torch.tensor([3, 4, 0, 2])).item()
        0.5
    """

    higher_is_better = True

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add numbers of groups, both [N]."""
        self._add_rows(near_rows(prediction, target, 0))


class OneOffAccuracyMetric(_MeanMetric):
    """`dldl_fast.metrics.one_off_accuracy`, streaming.

    Example:
        >>> OneOffAccuracyMetric()(torch.tensor([3, 5, 0, 7]), torch.tensor([3, 4, 0, 2])).item()
        0.75
    """

    higher_is_better = True

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add numbers of groups, both [N]."""
        self._add_rows(near_rows(prediction, target, 1))


class PearsonMetric(Metric):
    """`dldl_fast.metrics.pearson` (Eq. 22), streaming.

    Kept are means and sums of squares about them, merged by the formula of Chan, Golub and LeVeque
    (1983): an offset of the values costs no digits.

    Args:
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> metric = PearsonMetric()
        >>> metric.update(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]))
        >>> metric.update(torch.tensor([4.0]), torch.tensor([4.0]))
        >>> round(metric.compute().item(), 6)
        0.981981
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = True
    comoments: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("comoments", torch.zeros(6, dtype=torch.float64), merge_comoments)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add values, both [N]."""
        added = comoments(prediction, target)
        self.comoments = merge_comoments(torch.stack([self.comoments, added]))

    def compute(self) -> Tensor:
        """The metric of all rows so far."""
        if self.comoments[0] == 0:
            _warn_of_no_rows(self)
            return torch.full_like(self.comoments[0], torch.nan)
        return correlation(self.comoments)


class _GroupMetric(_MeanMetric):
    """Mean over the rows of each group.

    Args:
        borders: increasing numbers between the labels of G groups, G - 1 of them.
        n_groups: instead of borders, G; ``update`` is told the group of each value then.
        kwargs: arguments of `torchmetrics.Metric`.
    """

    def __init__(
        self,
        *,
        borders: Sequence[float] | Tensor | None = None,
        n_groups: int | None = None,
        **kwargs: Any,
    ) -> None:
        if (borders is None) == (n_groups is None):
            raise ValueError("give either borders=[...] between labels or n_groups=G")
        if n_groups is not None and n_groups < 1:
            raise ValueError(f"n_groups must be at least 1, got {n_groups}")
        between = None if borders is None else as_borders(borders)
        if between is None:
            shape, settings = (n_groups or 0,), []
        else:
            shape, settings = (len(between) + 1,), between.tolist()
        super().__init__(shape, settings, counted_apart=True, **kwargs)
        self._borders, self._n_groups = between, n_groups

    def _add_to_groups(self, rows: Tensor, target: Tensor, groups: Tensor | None) -> None:
        self._add(*sums_and_counts(rows, *as_groups(target, self._borders, groups, self._n_groups)))


class GroupMAEMetric(_GroupMetric):
    """`dldl_fast.metrics.group_mae`, streaming; NaN for a group without values.

    Args:
        borders: increasing numbers between the labels of G groups, G - 1 of them.
        n_groups: instead of borders, G; ``update`` is told the group of each value then.
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> metric = GroupMAEMetric(borders=[18])
        >>> metric(torch.tensor([9.0, 19.0, 70.0]), torch.tensor([8.0, 18.0, 60.0]))
        tensor([1.0000, 5.5000], dtype=torch.float64)
    """

    higher_is_better = False

    def update(self, prediction: Tensor, target: Tensor, groups: Tensor | None = None) -> None:
        """Add values, both [N], and without borders their groups, integers [N] in [0, G)."""
        self._add_to_groups(error_rows(prediction, target).abs(), target, groups)


class GroupBiasMetric(_GroupMetric):
    """`dldl_fast.metrics.group_bias`, streaming; NaN for a group without values.

    Args:
        borders: increasing numbers between the labels of G groups, G - 1 of them.
        n_groups: instead of borders, G; ``update`` is told the group of each value then.
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> metric = GroupBiasMetric(n_groups=2)
        >>> metric(torch.tensor([9.0, 17.0]), torch.tensor([8.0, 18.0]), torch.tensor([1, 0]))
        tensor([-1.,  1.], dtype=torch.float64)
    """

    def update(self, prediction: Tensor, target: Tensor, groups: Tensor | None = None) -> None:
        """Add values, both [N], and without borders their groups, integers [N] in [0, G)."""
        self._add_to_groups(error_rows(prediction, target), target, groups)


class _DistributionMetric(_MeanMetric):
    """Mean over the rows of distributions on a label grid.

    Args:
        labels: label grid, K increasing numbers.
        shape: shape of the sum.
        level: for intervals.
        kwargs: arguments of `torchmetrics.Metric`.
    """

    def __init__(
        self,
        labels: Tensor | Sequence[float],
        shape: tuple[int, ...] = (),
        level: float | None = None,
        **kwargs: Any,
    ) -> None:
        grid = as_label_grid(labels)
        super().__init__(shape, (grid.tolist(), level), **kwargs)
        self._labels = grid


class CRPSMetric(_DistributionMetric):
    """`dldl_fast.metrics.crps`, streaming.

    Args:
        labels: label grid, K increasing numbers.
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> CRPSMetric([0, 1, 2])(torch.tensor([[0.25, 0.5, 0.25]]), torch.tensor([1.0])).item()
        0.125
    """

    higher_is_better = False

    def update(self, distribution: Tensor, target: Tensor) -> None:
        """Add probabilities [N, K] and true values [N]."""
        self._add_rows(crps_rows(distribution, target, self._labels))


class EMDMetric(_DistributionMetric):
    """`dldl_fast.metrics.emd`, streaming.

    Args:
        labels: label grid, K increasing numbers.
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> p, q = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.0, 0.5, 0.5]])
        >>> EMDMetric([0, 1, 3])(p, q).item()
        1.5
    """

    higher_is_better = False

    def update(self, distribution: Tensor, target_distribution: Tensor) -> None:
        """Add predicted and target probabilities, both [N, K]."""
        self._add_rows(emd_rows(distribution, target_distribution, self._labels))


class IntervalCoverageMetric(_DistributionMetric):
    """`dldl_fast.metrics.interval_coverage`, streaming.

    Args:
        labels: label grid, K increasing numbers.
        level: the probability that the interval is for, in (0, 1).
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> p = torch.tensor([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
        >>> IntervalCoverageMetric([0, 1, 2], level=0.5)(p, torch.tensor([1.0, 2.0])).item()
        0.5
    """

    def __init__(self, labels: Tensor | Sequence[float], level: float = 0.9, **kwargs: Any) -> None:
        super().__init__(labels, level=check_interval_level(level), **kwargs)
        self._level = level

    def update(self, distribution: Tensor, target: Tensor) -> None:
        """Add probabilities [N, K] and true values [N]."""
        self._add_rows(interval_coverage_rows(distribution, target, self._labels, self._level))


class IntervalWidthMetric(_DistributionMetric):
    """`dldl_fast.metrics.interval_width`, streaming.

    Args:
        labels: label grid, K increasing numbers.
        level: the probability that the interval is for, in (0, 1).
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> p = torch.tensor([[0.1, 0.8, 0.1], [0.3, 0.4, 0.3]])
        >>> IntervalWidthMetric([0, 1, 2], level=0.5)(p).item()
        1.0
    """

    def __init__(self, labels: Tensor | Sequence[float], level: float = 0.9, **kwargs: Any) -> None:
        super().__init__(labels, level=check_interval_level(level), **kwargs)
        self._level = level

    def update(self, distribution: Tensor) -> None:
        """Add probabilities [N, K]."""
        self._add_rows(interval_width_rows(distribution, self._labels, self._level))


class CalibrationErrorMetric(_DistributionMetric):
    """`dldl_fast.metrics.calibration_error`, streaming.

    Args:
        labels: label grid, K increasing numbers.
        kwargs: arguments of `torchmetrics.Metric`.

    Example:
        >>> metric = CalibrationErrorMetric([0, 1])
        >>> for y in (0.0, 1.0):
        ...     metric.update(torch.tensor([[0.5, 0.5]]), torch.tensor([y]))
        >>> round(metric.compute().item(), 6)
        0.0
    """

    higher_is_better = False

    def __init__(self, labels: Tensor | Sequence[float], **kwargs: Any) -> None:
        super().__init__(labels, tuple(CALIBRATION_LEVELS.shape), **kwargs)

    def update(self, distribution: Tensor, target: Tensor) -> None:
        """Add probabilities [N, K] and true values [N]."""
        self._add_rows(calibration_rows(distribution, target, self._labels))

    def compute(self) -> Tensor:
        """The metric of all rows so far."""
        return mean_calibration_error(super().compute())


def _warn_of_no_rows(metric: Metric) -> None:
    warnings.warn(f"{type(metric).__name__} was given no rows; its result is NaN", stacklevel=3)
