"""Metrics of predicted values. A NaN among the values makes the result NaN."""

from __future__ import annotations

from collections.abc import Sequence

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
        TypeError: if an argument is no real tensor.
        ValueError: if the shapes differ or there are no values.

    Source:
        Eq. 19.

    Example:
        >>> mae(torch.tensor([20.0, 31.0]), torch.tensor([22.0, 30.0])).item()
        1.5
    """
    return mean_of_rows(error_rows(prediction, target).abs())


def bias(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean signed error, :math:`\frac{1}{N} \sum_n (\hat y_n - y_n)`; > 0 if too high.

    Args:
        prediction: estimated values, [N], any real dtype.
        target: true values, [N], in the same unit.

    Returns:
        float64 scalar, in the unit of the target.

    Raises:
        TypeError: if an argument is no real tensor.
        ValueError: if the shapes differ or there are no values.

    Example:
        >>> bias(torch.tensor([20.0, 31.0]), torch.tensor([22.0, 30.0])).item()
        -0.5
    """
    return mean_of_rows(error_rows(prediction, target))


def rmse(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Root mean squared error, :math:`\sqrt{\frac{1}{N} \sum_n (\hat y_n - y_n)^2}`.

    Args:
        prediction: estimated values, [N], any real dtype.
        target: true values, [N], in the same unit.

    Returns:
        float64 scalar, in the unit of the target.

    Raises:
        TypeError: if an argument is no real tensor.
        ValueError: if the shapes differ or there are no values.

    Source:
        Eq. 21.

    Example:
        >>> rmse(torch.tensor([23.0, 34.0]), torch.tensor([22.0, 27.0])).item()
        5.0
    """
    return mean_of_rows(error_rows(prediction, target).square()).sqrt()


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
        TypeError: if prediction or target is no real tensor.
        ValueError: if the shapes differ, there are no values, or a sigma is negative or NaN.

    Source:
        Eq. 20.

    Example:
        >>> error = e_error(torch.tensor([30.0, 32.0]), torch.tensor([30.0, 30.0]), sigma=2.0)
        >>> round(error.item(), 6)  # (0 + 1 - exp(-1/2)) / 2
        0.196735
    """
    return mean_of_rows(e_error_rows(prediction, target, sigma))


def cumulative_score(
    prediction: Tensor, target: Tensor, threshold: float | Sequence[float]
) -> Tensor:
    r"""Share of the predictions that are off by no more than a threshold.

    .. math::
        \mathrm{CS}(t) = \frac{1}{N} \sum_n \left[ |\hat y_n - y_n| \le t \right]

    Args:
        prediction: estimated values, [N], any real dtype.
        target: true values, [N], in the same unit.
        threshold: t, in the same unit, >= 0: a number, or T of them for a curve.

    Returns:
        float64 in [0, 1]: a scalar, or [T].

    Raises:
        TypeError: if prediction or target is no real tensor.
        ValueError: if the shapes differ, there are no values, or a threshold is negative or NaN.

    Example:
        >>> prediction, target = torch.tensor([20.0, 31.0]), torch.tensor([22.0, 25.0])
        >>> cumulative_score(prediction, target, 5).item()
        0.5
        >>> cumulative_score(prediction, target, [1, 2, 10])
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    return mean_of_rows(cumulative_score_rows(prediction, target, as_thresholds(threshold)))


def error_rows(prediction: Tensor, target: Tensor) -> Tensor:
    """Signed errors, float64 [N]; there may be none."""
    predicted, true = as_rows(prediction, target)
    return predicted - true


def as_rows(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 [N], once it is known that they are real and fit each other."""
    for name, value in (("prediction", prediction), ("target", target)):
        if not isinstance(value, Tensor) or value.is_complex():
            got = f"dtype {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a real tensor, got {got}")
    if prediction.shape != target.shape:
        raise ValueError(
            "prediction and target must have the same shape, "
            f"got {list(prediction.shape)} and {list(target.shape)}"
        )
    return prediction.detach().double().reshape(-1), target.detach().double().reshape(-1)


def e_error_rows(prediction: Tensor, target: Tensor, sigma: float | Tensor) -> Tensor:
    """One minus the Gaussian of every error, float64 [N]."""
    error = error_rows(prediction, target)
    deviation = torch.as_tensor(sigma, dtype=torch.float64, device=error.device)
    if deviation.dim() > 0 and deviation.shape != target.shape:
        raise ValueError(
            f"sigma must be a number or of shape {list(target.shape)}, got {list(deviation.shape)}"
        )
    if not bool((deviation >= 0).all()):
        raise ValueError("sigma must be >= 0")
    # 0 / 0 would be NaN for an exact estimate with sigma 0.
    squared = torch.where(error == 0, 0.0, (error / deviation.reshape(-1)).square())
    return -torch.expm1(-0.5 * squared)


def as_thresholds(threshold: float | Sequence[float]) -> Tensor:
    """Thresholds as float64, [] or [T]; none of them negative or NaN."""
    thresholds = torch.as_tensor(threshold, dtype=torch.float64, device="cpu")
    if thresholds.dim() > 1 or not bool((thresholds >= 0).all()):
        raise ValueError(f"threshold must be a number >= 0 or a sequence of them, got {threshold}")
    return thresholds


def cumulative_score_rows(prediction: Tensor, target: Tensor, thresholds: Tensor) -> Tensor:
    """1 where the error is within the threshold, NaN where it is NaN, float64 [N] or [N, T]."""
    error = error_rows(prediction, target).abs()
    if thresholds.dim() == 1:
        error = error.unsqueeze(-1)
    within = (error <= thresholds.to(error.device)).double()
    return torch.where(error.isnan(), torch.nan, within)


def mean_of_rows(rows: Tensor, of: str = "prediction and target") -> Tensor:
    """Mean over the first dimension of what was computed from the named arguments."""
    require_rows(len(rows), of)
    return rows.mean(0)


def require_rows(count: int, of: str = "prediction and target") -> None:
    """Raise where there is nothing to take a mean of."""
    if count == 0:
        raise ValueError(f"{of} must hold at least one value, got none")
