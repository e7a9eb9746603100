"""What comes of a picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dldl_fast.faces.face import Face
from dldl_fast.functional import expectation, quantile

LEVELS = (0.05, 0.5, 0.95)
"""Of the quantiles that every prediction has."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of one face, in the unit of the model's labels.

    Attributes:
        value: expectation of the predicted distribution (Eq. 10).
        std: its standard deviation.
        q05: its quantile of 5 %: a label, see `dldl_fast.functional.quantile`.
        q50: its median.
        q95: its quantile of 95 %. Between q05 and q95 lie at least 90 % of the probability.
        distribution: probabilities of the labels, float64 [K].
        face: box, landmarks and score of the face; None if the whole picture was taken for one.
    """

    value: float
    std: float
    q05: float
    q50: float
    q95: float
    distribution: Tensor
    face: Face | None = None


@dataclass(frozen=True, eq=False)
class PictureResult:
    """What came of one picture.

    Attributes:
        name: path of the picture as it was given; empty for pictures in memory.
        predictions: one per face, the largest face first.
        status: ``"aligned"``: faces were found; ``"whole"``: the whole picture was taken;
            ``"skipped"``: no face; ``"error"``: the picture cannot be used.
        reason: why it was skipped or cannot be used, else empty.
    """

    name: str
    predictions: tuple[Prediction, ...]
    status: str
    reason: str = ""


def predictions_of(
    distributions: Tensor, labels: Tensor, faces: list[Face | None]
) -> list[Prediction]:
    """Value, standard deviation and quantiles of distributions.

    Args:
        distributions: float64 [N, K], rows of sum 1.
        labels: label grid, float64 [K].
        faces: N of them.

    Example:
        >>> import torch
        >>> two = torch.tensor([[0.0, 0.5, 0.5], [0.25, 0.5, 0.25]], dtype=torch.float64)
        >>> for p in predictions_of(two, torch.tensor([1.0, 2.0, 3.0]).double(), [None, None]):
        ...     print(p.value, round(p.std, 6), p.q05, p.q50, p.q95)
        2.5 0.5 2.0 2.0 3.0
        2.0 0.707107 1.0 2.0 3.0
    """
    # The softmax of a logarithm is the distribution itself.
    logits = distributions.log()
    value, std = expectation(logits, labels, return_std=True)
    q05, q50, q95 = quantile(logits, labels, LEVELS)
    columns = [column.tolist() for column in (value, std, q05, q50, q95)]
    return [Prediction(*row) for row in zip(*columns, distributions.unbind(), faces, strict=True)]
