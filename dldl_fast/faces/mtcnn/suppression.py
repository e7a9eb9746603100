"""Non-maximum suppression: of boxes that overlap, the one with the highest score stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

# Pairs of boxes that are compared at once: about 100 MB.
_PAIRS = 2**20


def suppress(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    threshold: float,
    part_of: Literal["union", "smaller"] = "union",
) -> Tensor:
    """Keep, from the highest score down, every box that overlaps no kept one of its group much.

    Args:
        boxes: float [K, 4], left, top, right, bottom.
        scores: float [K].
        groups: int64 [K], >= 0; boxes of different groups do not suppress each other.
        threshold: the overlap above which the lower score goes.
        part_of: the common area is divided by that of the union, or by that of the smaller box;
            in the latter case, as in MTCNN's last step, right and bottom count as pixels of the
            box.

    Returns:
        Indices of the kept boxes, int64, highest score first. Of equal scores the first goes
        before the others, and with ``"smaller"`` the last.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [8, 8, 18, 18]])
        >>> suppress(boxes, torch.tensor([0.8, 0.9, 0.7]), torch.zeros(3, dtype=torch.int64), 0.5)
        tensor([1, 2])
    """
    smaller = part_of == "smaller"
    if smaller:
        order = len(scores) - 1 - scores.flip(0).argsort(descending=True, stable=True)
    else:
        order = scores.argsort(descending=True, stable=True)
    boxes, groups = boxes[order], groups[order]
    extra = 1.0 if smaller else 0.0
    size = boxes[:, 2:] - boxes[:, :2] + extra
    area = size[:, 0] * size[:, 1]
    winners, losers = [], []
    for one, other in _side_by_side(boxes[:, 0], boxes[:, 2] + extra, groups):
        low = torch.maximum(boxes[one, :2], boxes[other, :2])
        high = torch.minimum(boxes[one, 2:], boxes[other, 2:])
        common = (high - low + extra).clamp_(min=0).prod(1)
        if smaller:
            whole = torch.minimum(area[one], area[other])
        else:
            whole = area[one] + area[other] - common
        much = common / whole > threshold
        one, other = one[much], other[much]
        winners.append(torch.minimum(one, other))
        losers.append(torch.maximum(one, other))
    kept = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    if winners:
        winner, loser = torch.cat(winners), torch.cat(losers)
        while True:
            # A box stays unless one that stays suppresses it. Each round is right about one box
            # more at least, in the order of the scores; once nothing changes, about all.
            previous, kept = kept, torch.ones_like(kept)
            kept[loser[previous[winner]]] = False
            if torch.equal(previous, kept):
                break
    return order[kept]


def _side_by_side(left: Tensor, right: Tensor, groups: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices of all pairs in one group that have columns in common, in parts of bounded size."""
    if len(left) < 2:
        return
    # Groups one beside the other, on one axis.
    start = left.double()
    begin = start.min()
    extent = right.max() - begin + 1
    shift = groups * extent - begin
    start, sweep = (start + shift).sort()
    end = (right + shift)[sweep]
    position = torch.arange(len(sweep), device=sweep.device)
    partners = (torch.searchsorted(start, end) - position - 1).clamp_(min=0)
    total = partners.cumsum(0)
    first = 0
    while first < len(sweep):
        done = int(total[first - 1]) if first else 0
        # At least one box, however many partners it has.
        last = max(int(torch.searchsorted(total, done + _PAIRS, right=True)), first + 1)
        one = position[first:last].repeat_interleave(partners[first:last])
        before = (total - partners)[first:last].repeat_interleave(partners[first:last])
        number = torch.arange(len(one), device=sweep.device) + done - before
        yield sweep[one], sweep[one + 1 + number]
        first = last
