from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dldl_fast.faces.mtcnn import suppression
from dldl_fast.faces.mtcnn.suppression import suppress


def greedy(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, part_of: str):
    """Box by box, in plain numbers."""
    smaller = part_of == "smaller"
    extra = 1.0 if smaller else 0.0
    rows = boxes.double().tolist()
    order = sorted(range(len(rows)), key=lambda i: (-scores[i].item(), -i if smaller else i))

    def area(box: list[float]) -> float:
        return (box[2] - box[0] + extra) * (box[3] - box[1] + extra)

    def overlap(a: list[float], b: list[float]) -> float:
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + extra)
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + extra)
        common = width * height
        both = min(area(a), area(b)) if smaller else area(a) + area(b) - common
        return common / both

    kept: list[int] = []
    for i in order:
        rivals = [j for j in kept if groups[j] == groups[i]]
        if all(overlap(rows[i], rows[j]) <= threshold for j in rivals):
            kept.append(i)
    return kept


def some_boxes(count: int) -> tuple[Tensor, Tensor, Tensor]:
    first = torch.rand(count, 2) * 40 - 20
    boxes = torch.cat((first, first + 15 + torch.rand(count, 2) * 15), 1)
    # Steps of 1/20, so that many scores are equal.
    scores = (torch.rand(count) * 20).round() / 20
    return boxes, scores, torch.randint(0, 4, (count,))


@pytest.mark.parametrize("part_of", ["union", "smaller"])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("pairs", [2**20, 50])
def test_is_greedy(part_of, threshold, pairs, monkeypatch):
    monkeypatch.setattr(suppression, "_PAIRS", pairs)
    boxes, scores, groups = some_boxes(300)
    kept = suppress(boxes, scores, groups, threshold, part_of)
    assert kept.tolist() == greedy(boxes, scores, groups, threshold, part_of)
    assert 20 < len(kept) < 250


def test_a_chain_of_boxes_each_of_which_suppresses_the_next():
    left = torch.arange(200.0) * 3
    boxes = torch.stack((left, left * 0, left + 10, left * 0 + 10), 1)
    scores = torch.linspace(1, 0.5, 200)
    kept = suppress(boxes, scores, torch.zeros(200, dtype=torch.int64), 0.5)
    assert kept.tolist() == list(range(0, 200, 2))


def test_boxes_that_just_touch_the_threshold_stay():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    scores, groups = torch.tensor([0.5, 0.9]), torch.zeros(2, dtype=torch.int64)
    assert suppress(boxes, scores, groups, 0.5).tolist() == [1, 0]
    assert suppress(boxes, scores, groups, 0.499).tolist() == [1]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    boxes, scores, groups = some_boxes(count)
    assert suppress(boxes, scores, groups, 0.5).tolist() == list(range(count))
