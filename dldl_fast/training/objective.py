"""What a training minimises, and the scores that it is judged by."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from dldl_fast.data.base import Split
from dldl_fast.data.batches import Batch
from dldl_fast.metrics import e_error, mae
from dldl_fast.training.settings import Stage


class Objective(Protocol):
    """A loss and its scores."""

    judged_by: str
    """The score, smaller is better, that chooses the best epoch."""

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean loss of a batch, weighted by ``batch.weight``."""

    def scores(self, outputs: Tensor, part: Split) -> dict[str, float]:
        """Scores of a whole part of a data set, ``"loss"`` among them."""

    def for_stage(self, stage: Stage) -> Objective:
        """The objective of a stage."""


class LabelObjective:
    """A label distribution loss, judged by the mean absolute error of the expectation.

    Args:
        criterion: the loss; its reduction must be ``"mean"``.
    """

    judged_by = "mae"

    def __init__(self, criterion: DLDLv2Loss) -> None:
        self.criterion = criterion

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Weighted mean loss of a batch."""
        loss: Tensor = self.criterion(outputs, batch.target, batch.sigma, batch.weight)
        return loss

    def scores(self, outputs: Tensor, part: Split) -> dict[str, float]:
        """Loss, mean absolute error (Eq. 19) and epsilon-error (Eq. 20)."""
        prediction = decode(outputs, self.criterion.labels)
        sigma = self.criterion.sigma if part.sigma is None else part.sigma
        return {
            "loss": float(self.criterion(outputs, part.target, sigma, part.weight)),
            "mae": float(mae(prediction, part.target)),
            "e_error": float(e_error(prediction, part.target, sigma)),
        }

    def for_stage(self, stage: Stage) -> LabelObjective:
        """The same with the stage's lambda."""
        if stage.lambda_ is None:
            return self
        criterion = copy.copy(self.criterion)
        criterion.options = replace(criterion.options, lambda_=stage.lambda_)
        return LabelObjective(criterion)


class IdentityObjective:
    """Cross-entropy over persons, for pre-training; judged by the share of persons mistaken.

    The target of an image is the number of its person.

    Source:
        Section 4.1: pre-training with the softmax loss.
    """

    judged_by = "error"

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Weighted mean cross-entropy of a batch."""
        rows = F.cross_entropy(outputs.float(), batch.target.long(), reduction="none")
        if batch.weight is None:
            return rows.mean()
        total = batch.weight.sum()
        return torch.where(total > 0, (rows * batch.weight).sum() / total, 0.0)

    def scores(self, outputs: Tensor, part: Split) -> dict[str, float]:
        """Cross-entropy, and the share of images whose person is not the most probable one."""
        target = part.target.long()
        return {
            "loss": float(F.cross_entropy(outputs.double(), target)),
            "error": float((outputs.argmax(1) != target).double().mean()),
        }

    def for_stage(self, stage: Stage) -> IdentityObjective:
        """The same: there is no lambda.

        Raises:
            ValueError: if the stage has one.
        """
        if stage.lambda_ is not None:
            raise ValueError("pre-training on identities has no lambda; use a recipe without")
        return self


def decode(logits: Tensor, labels: Tensor) -> Tensor:
    """Estimated values, float64 [N]: the expectations of the predicted distributions (Eq. 10)."""
    values = functional.expectation(logits, labels)
    assert isinstance(values, Tensor)  # for the type checker: a tuple only with return_std
    return values
