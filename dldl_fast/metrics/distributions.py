"""Metrics of predicted distributions on the label grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dldl_fast.cdf import cumulative, inverse
from dldl_fast.labels import as_label_grid, on_device
from dldl_fast.metrics.values import mean_of_rows
from dldl_fast.reference import nearest_label

# Probabilities that were computed in bfloat16 sum to 1 within half of this.
SUM_TOLERANCE = 1e-2

CALIBRATION_LEVELS = torch.arange(1, 100, dtype=torch.float64) / 100
"""Where `calibration_error` compares observed and expected shares."""


def crps(distribution: Tensor, target: Tensor, labels: Tensor | Sequence[float]) -> Tensor:
    r"""Continuous ranked probability score of the predicted distributions; 0 is perfect.

    .. math::
        \mathrm{CRPS} = \frac{1}{N} \sum_n \int
        \left( \hat F_n(x) - [x \ge y_n] \right)^2 \mathrm{d}x, \quad
        \hat F_n(x) = \sum_{k: l_k \le x} \hat p_{n,k}

    The integral is exact: :math:`\hat F` is a step function, and the target may lie between or
    beyond the labels. For a distribution that is certain it is the absolute error, so that it
    compares with the MAE.

    Args:
        distribution: probabilities, [N, K], any floating dtype; rows sum to 1 (within 1%, and are
            then made to).
        target: true values, [N], any real dtype, in the unit of the labels.
        labels: label grid, K increasing numbers, equally spaced or not.

    Returns:
        float64 scalar, in the unit of the labels.

    Raises:
        TypeError: if the distribution has no floating dtype or the target is no real tensor.
        ValueError: if the shapes do not fit, there are no rows, the target is not finite, or a row
            of the distribution is none.

    Source:
        Gneiting and Raftery (2007), "Strictly Proper Scoring Rules", section 4.2.

    Example:
        >>> p = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.5, 0.25]])
        >>> crps(p, torch.tensor([1.5, 1.0]), labels=[0, 1, 2]).item()  # (0.5 + 2 / 16) / 2
        0.3125
    """
    return mean_of_rows(crps_rows(distribution, target, labels), "distribution")


def emd(
    distribution: Tensor, target_distribution: Tensor, labels: Tensor | Sequence[float]
) -> Tensor:
    r"""Earth mover's distance (Wasserstein-1) of predicted to target distributions.

    .. math::
        \mathrm{EMD} = \frac{1}{N} \sum_n \sum_{k=1}^{K-1}
        |\hat F_{n,k} - F_{n,k}| \, (l_{k+1} - l_k), \quad F_{n,k} = \sum_{j \le k} p_{n,j}

    Args:
        distribution: predicted probabilities, [N, K], any floating dtype; rows sum to 1 (within
            1%, and are then made to).
        target_distribution: the ones to compare with, [N, K], likewise.
        labels: label grid, K increasing numbers, equally spaced or not.

    Returns:
        float64 scalar, in the unit of the labels.

    Raises:
        TypeError: if one has no floating dtype.
        ValueError: if the shapes do not fit, there are no rows, or a row is no distribution.

    Source:
        The closed form in one dimension: Vallender (1974), "Calculation of the Wasserstein Distance
        between Probability Distributions on the Line".

    Example:
        >>> p, q = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.0, 0.5, 0.5]])
        >>> emd(p, q, labels=[0, 1, 3]).item()  # 0.5 over a distance of 3
        1.5
    """
    return mean_of_rows(emd_rows(distribution, target_distribution, labels), "distribution")


def interval_coverage(
    distribution: Tensor,
    target: Tensor,
    labels: Tensor | Sequence[float],
    level: float = 0.9,
) -> Tensor:
    r"""Share of the targets that lie in the central interval of their predicted distribution.

    .. math::
        \frac{1}{N} \sum_n \left[ Q_n\!\left(\tfrac{1 - c}{2}\right) \le y_n \le
        Q_n\!\left(\tfrac{1 + c}{2}\right) \right]

    Q is the quantile of `dldl_fast.functional.quantile`. Both ends are labels and belong to the
    interval, which therefore holds at least the probability c: calibrated predictions of targets
    that are labels cover c or somewhat more.

    Args:
        distribution: probabilities, [N, K], any floating dtype; rows sum to 1 (within 1%, and are
            then made to).
        target: true values, [N], any real dtype, in the unit of the labels.
        labels: label grid, K increasing numbers.
        level: c, the probability that the interval is for, in (0, 1).

    Returns:
        float64 scalar in [0, 1].

    Raises:
        TypeError: if the distribution has no floating dtype or the target is no real tensor.
        ValueError: if the shapes do not fit, there are no rows, the target is not finite, a row of
            the distribution is none, or the level is outside (0, 1).

    Example:
        >>> p = torch.tensor([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
        >>> interval_coverage(p, torch.tensor([1.0, 2.0]), labels=[0, 1, 2], level=0.5).item()
        0.5
    """
    return mean_of_rows(interval_coverage_rows(distribution, target, labels, level), "distribution")


def interval_width(
    distribution: Tensor, labels: Tensor | Sequence[float], level: float = 0.9
) -> Tensor:
    r"""Mean width of the central intervals of the predicted distributions.

    .. math::
        \frac{1}{N} \sum_n
        \left( Q_n\!\left(\tfrac{1 + c}{2}\right) - Q_n\!\left(\tfrac{1 - c}{2}\right) \right)

    Of predictions with the same `interval_coverage`, those with narrower intervals say more.

    Args:
        distribution: probabilities, [N, K], any floating dtype; rows sum to 1 (within 1%, and are
            then made to).
        labels: label grid, K increasing numbers.
        level: c, the probability that the interval is for, in (0, 1).

    Returns:
        float64 scalar, in the unit of the labels.

    Raises:
        TypeError: if the distribution has no floating dtype.
        ValueError: if its shape does not fit, there are no rows, a row is no distribution, or the
            level is outside (0, 1).

    Example:
        >>> p = torch.tensor([[0.1, 0.8, 0.1], [0.3, 0.4, 0.3]])
        >>> interval_width(p, labels=[0, 1, 2], level=0.5).item()  # (0 + 2) / 2
        1.0
    """
    return mean_of_rows(interval_width_rows(distribution, labels, level), "distribution")


def calibration_error(
    distribution: Tensor, target: Tensor, labels: Tensor | Sequence[float]
) -> Tensor:
    r"""How far the predicted probabilities are from the observed shares, on average.

    .. math::
        \frac{1}{99} \sum_{u = 0.01}^{0.99} \left| \frac{1}{N} \sum_n s_n(u) - u \right|, \quad
        s_n(u) = \min\left(\max\left(
        \frac{u - \hat F_{n,k-1}}{\hat F_{n,k} - \hat F_{n,k-1}}, 0 \right), 1 \right)

    where k is the label nearest to the target of row n. If the labels were dense,
    :math:`s_n(u)` would be :math:`[\hat F_n(y_n) \le u]`, and calibrated means that a share u of
    the targets has a predicted cumulative probability of at most u, for every u. With labels that
    are not dense, :math:`\hat F_n(y_n)` jumps: :math:`\hat p_{n,k}` is read as the probability
    that l_k is the nearest label, and a target is taken to be anywhere within that jump with the
    same probability; :math:`s_n(u)` is the part of the jump that is at most u. Thus perfect
    predictions have an expected share of exactly u however coarse the grid is. What is left for N
    perfectly calibrated rows is chance, up to about :math:`0.3 / \sqrt{N}`.

    Args:
        distribution: probabilities, [N, K], any floating dtype; rows sum to 1 (within 1%, and are
            then made to).
        target: true values, [N], any real dtype, in the unit of the labels. The first and the last
            label are the nearest for what lies beyond them.
        labels: label grid, K increasing numbers, equally spaced or not.

    Returns:
        float64 scalar in [0, 0.5].

    Raises:
        TypeError: if the distribution has no floating dtype or the target is no real tensor.
        ValueError: if the shapes do not fit, there are no rows, the target is not finite, or a row
            of the distribution is none.

    Source:
        The calibration plot of Kuleshov et al. (2018), "Accurate Uncertainties for Deep Learning
        Using Calibrated Regression", with the mean absolute distance; s is the nonrandomised
        probability integral transform of Czado et al. (2009), "Predictive Model Assessment for
        Count Data".

    Example:
        >>> p = torch.tensor([[0.25, 0.5, 0.25]]).expand(4, 3)
        >>> calibrated = calibration_error(p, torch.tensor([0.0, 1.0, 1.0, 2.0]), labels=[0, 1, 2])
        >>> too_high = calibration_error(p, torch.zeros(4), labels=[0, 1, 2])
        >>> round(calibrated.item(), 6), round(too_high.item(), 6)
        (0.0, 0.378788)
    """
    return mean_calibration_error(
        mean_of_rows(calibration_rows(distribution, target, labels), "distribution")
    )


def crps_rows(distribution: Tensor, target: Tensor, labels: Tensor | Sequence[float]) -> Tensor:
    """Score of every row, float64 [N]."""
    cdf, grid = checked_cdf("distribution", distribution, labels)
    y = _finite_target(target, distribution).unsqueeze(-1)
    step = grid[1:] - grid[:-1]
    left = torch.minimum((y - grid[:-1]).clamp_min(0), step)  # of y, in each step
    below, above = cdf[:, :-1].square() * left, (1 - cdf[:, :-1]).square() * (step - left)
    outside = (grid[0] - y).clamp_min(0) + (y - grid[-1]).clamp_min(0)
    return (below + above).sum(-1) + outside.squeeze(-1)


def emd_rows(
    distribution: Tensor, target_distribution: Tensor, labels: Tensor | Sequence[float]
) -> Tensor:
    """Distance of every row, float64 [N]."""
    cdf, grid = checked_cdf("distribution", distribution, labels)
    target_cdf, _ = checked_cdf("target_distribution", target_distribution, labels)
    if target_distribution.shape != distribution.shape:
        raise ValueError(
            "distribution and target_distribution must have the same shape, "
            f"got {list(distribution.shape)} and {list(target_distribution.shape)}"
        )
    return (cdf - target_cdf)[:, :-1].abs() @ (grid[1:] - grid[:-1])


def interval_coverage_rows(
    distribution: Tensor, target: Tensor, labels: Tensor | Sequence[float], level: float
) -> Tensor:
    """1 where the target is in the interval, else 0, float64 [N]."""
    low, high = _interval(distribution, labels, level)
    y = _finite_target(target, distribution)
    return ((low <= y) & (y <= high)).double()


def interval_width_rows(
    distribution: Tensor, labels: Tensor | Sequence[float], level: float
) -> Tensor:
    """Width of every interval, float64 [N]."""
    low, high = _interval(distribution, labels, level)
    return high - low


def calibration_rows(
    distribution: Tensor, target: Tensor, labels: Tensor | Sequence[float]
) -> Tensor:
    """s_n(u) at every one of the levels, float64 [N, 99]."""
    cdf, grid = checked_cdf("distribution", distribution, labels)
    nearest = nearest_label(_finite_target(target, distribution), grid).unsqueeze(-1)
    upper = cdf.gather(-1, nearest)
    lower = torch.where(nearest > 0, cdf.gather(-1, (nearest - 1).clamp_min(0)), 0.0)
    levels = CALIBRATION_LEVELS.to(cdf.device)
    part = ((levels - lower) / (upper - lower)).clamp(0, 1)
    # A label without probability is no jump: 0 / 0 otherwise.
    return torch.where(upper > lower, part, (levels >= upper).double())


def mean_calibration_error(shares: Tensor) -> Tensor:
    """Mean distance of the observed shares, [99], from the levels."""
    return (shares - CALIBRATION_LEVELS.to(shares.device)).abs().mean()


def check_interval_level(level: float) -> float:
    """Return the level as a float, or raise ValueError if no interval can have it."""
    level = float(level)
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level:g}")
    return level


def checked_cdf(
    name: str, distribution: Tensor, labels: Tensor | Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Cumulative distributions, float64 [N, K], and the label grid on their device."""
    grid = as_label_grid(labels)
    if not isinstance(distribution, Tensor) or not distribution.is_floating_point():
        kind = getattr(distribution, "dtype", type(distribution).__name__)
        raise TypeError(f"{name} must be a tensor of floating dtype, got {kind}")
    if distribution.dim() == 0 or distribution.shape[-1] != len(grid):
        raise ValueError(
            f"{name} must have shape [N, {len(grid)}] to match the {len(grid)} labels, "
            f"got {list(distribution.shape)}"
        )
    p = distribution.detach().double().reshape(-1, len(grid))
    total = p.sum(-1)
    wrong = (p < 0).any(-1) | ~((total - 1).abs() <= SUM_TOLERANCE)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} must hold probabilities >= 0 that sum to 1 in each row; row {row} has the "
            f"smallest {float(p[row].min()):g} and the sum {float(total[row]):g}; "
            "of logits, pass logits.softmax(-1)"
        )
    return cumulative(p), on_device(grid, p.device)


def _finite_target(target: Tensor, distribution: Tensor) -> Tensor:
    if not isinstance(target, Tensor) or target.is_complex():
        kind = getattr(target, "dtype", type(target).__name__)
        raise TypeError(f"target must be a real tensor, got {kind}")
    if target.shape != distribution.shape[:-1]:
        raise ValueError(
            f"target must have shape {list(distribution.shape[:-1])} to match distribution "
            f"{list(distribution.shape)}, got {list(target.shape)}"
        )
    y = target.detach().double().reshape(-1)
    if not bool(torch.isfinite(y).all()):
        raise ValueError("target must be finite")
    return y


def _interval(
    distribution: Tensor, labels: Tensor | Sequence[float], level: float
) -> tuple[Tensor, Tensor]:
    level = check_interval_level(level)
    cdf, grid = checked_cdf("distribution", distribution, labels)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=cdf.dtype, device=cdf.device)
    low, high = inverse(cdf, grid, ends)
    return low, high
