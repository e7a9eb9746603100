"""DLDLRegressor: DLDL-v2 for tables of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state, check_scalar
from torch import Tensor, nn

from dldl_fast.estimators.base import LabelDistributionRegressor
from dldl_fast.estimators.rows import Rows, check_rows, default_sigma, fit_label_grid
from dldl_fast.loss import DLDLv2Loss
from dldl_fast.processor import usable_device
from dldl_fast.training import TrainingDivergedError


class DLDLRegressor(LabelDistributionRegressor):
    r"""Multi-layer perceptron trained with the DLDL-v2 loss, for ordinal values of tabular data.

    .. math::
        L_i = \mathrm{KL}(p_i \,\|\, \hat p_i) + \lambda\, |\hat y_i - y_i|, \quad
        \hat p_i = \mathrm{softmax}(x_i), \quad \hat y_i = \sum_k \hat p_{ik} l_k

    The logits x are what hidden layers with ReLU and one linear layer make of the features, which
    are standardised first. Trained with AdamW and a learning rate that falls to 0 along half a
    cosine, in the float type of X: float32 features train faster.

    Args:
        hidden_layer_sizes: widths of the hidden layers; () is a linear model.
        labels: label grid, K increasing numbers in the unit of y. Default: whole numbers from the
            smallest to the largest y if all y are whole and at most 101 labels come of it, else
            101 equally spaced labels between these two.
        sigma: standard deviation of the target distributions p, in the unit of y. Default: 1/50 of
            the range of the labels, but at least half the mean distance of labels.
        lambda_: weight of the expectation regression, >= 0, as in Eq. 12 per unit of y: 1 is right
            for values that differ by tens, such as years; 0 is DLDL.
        epochs: passes over the rows.
        batch_size: rows per step at most; the batches of an epoch are of nearly equal size.
        learning_rate: of AdamW at the start, > 0.
        weight_decay: of AdamW, >= 0.
        dropout: probability that a hidden unit is left out of a training step, in [0, 1).
        random_state: of the initial weights, the order of the rows and dropout. The same number on
            the same machine, with the same number of threads, gives the same model.
        device: where to train: ``"cpu"``, ``"auto"`` (a CUDA device if there is one) or any other
            that torch knows. The trained network is on the CPU.

    Attributes:
        labels_: the label grid, float64 [K].
        sigma_: standard deviation of the target distributions.
        network_: standardised features [N, F] to logits [N, K].
        scaler_: the StandardScaler of the features.
        loss_curve_: mean training loss of each epoch.
        n_iter_: epochs trained.

    Raises:
        TrainingDivergedError: in ``fit``, if a loss is not finite.

    Source:
        Eqs. 8 to 12; the MLP in place of the paper's CNN.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = DLDLRegressor((32,), learning_rate=0.01, epochs=20, random_state=0)
        >>> model = model.fit(X[:300], y[:300])
        >>> value, deviation = model.predict(X[300:], return_std=True)
        >>> model.predict_proba(X[300:]).shape == (142, len(model.labels_))
        True
        >>> model.score(X[300:], y[300:]) > 0.3
        True
    """

    network_: nn.Sequential
    scaler_: StandardScaler
    sigma_: float
    loss_curve_: list[float]
    n_iter_: int

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (256,),
        *,
        labels: Tensor | Sequence[float] | NDArray[Any] | None = None,
        sigma: float | None = None,
        lambda_: float = 1.0,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        dropout: float = 0.0,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.labels = labels
        self.sigma = sigma
        self.lambda_ = lambda_
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.random_state = random_state
        self.device = device

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> DLDLRegressor:
        """Train a new network.

        Args:
            X: features, [N, F], float32 or float64 (anything else becomes float64).
            y: values, [N], within the labels.
            sample_weight: row weights, [N], >= 0.

        Returns:
            The estimator.

        Raises:
            ValueError: naming the argument or setting that makes no sense.
            TrainingDivergedError: if a loss is not finite.
        """
        self._check_settings()
        device = usable_device(self.device)
        rows = check_rows(self, X, y, sample_weight)
        grid = fit_label_grid(self.labels, rows.y)
        sigma = default_sigma(grid) if self.sigma is None else self.sigma
        criterion = DLDLv2Loss(labels=grid, sigma=sigma, lambda_=self.lambda_)
        self.scaler_ = StandardScaler().fit(rows.X, sample_weight=rows.weight)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            self._train(rows, criterion, device)
        self.n_iter_ = self.epochs
        self.sigma_ = criterion.sigma
        self.labels_ = grid.numpy().copy()
        return self

    def _train(self, rows: Rows, criterion: DLDLv2Loss, device: torch.device) -> None:
        features = torch.from_numpy(self.scaler_.transform(rows.X)).to(device)
        target = torch.from_numpy(rows.y).to(device)
        weight = torch.from_numpy(rows.weight).to(device)
        network = self._new_network(features.shape[1], len(criterion.labels))
        network.to(device, features.dtype)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        batches = math.ceil(len(target) / self.batch_size)
        self.loss_curve_ = []
        for epoch in range(1, self.epochs + 1):
            total = torch.zeros((), dtype=torch.float64, device=device)
            for batch in torch.tensor_split(torch.randperm(len(target)), batches):
                batch = batch.to(device)
                loss = criterion(network(features[batch]), target[batch], weight=weight[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
            schedule.step()
            self.loss_curve_.append(total.item() / batches)
            if not math.isfinite(self.loss_curve_[-1]):
                raise TrainingDivergedError(
                    f"the loss became {self.loss_curve_[-1]} in epoch {epoch}; lower the "
                    f"learning_rate (now {self.learning_rate:g})"
                )
        optimizer.zero_grad()  # gradients would be copied and pickled with the network
        self.network_ = network.cpu().eval()

    def _new_network(self, in_features: int, out_features: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in self.hidden_layer_sizes:
            layers += [nn.Linear(in_features, width), nn.ReLU(), nn.Dropout(self.dropout)]
            in_features = width
        return nn.Sequential(*layers, nn.Linear(in_features, out_features))

    def _check_settings(self) -> None:
        for width in self.hidden_layer_sizes:
            check_scalar(width, "hidden_layer_sizes", int, min_val=1)
        for name in ("epochs", "batch_size"):
            check_scalar(getattr(self, name), name, int, min_val=1)
        number = (int, float)
        check_scalar(
            self.learning_rate, "learning_rate", number, min_val=0, include_boundaries="neither"
        )
        check_scalar(self.weight_decay, "weight_decay", number, min_val=0)
        check_scalar(
            self.dropout, "dropout", number, min_val=0, max_val=1, include_boundaries="left"
        )

    def _logits(self, X: NDArray[Any]) -> Tensor:
        standardised = torch.from_numpy(self.scaler_.transform(X))
        dtype = next(self.network_.parameters()).dtype
        with torch.inference_mode():
            logits: Tensor = self.network_(standardised.to(dtype))
        return logits
