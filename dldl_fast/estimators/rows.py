"""What `fit` is given, checked: features, values, row weights, and the label grid of the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_consistent_length, validate_data
from torch import Tensor

from dldl_fast.labels import as_label_grid, label_grid

DEFAULT_LABELS = 101  # as on the paper's grid of ages, 0 to 100


class Rows(NamedTuple):
    """Rows of a weight above 0; the others count as if they were not there."""

    X: NDArray[Any]
    """[N, F], float32 or float64 as given."""
    y: NDArray[np.float64]
    """[N]."""
    weight: NDArray[np.float64]
    """[N]."""
    kept: NDArray[np.bool_]
    """Which of the given rows these are."""


def check_rows(
    estimator: BaseEstimator, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> Rows:
    """Check what `fit` is given, and remember the features in the estimator as scikit-learn does.

    Raises:
        ValueError: naming X, y or sample_weight, if it has another shape, NaN or infinities,
            negative weights, or fewer than two rows.
    """
    X, y = validate_data(
        estimator, X, y, dtype=[np.float64, np.float32], y_numeric=True, ensure_min_samples=2
    )
    values = np.asarray(y, dtype=np.float64)
    if sample_weight is None:
        weight = np.ones(len(values))
    else:
        weight = check_array(
            sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
        )
        if weight.ndim != 1:
            raise ValueError(f"sample_weight must have shape [N], got {list(weight.shape)}")
        check_consistent_length(values, weight)
        if (weight < 0).any():
            raise ValueError(f"sample_weight must be >= 0, got {weight.min():g}")
        if not weight.any():
            raise ValueError("sample_weight must be above 0 for at least one row, got zeros only")
    kept = weight > 0
    return Rows(np.asarray(X)[kept], values[kept], weight[kept], kept)


def fit_label_grid(
    labels: Tensor | Sequence[float] | NDArray[Any] | None, y: NDArray[np.float64]
) -> Tensor:
    """The label grid for training values: the given one, checked, or one made from their range.

    Made are whole numbers from the smallest to the largest value if the values are whole numbers
    and at most 101 labels come of it, and 101 equally spaced labels between these two otherwise.

    Args:
        labels: label grid, K increasing numbers, or None.
        y: training values, [N].

    Raises:
        ValueError: if a value lies outside the labels, or all are the same and no labels are given.

    Example:
        >>> fit_label_grid(None, np.array([3.0, 1.0, 4.0]))
        tensor([1., 2., 3., 4.], dtype=torch.float64)
        >>> len(fit_label_grid(None, np.array([0.25, 0.5, 0.75])))
        101
    """
    low, high = float(y.min()), float(y.max())
    if labels is not None:
        grid = as_label_grid(labels)  # type: ignore[arg-type]  # arrays are as good as sequences
        outside = (y < float(grid[0])) | (y > float(grid[-1]))
        if outside.any():
            row = int(outside.argmax())
            raise ValueError(
                f"y must lie within the labels, from {float(grid[0]):g} to {float(grid[-1]):g}, "
                f"got y = {y[row]:g}; give labels that contain every value"
            )
        return grid
    if low == high:
        raise ValueError(
            f"y holds nothing but {low:g}, which makes no range of labels; give labels=[...]"
        )
    whole = bool((y == np.round(y)).all()) and high - low < DEFAULT_LABELS
    return label_grid(low, high, 1.0 if whole else (high - low) / (DEFAULT_LABELS - 1))


def default_sigma(labels: Tensor) -> float:
    """Standard deviation of target distributions where none is given.

    2 for every 100 of the range of the labels (sigma = 2 on ages 0 to 100 is what the paper takes
    for MORPH), but at least half the mean distance of labels, so that neighbours share mass.

    Example:
        >>> default_sigma(label_grid(0, 100)), default_sigma(label_grid(1, 5))
        (2.0, 0.5)
    """
    span = float(labels[-1] - labels[0])
    return max(span / 50, span / (len(labels) - 1) / 2)
