"""What regressors that predict a label distribution share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from dldl_fast.functional import expectation


class LabelDistributionRegressor(RegressorMixin, BaseEstimator):
    r"""A scikit-learn regressor with logits x over a label grid l.

    .. math::
        \hat p = \mathrm{softmax}(x), \quad \hat y = \sum_k \hat p_k l_k

    Subclasses set ``labels_`` (float64 [K]) and compute logits. `predict_proba` is the one thing
    that `sklearn.utils.estimator_checks.check_estimator` minds: to it, regressors have none.
    """

    labels_: NDArray[np.float64]

    @abstractmethod
    def _logits(self, X: NDArray[Any]) -> Tensor:
        """Logits [N, K] of checked features [N, F], on the CPU, without gradient."""

    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expectations of the predicted distributions (Eq. 10).

        Args:
            X: features, [N, F].
            return_std: also return the standard deviations of the predicted distributions.

        Returns:
            float64 [N] in the unit of the labels, or a pair of them.
        """
        logits = self._checked_logits(X)
        labels = torch.tensor(self.labels_)
        if not return_std:
            mean = expectation(logits, labels)
            assert isinstance(mean, Tensor)  # for the type checker: a tuple only with return_std
            return mean.numpy()
        mean, std = expectation(logits, labels, return_std=True)
        return mean.numpy(), std.numpy()

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """The predicted label distributions (Eq. 8).

        With this method, scikit-learn's ``cross_val_predict`` puts class numbers in the place of y
        before it calls ``fit``, as for a classifier; loop over the folds yourself.

        Args:
            X: features, [N, F].

        Returns:
            [N, K] over ``labels_``; rows sum to 1.
        """
        return torch.softmax(self._checked_logits(X), -1).numpy()

    def _checked_logits(self, X: ArrayLike) -> Tensor:
        check_is_fitted(self)
        return self._logits(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def __sklearn_is_fitted__(self) -> bool:
        # scikit-learn looks for names that end with "_", as the setting lambda_ does.
        return hasattr(self, "labels_")
