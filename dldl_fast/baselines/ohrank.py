"""OHRank: the ordinal hyperplanes ranker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.svm import LinearSVC
from sklearn.utils import check_scalar
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from dldl_fast.estimators.rows import check_rows, fit_label_grid
from dldl_fast.reference import nearest_label


class OHRank(RegressorMixin, BaseEstimator):
    r"""Ordinal hyperplanes ranker: K - 1 cost-sensitive linear SVMs that ask "is y above l_k?".

    .. math::
        \hat y = l_{1 + r}, \quad r = \sum_{k=1}^{K-1} [w_k^T x + b_k > 0]

    A row costs hyperplane k the smallest error, in the unit of y, that a wrong answer leads to (the
    absolute cost): :math:`y - l_k` for a row above, :math:`l_{k+1} - y` for one below. The costs of
    a hyperplane are divided by their mean, so that C means the same in every unit. Each y counts as
    its nearest label. Where all rows are on one side of a label, the answer is that side.

    Args:
        labels: label grid, K increasing numbers in the unit of y. Default: whole numbers from the
            smallest to the largest y if all y are whole and at most 101 labels come of it, else
            101 equally spaced labels between these two.
        C: inverse strength of the SVMs' L2 penalty, > 0.
        max_iter: iterations of Liblinear at most, for each hyperplane.
        tol: tolerance of Liblinear.
        n_jobs: hyperplanes trained at a time, as everywhere in scikit-learn.

    Attributes:
        coef_: w, float64 [K - 1, F].
        intercept_: b, float64 [K - 1].
        labels_: the label grid, float64 [K].
        n_iter_: the most iterations that a hyperplane took.

    Source:
        Chang, Chen, Hung, Ordinal hyperplanes ranker with cost sensitivities for age estimation,
        2011; section 4.5.3 of the paper, which also uses Liblinear.

    Example:
        >>> model = OHRank(C=100.0).fit([[0.0], [1.0], [2.0], [3.0]], [10, 11, 13, 13])
        >>> model.predict([[0.1], [2.9]])
        array([10., 13.])
    """

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    labels_: NDArray[np.float64]
    n_iter_: int

    def __init__(
        self,
        *,
        labels: Tensor | Sequence[float] | NDArray[Any] | None = None,
        C: float = 1.0,
        max_iter: int = 1000,
        tol: float = 1e-4,
        n_jobs: int | None = None,
    ) -> None:
        self.labels = labels
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> OHRank:
        """Train the hyperplanes.

        Args:
            X: features, [N, F].
            y: values, [N], within the labels.
            sample_weight: row weights, [N], >= 0; they multiply the costs.

        Returns:
            The estimator.

        Raises:
            ValueError: naming the argument or setting that makes no sense.
        """
        for name in ("C", "tol"):
            value = getattr(self, name)
            check_scalar(value, name, (int, float), min_val=0, include_boundaries="neither")
        check_scalar(self.max_iter, "max_iter", int, min_val=1)
        rows = check_rows(self, X, y, sample_weight)
        grid = fit_label_grid(self.labels, rows.y)
        labels = grid.numpy()
        value = labels[nearest_label(torch.tensor(rows.y), grid).numpy()]
        # Threads share X; Liblinear lets go of the interpreter's lock.
        planes = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            delayed(self._hyperplane)(rows.X, value > low, cost, rows.weight)
            for low, cost in zip(labels[:-1], absolute_costs(value, labels), strict=True)
        )
        self.coef_ = np.stack([w for w, _, _ in planes])
        self.intercept_ = np.array([b for _, b, _ in planes])
        self.n_iter_ = max(iterations for _, _, iterations in planes)
        self.labels_ = labels.copy()
        return self

    def _hyperplane(
        self,
        X: NDArray[Any],
        above: NDArray[np.bool_],
        cost: NDArray[np.float64],
        weight: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], float, int]:
        if above.all() or not above.any():
            return np.zeros(X.shape[1]), 1.0 if above[0] else -1.0, 1
        # The primal problem has no random numbers.
        svm = LinearSVC(C=self.C, dual=False, tol=self.tol, max_iter=self.max_iter)
        svm.fit(X, above, sample_weight=weight * cost / np.average(cost, weights=weight))
        return svm.coef_[0], float(svm.intercept_[0]), int(svm.n_iter_)

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """The label of as many hyperplanes as say "above".

        Args:
            X: features, [N, F].

        Returns:
            float64 [N], each one of ``labels_``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        above = X @ self.coef_.T + self.intercept_ > 0
        values: NDArray[np.float64] = self.labels_[above.sum(1)]
        return values


def absolute_costs(y: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""What a wrong answer of hyperplane k about row i costs at least, [K - 1, N].

    With :math:`|y - l_k|` on both sides, rows at l_k would cost nothing, and none would teach l_1.

    Example:
        >>> absolute_costs(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0]))
        array([[1., 1., 3.],
               [3., 2., 2.]])
    """
    low, high = labels[:-1, None], labels[1:, None]
    return np.where(y > low, y - low, high - y)
