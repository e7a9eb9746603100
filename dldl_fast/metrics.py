"""Evaluation metrics of the paper's section 4.2."""

from __future__ import annotations

import torch
from torch import Tensor


def mae(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean absolute error, :math:`\frac{1}{N} \sum_n |\hat y_n - y_n|`.

    Args:
        prediction: estimated values, [N], any real dtype.
        target: true values, [N], in the same unit.

    Returns:
        float64 scalar, in the unit of the target.

    Raises:
        ValueError: if the shapes differ or there are no values.

    Source:
        Eq. 19.

    Example:
        >>> mae(torch.tensor([20.0, 31.0]), torch.tensor([22.0, 30.0])).item()
        1.5
    """
    return _error(prediction, target).abs().mean()


def e_error(prediction: Tensor, target: Tensor, sigma: float | Tensor) -> Tensor:
    r"""Epsilon-error of the ChaLearn competitions: 0 is perfect, 1 is hopeless.

    .. math::
        \epsilon = \frac{1}{N} \sum_n
        \left[ 1 - \exp\left(-\frac{(\hat y_n - y_n)^2}{2 \sigma_n^2}\right) \right]

    A sigma of 0 counts as its limit: 0 for an exact estimate, 1 for any other.

    Args:
        prediction: estimated values, [N], any real dtype.
        target: true values, [N], in the same unit.
        sigma: standard deviation of each target, a number or [N], >= 0, in the same unit.

    Returns:
        float64 scalar in [0, 1].

    Raises:
        ValueError: if the shapes differ, there are no values, or a sigma is negative or NaN.

    Source:
        Eq. 20.

    Example:
        >>> error = e_error(torch.tensor([30.0, 32.0]), torch.tensor([30.0, 30.0]), sigma=2.0)
        >>> round(error.item(), 6)  # (0 + 1 - exp(-1/2)) / 2
        0.196735
    """
    error = _error(prediction, target)
    deviation = torch.as_tensor(sigma, dtype=torch.float64, device=error.device)
    if deviation.dim() > 0 and deviation.shape != error.shape:
        raise ValueError(
            f"sigma must be a number or of shape {list(error.shape)}, got {list(deviation.shape)}"
        )
    if not bool((deviation >= 0).all()):
        raise ValueError("sigma must be >= 0")
    # 0 / 0 would be NaN for an exact estimate with sigma 0.
    squared = torch.where(error == 0, 0.0, (error / deviation).square())
    return -torch.expm1(-0.5 * squared).mean()


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    if prediction.shape != target.shape:
        raise ValueError(
            "prediction and target must have the same shape, "
            f"got {list(prediction.shape)} and {list(target.shape)}"
        )
    if prediction.numel() == 0:
        raise ValueError("prediction and target must hold at least one value, got none")
    return prediction.detach().double() - target.detach().double()
