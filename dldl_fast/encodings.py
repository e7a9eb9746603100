"""Three encodings of a label, and why they are one: p.d.f., c.d.f. and ranking code (section 3.2).

A label distribution p, its cumulative distribution c and the probabilities r that ranking methods
learn hold the same information. The functions below convert each way without the K x K matrix of
Eq. 5: sums one way, differences the other.

Eq. 5, c = T p, is printed with T_ij = 1 for i <= j. That is the upper triangle, with which
(T p)_k is the sum of p_j over j >= k: a survival function, which falls with k. The sum over
j <= k that Eq. 2 asks for needs the lower triangle, which is what `transformation_matrix` makes.
(The printed T gives the ranking probabilities directly, (T p)_{k+1} = P(y > l_k), without the
"1 -" of Eq. 6.)

Also with the right triangle, Eq. 5 and Eq. 2 agree only approximately. A discretised p_j stands for
the cell of half a step on either side of l_j, so that (T p)_k is the normal c.d.f. at the border
l_k + step / 2, while Eq. 2 takes it at l_k. Away from the ends of the grid (T p)_k is therefore the
larger one, by at most step / (2 sqrt(2 pi) sigma) and by about as much where l_k = y: 0.1 for
sigma = 2 and step = 1. (That is so for kind "gaussian_bin". Eq. 1 takes the density at l_j for the
mean over the cell; with sigma >= step it is so up to a share of (step / sigma)^2 / 64.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dldl_fast.functional import check_sigma, label_distribution
from dldl_fast.labels import as_label_grid, on_device

__all__ = [
    "cdf",
    "cumulative_to_distribution",
    "decode_ranking",
    "distribution_to_cumulative",
    "distribution_to_ranking",
    "pdf",
    "ranking_code",
    "ranking_to_distribution",
    "transformation_matrix",
]

pdf = label_distribution
"""The encoding of DLDL (Eq. 1): `functional.label_distribution` by its name in the paper."""


def cdf(target: Tensor, labels: Tensor | Sequence[float], sigma: float | Tensor = 2.0) -> Tensor:
    r"""Cumulative distribution function of the normal distribution around y, at the labels.

    .. math::
        c_k = \frac{1}{2} \left[ 1 + \mathrm{erf}\left(
        \frac{l_k - y}{\sigma \sqrt 2} \right) \right]

    It counts mass below l_1 and beyond l_K, which no label distribution on the grid has: near the
    ends c_1 is not p_1, and c_K is not 1. Differentiable with respect to target and sigma.

    Args:
        target: y, [...], any real dtype, finite; may lie outside the labels.
        labels: label grid, K increasing numbers.
        sigma: standard deviation in the unit of the labels, a number or [...], >= 0. For 0 the
            limit is returned: 0, 1/2 and 1 below, at and above y.

    Returns:
        [..., K] in float64.

    Raises:
        TypeError: if target is not a tensor.
        ValueError: for a bad sigma or a target that is not finite.

    Source:
        Eq. 2.

    Example:
        >>> cdf(torch.tensor(1.0), [0, 1, 2], sigma=0.5)
        tensor([0.0228, 0.5000, 0.9772], dtype=torch.float64)
    """
    y, grid = _target_and_grid(target, labels)
    if not isinstance(sigma, Tensor):
        sigma = check_sigma(sigma, "gaussian")
    s = torch.as_tensor(sigma, dtype=grid.dtype, device=y.device).expand(y.shape)
    _require((s >= 0) & torch.isfinite(s), s, "sigma must be finite and >= 0, got")
    s = s.unsqueeze(-1)
    distance = grid - y.unsqueeze(-1)
    smooth = torch.special.ndtr(distance / torch.where(s == 0, 1.0, s))
    return torch.where(s == 0, (1 + distance.sign()) / 2, smooth)


def ranking_code(target: Tensor, labels: Tensor | Sequence[float]) -> Tensor:
    r"""What the K - 1 binary classifiers of ranking methods are trained to answer.

    .. math::
        r_k = [y > l_k], \quad k = 1, \ldots, K - 1

    For y in (l_{k-1}, l_k] these are k - 1 ones, then zeros. It is the limit of 1 - c for
    sigma -> 0 (Eq. 4) at every label other than y itself: there 1 - c_k is 1/2 for every sigma,
    and the code is 0, as Eq. 3 has it.

    Args:
        target: y, [...], any real dtype, finite; may lie outside the labels.
        labels: label grid, K increasing numbers.

    Returns:
        [..., K - 1] in float64, of zeros and ones.

    Raises:
        TypeError: if target is not a tensor.
        ValueError: if a target is not finite.

    Source:
        Section 3.2, before Eq. 2.

    Example:
        >>> ranking_code(torch.tensor([2.0, 2.1]), [0, 1, 2, 3])
        tensor([[1., 1., 0.],
                [1., 1., 1.]], dtype=torch.float64)
    """
    y, grid = _target_and_grid(target, labels)
    return (y.unsqueeze(-1) > grid[:-1]).to(grid.dtype)


def transformation_matrix(n_labels: int) -> Tensor:
    r"""The matrix T with which c = T p, for looking at; the conversions do without it.

    .. math::
        T_{ij} = [i \ge j], \quad (T p)_k = \sum_{j \le k} p_j

    The paper prints T_ij = 1 for i <= j, the transpose of this, which gives the sums over j >= k
    instead and so contradicts Eq. 2; the text of the module says more.

    Args:
        n_labels: K, at least 1.

    Returns:
        Lower triangle of ones, [K, K] in float64.

    Raises:
        ValueError: if n_labels is less than 1.

    Source:
        Eq. 5, corrected.

    Example:
        >>> transformation_matrix(3) @ torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
        tensor([0.2000, 0.7000, 1.0000], dtype=torch.float64)
    """
    if n_labels < 1:
        raise ValueError(f"n_labels must be at least 1, got {n_labels}")
    return torch.ones(n_labels, n_labels, dtype=torch.float64).tril()


def distribution_to_cumulative(distribution: Tensor) -> Tensor:
    r"""Cumulative distribution, :math:`c_k = \sum_{j \le k} p_j`. Differentiable.

    Args:
        distribution: p, [..., K], floating point, >= 0 and with a sum of 1 (to within the square
            root of the dtype's precision).

    Returns:
        c, [..., K], in the same dtype.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it is not a distribution.

    Source:
        Eq. 5 with the lower triangle.

    Example:
        >>> distribution_to_cumulative(torch.tensor([0.25, 0.5, 0.25]))
        tensor([0.2500, 0.7500, 1.0000])
    """
    return _checked_distribution(distribution).cumsum(-1)


def cumulative_to_distribution(cumulative: Tensor) -> Tensor:
    r"""Label distribution, :math:`p_k = c_k - c_{k-1}` with :math:`c_0 = 0`. Differentiable.

    Args:
        cumulative: c, [..., K], floating point, not negative, not decreasing, and ending in 1 (to
            within the square root of the dtype's precision).

    Returns:
        p, [..., K], in the same dtype; negative differences within that precision become 0.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it is no cumulative distribution over the labels. The c.d.f. of Eq. 2 need
            not be one: what it has beyond the last label is missing.

    Source:
        Inverse of Eq. 5.

    Example:
        >>> cumulative_to_distribution(torch.tensor([0.25, 0.75, 1.0]))
        tensor([0.2500, 0.5000, 0.2500])
    """
    tolerance = _tolerance("cumulative", cumulative)
    last = cumulative[..., -1]
    _require(
        (last - 1).abs() <= tolerance,
        last,
        "cumulative must end in 1 (else there is mass beyond the last label), got",
    )
    differences = cumulative.diff(prepend=torch.zeros_like(cumulative[..., :1]))
    _require(
        differences >= -tolerance,
        differences,
        "cumulative must start at 0 or more and not decrease along the labels, got a difference of",
    )
    return differences.clamp(min=0)


def distribution_to_ranking(distribution: Tensor) -> Tensor:
    r"""Ranking probabilities, :math:`r_k = P(y > l_k) = \sum_{j > k} p_j`. Differentiable.

    The same as 1 - c_k, without the digits that the subtraction loses where little is left.

    Args:
        distribution: p, [..., K], floating point, >= 0 and with a sum of 1 (to within the square
            root of the dtype's precision).

    Returns:
        r, [..., K - 1], in the same dtype.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it is not a distribution.

    Source:
        Eq. 6.

    Example:
        >>> distribution_to_ranking(torch.tensor([0.25, 0.5, 0.25]))
        tensor([0.7500, 0.2500])
    """
    return _checked_distribution(distribution).flip(-1).cumsum(-1).flip(-1)[..., 1:]


def ranking_to_distribution(probabilities: Tensor) -> Tensor:
    r"""Label distribution of a ranking code or of ranking probabilities. Differentiable.

    .. math::
        p_k = r_{k-1} - r_k, \quad r_0 = 1, \; r_K = 0

    Args:
        probabilities: r_k = P(y > l_k), [..., K - 1], floating point, in [0, 1] and not increasing
            (to within the square root of the dtype's precision).

    Returns:
        p, [..., K], in the same dtype; negative differences within that precision become 0.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if the probabilities lie outside [0, 1] or increase along the labels, which
            those of independent classifiers may: ``torch.cummin(probabilities, -1).values`` are
            the largest values that do not increase and nowhere exceed them.

    Source:
        Inverse of Eq. 6.

    Example:
        >>> ranking_to_distribution(torch.tensor([[0.75, 0.25], [1.0, 0.0]]))
        tensor([[0.2500, 0.5000, 0.2500],
                [0.0000, 1.0000, 0.0000]])
    """
    tolerance = _tolerance("probabilities", probabilities)
    _require_probabilities(probabilities)
    one = torch.ones_like(probabilities[..., :1])
    survival = torch.cat([one, probabilities, torch.zeros_like(one)], -1)
    differences = survival[..., :-1] - survival[..., 1:]
    _require(
        differences >= -tolerance,
        -differences,
        "probabilities must not increase along the labels "
        "(torch.cummin(probabilities, -1).values do not), got an increase of",
    )
    return differences.clamp(min=0)


def decode_ranking(probabilities: Tensor, labels: Tensor | Sequence[float]) -> Tensor:
    r"""Value that ranking probabilities predict: the label after as many as are exceeded.

    .. math::
        \hat y = l_{i^*}, \quad i^* = 1 + \sum_{k=1}^{K-1} [r_k > 0.5]

    Counts, so that it needs no order among the probabilities. (The released code counts
    r_k >= 0.5.) The code of a y between two labels gives the upper one. Not differentiable.

    Args:
        probabilities: r_k = P(y > l_k), [..., K - 1], floating point, in [0, 1].
        labels: label grid, K increasing numbers.

    Returns:
        [...] in float64, in the unit of the labels.

    Raises:
        TypeError: if the probabilities are not a floating-point tensor.
        ValueError: if they lie outside [0, 1] (logits need a sigmoid first), or their number is
            not K - 1.

    Source:
        Section 4.5.4 and section 3.2.

    Example:
        >>> decode_ranking(torch.tensor([[0.9, 0.6, 0.2], [0.4, 0.1, 0.0]]), [10, 20, 30, 40])
        tensor([30., 10.], dtype=torch.float64)
    """
    _tolerance("probabilities", probabilities)
    grid = on_device(as_label_grid(labels), probabilities.device)
    if probabilities.shape[-1] != len(grid) - 1:
        raise ValueError(
            f"probabilities must have shape [..., {len(grid) - 1}], one less than the "
            f"{len(grid)} labels, got {list(probabilities.shape)}"
        )
    _require_probabilities(probabilities)
    return grid[(probabilities > 0.5).sum(-1)]


def _target_and_grid(target: Tensor, labels: Tensor | Sequence[float]) -> tuple[Tensor, Tensor]:
    if not isinstance(target, Tensor):
        raise TypeError(f"target must be a tensor, got {type(target).__name__}")
    grid = on_device(as_label_grid(labels), target.device)
    y = target.to(grid.dtype)
    _require(torch.isfinite(y), y, "target must be finite, got")
    return y, grid


def _checked_distribution(distribution: Tensor) -> Tensor:
    tolerance = _tolerance("distribution", distribution)
    _require(distribution >= 0, distribution, "distribution must hold values >= 0, got")
    total = distribution.sum(-1)
    _require((total - 1).abs() <= tolerance, total, "distribution must sum to 1, got")
    return distribution


def _require_probabilities(probabilities: Tensor) -> None:
    _require(
        (probabilities >= 0) & (probabilities <= 1),
        probabilities,
        "probabilities must lie in [0, 1] (logits need a sigmoid first), got",
    )


def _tolerance(name: str, values: Tensor) -> float:
    """How far rounding may put values of this dtype off, having checked what they are."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {got}")
    if values.dim() == 0 or values.shape[-1] == 0:
        raise ValueError(
            f"{name} must have a last dimension for the labels, got shape {list(values.shape)}"
        )
    return float(torch.finfo(values.dtype).eps ** 0.5)


def _require(holds: Tensor, values: Tensor, message: str) -> None:
    """Raise ValueError, message and value, for the first value for which something is not so."""
    if not bool(holds.all()):
        index = (~holds).nonzero()[0].tolist()
        raise ValueError(f"{message} {float(values[tuple(index)]):g} at index {index}")
