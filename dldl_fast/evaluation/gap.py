"""How far two groups are apart, and whether that may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

MIN_ROWS = 10
"""Groups with fewer rows take no part: their errors are mostly chance."""

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Gap:
    """The largest difference of the mean absolute errors of two groups.

    Attributes:
        worst: the group with the largest error.
        best: the one with the smallest.
        difference: of their mean absolute errors.
        low: lower end of the confidence interval of 95 %.
        high: its upper end.
    """

    worst: str
    best: str
    difference: float
    low: float
    high: float


def largest_gap(errors: Tensor, ids: Tensor, names: Sequence[str], *, seed: int = 0) -> Gap | None:
    """The gap between the groups with the largest and the smallest error.

    The interval is the percentile bootstrap of the difference of these two groups: the rows of each
    are drawn again, 2000 times. If it holds 0, the gap may be chance. Two things make it too
    narrow: the two groups were chosen because they differ most, and pictures of the same person
    count as if they were independent.

    Args:
        errors: absolute error of every row, float64 [N].
        ids: group of every row, int64 [N].
        names: of the groups.
        seed: of the draws.

    Returns:
        None if fewer than two groups have at least 10 rows.

    Source:
        Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13.

    Example:
        >>> errors = torch.cat([torch.full((20,), 3.0), torch.full((20,), 5.0)]).double()
        >>> gap = largest_gap(errors, torch.arange(40) // 20, ["men", "women"])
        >>> gap.worst, gap.difference, gap.low, gap.high
        ('women', 2.0, 2.0, 2.0)
    """
    parts = {name: errors[ids == number] for number, name in enumerate(names)}
    means = {name: float(part.mean()) for name, part in parts.items() if len(part) >= MIN_ROWS}
    if len(means) < 2:
        return None
    worst, best = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    generator = Generator().manual_seed(seed)
    drawn = [_means(parts[name], generator) for name in (worst, best)]
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = torch.quantile(drawn[0] - drawn[1], ends).tolist()
    return Gap(worst, best, means[worst] - means[best], low, high)


def _means(errors: Tensor, generator: Generator) -> Tensor:
    """Mean of rows drawn with replacement, float64 [DRAWS]."""
    count = len(errors)
    # One draw at a time: all together would take DRAWS times the memory.
    means = [
        errors[torch.randint(count, (count,), generator=generator)].mean() for _ in range(DRAWS)
    ]
    return torch.stack(means)
