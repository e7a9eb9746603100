"""What the predicted spread is worth: the error of the predictions that are most certain."""

from __future__ import annotations

import torch
from torch import Tensor


def risk_coverage(errors: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    r"""The mean absolute error of the share of rows with the smallest predicted spread.

    .. math::
        r(n / N) = \frac{1}{n} \sum_{i=1}^{n} |\hat y_i - y_i|

    with the rows in the order of their spread. A spread that tells good predictions from bad ones
    gives a curve that rises towards the error of all rows at a coverage of 1. Rows of the same
    spread count together: the curve has no point between them.

    Args:
        errors: absolute errors, [N].
        spread: such as the standard deviations of the predicted distributions, [N].

    Returns:
        Coverages, rising to 1, and risks at these, float64 [M], M <= N.

    Raises:
        ValueError: if the two are not of one length N >= 1, or not finite.

    Source:
        El-Yaniv and Wiener (2010), "On the Foundations of Noise-free Selective Classification".

    Example:
        >>> risk_coverage(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0.5, 0.5, 0.9]))[1].tolist()
        [1.5, 3.0]
    """
    if errors.dim() != 1 or errors.shape != spread.shape or len(errors) == 0:
        raise ValueError(
            f"errors and spread must be [N], N >= 1, got {list(errors.shape)} and "
            f"{list(spread.shape)}"
        )
    if not bool(errors.isfinite().all() and spread.isfinite().all()):
        raise ValueError("errors and spread must be finite")
    ordered, order = spread.double().sort()
    counts = torch.arange(1, len(errors) + 1, dtype=torch.float64)
    risks = errors.double()[order].cumsum(0) / counts
    last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])
    return (counts / len(errors))[last], risks[last]
