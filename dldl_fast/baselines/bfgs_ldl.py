"""BFGS-LDL: maximum-entropy label distribution learning, fitted with L-BFGS."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_consistent_length, check_scalar
from torch import Tensor

from dldl_fast import DLDLv2Loss
from dldl_fast.estimators.base import LabelDistributionRegressor
from dldl_fast.estimators.rows import check_rows, default_sigma, fit_label_grid


class BFGSLDL(LabelDistributionRegressor):
    r"""The maximum entropy model of label distributions, fitted with L-BFGS.

    .. math::
        \min_{W, b} C \sum_i w_i\, \mathrm{KL}(p_i \,\|\, \hat p_i) + \frac{1}{2} \|W\|^2,
        \quad \hat p_i = \mathrm{softmax}(W x_i + b)

    Loss and gradient come from the fused kernel in float64. As in the paper, and other than in the
    source, a prediction is the expectation of the distribution and not its most probable label.

    Args:
        labels: label grid, K increasing numbers in the unit of y. Default: whole numbers from the
            smallest to the largest y if all y are whole and at most 101 labels come of it, else
            101 equally spaced labels between these two.
        sigma: standard deviation of the target distributions p, in the unit of y. Default: 1/50 of
            the range of the labels, but at least half the mean distance of labels.
        C: inverse strength of the L2 penalty on W, > 0. The default suits L2-normalised features.
            The source has no penalty: that is ``math.inf``.
        max_iter: iterations of L-BFGS at most.
        tol: L-BFGS ends where no component of the gradient is larger, of the objective divided by
            the sum of C w.

    Attributes:
        coef_: W, float64 [K, F].
        intercept_: b, float64 [K].
        labels_: the label grid, float64 [K].
        sigma_: standard deviation of the target distributions that y was given.
        loss_: value of the objective at the end, divided by the sum of C w.
        n_iter_: iterations of L-BFGS.

    Warns:
        ConvergenceWarning: if L-BFGS ends otherwise, above all after ``max_iter`` iterations.

    Source:
        Geng, Yin, Zhou, Facial age estimation by learning from label distributions, 2013; section
        4.5.3 of the paper.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = BFGSLDL(labels=range(20, 351, 30)).fit(X, y)
        >>> model.predict_proba(X).shape
        (442, 12)
        >>> bool(abs(model.predict(X) - y).mean() < 0.75 * abs(np.median(y) - y).mean())
        True
    """

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    sigma_: float
    loss_: float
    n_iter_: int

    def __init__(
        self,
        *,
        labels: Tensor | Sequence[float] | NDArray[Any] | None = None,
        sigma: float | None = None,
        C: float = 100.0,
        max_iter: int = 1000,
        tol: float = 1e-5,
    ) -> None:
        self.labels = labels
        self.sigma = sigma
        self.C = C
        self.max_iter = max_iter
        self.tol = tol

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        target_distribution: ArrayLike | None = None,
    ) -> BFGSLDL:
        """Fit the model.

        Args:
            X: features, [N, F].
            y: values, [N], within the labels.
            sample_weight: row weights w, [N], >= 0.
            target_distribution: p, [N, K], for example histograms of ratings, >= 0; rows are
                normalised. They take the place of the Gaussians around y; labels must be given.

        Returns:
            The estimator.

        Raises:
            ValueError: naming the argument or setting that makes no sense.
        """
        check_scalar(self.C, "C", (int, float), min_val=0, include_boundaries="neither")
        check_scalar(self.max_iter, "max_iter", int, min_val=1)
        check_scalar(self.tol, "tol", (int, float), min_val=0)
        if target_distribution is not None and self.labels is None:
            raise ValueError("labels must be given for a target_distribution over them, got None")
        rows = check_rows(self, X, y, sample_weight)
        grid = fit_label_grid(self.labels, rows.y)
        target: dict[str, Tensor]
        if target_distribution is None:
            target = {"target": torch.tensor(rows.y)}
        else:
            histograms = check_array(
                target_distribution, dtype=np.float64, input_name="target_distribution"
            )
            check_consistent_length(rows.kept, histograms)
            target = {"target_distribution": torch.tensor(histograms[rows.kept])}
        sigma = default_sigma(grid) if self.sigma is None else self.sigma
        criterion = DLDLv2Loss(labels=grid, sigma=sigma, lambda_=0.0)
        # The intercept makes up for the centre, without which L-BFGS would need many iterations.
        centre = np.average(rows.X, axis=0, weights=rows.weight).astype(np.float64)
        features = torch.from_numpy(rows.X - centre)
        weight = torch.tensor(rows.weight)
        penalty = 1.0 / (self.C * rows.weight.sum())
        shape = (features.shape[1] + 1, len(grid))

        def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            parameters = torch.from_numpy(values).view(shape).requires_grad_()
            W, b = parameters[:-1], parameters[-1]
            loss = criterion(torch.addmm(b, features, W), weight=weight, **target)
            loss = loss + penalty / 2 * W.square().sum()
            (gradient,) = torch.autograd.grad(loss, parameters)
            return loss.item(), gradient.numpy().ravel()

        found = minimize(
            objective,
            np.zeros(shape).ravel(),
            method="L-BFGS-B",
            jac=True,
            # The gradient says when it is done, or a loss that rounding keeps from getting smaller.
            options={
                "maxiter": self.max_iter,
                "maxfun": np.inf,
                "gtol": self.tol,
                "ftol": 10 * np.finfo(np.float64).eps,
            },
        )
        if not found.success:
            warnings.warn(
                f"L-BFGS has not converged after {found.nit} iterations ({found.message}); "
                "scale the features, or increase max_iter or lower C",
                ConvergenceWarning,
                stacklevel=2,
            )
        parameters = found.x.reshape(shape)
        self.coef_ = parameters[:-1].T.copy()
        self.intercept_ = parameters[-1] - self.coef_ @ centre
        self.labels_ = grid.numpy().copy()
        self.sigma_ = criterion.sigma
        self.loss_ = float(found.fun)
        self.n_iter_ = max(int(found.nit), 1)
        return self

    def _logits(self, X: NDArray[Any]) -> Tensor:
        return torch.from_numpy(X @ self.coef_.T + self.intercept_)
