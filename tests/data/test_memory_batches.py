from __future__ import annotations

import pytest
import torch
from torch import Generator

from dldl_fast.data import Split
from dldl_fast.data.batches import epoch_rows
from dldl_fast.data.images import normalise
from dldl_fast.data.memory_batches import MemoryBatches

COUNT = 11


@pytest.fixture
def part() -> Split:
    generator = Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, 1, 8, 8), generator=generator, dtype=torch.uint8)
    rows = torch.arange(COUNT, dtype=torch.float64)
    return Split(images, rows, rows / 10, rows + 1, torch.arange(COUNT).flip(0))


def shifted(images, target, generator):
    """Every image brighter by a number of its own, which its target tells."""
    amount = torch.rand(len(images), generator=generator)
    return images + amount[:, None, None, None], target + amount


def same(images, target, _generator):
    return images, target


def make(part, augment=same, **settings) -> MemoryBatches:
    settings = {"batch_size": 4, "seed": 7, "device": torch.device("cpu")} | settings
    return MemoryBatches(part, augment, **settings)


def test_rows_stay_together_in_the_order_of_the_epoch(part):
    for number in (1, 2):
        batches = list(make(part).epoch(number))
        orders = epoch_rows(COUNT, 4, 7, number)
        assert len(batches) == len(orders) == len(make(part)) == 2
        for batch, rows in zip(batches, orders, strict=True):
            assert torch.equal(batch.target, rows.double())
            assert torch.equal(batch.sigma, rows.double() / 10)
            assert torch.equal(batch.weight, rows.double() + 1)
            assert torch.equal(batch.images, normalise(part.images[COUNT - 1 - rows] / 255.0))


def test_processes_share_the_batches_of_one(part):
    whole = list(make(part).epoch(3))
    shares = [list(make(part, rank=rank, processes=2).epoch(3)) for rank in range(2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        together = torch.stack([first.target, second.target], 1).flatten()
        assert torch.equal(together, batch.target)


def test_random_changes_are_those_of_the_epoch_and_of_the_process(part):
    def changes(number: int, **settings) -> list[float]:
        batches = make(part, shifted, **settings).epoch(number)
        return [x for batch in batches for x in (batch.target % 1).tolist()]

    assert changes(1) == changes(1)
    assert not set(changes(1)) & set(changes(2))
    assert not set(changes(1)) & set(changes(1, seed=8))
    ranks = [changes(1, rank=rank, processes=2) for rank in range(2)]
    assert not set(ranks[0]) & set(ranks[1])


def test_fewer_images_than_a_batch(part):
    batches = make(part, batch_size=100)
    assert len(batches) == 1
    assert [len(batch.target) for batch in batches.epoch(1)] == [COUNT]
