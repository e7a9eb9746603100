"""The batches of a training: which images, in which order, in every epoch and every process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor


class Batch(NamedTuple):
    """One step's images of this process.

    Attributes:
        images: float32 [N, 3, H, W], normalised, channels last.
        target: float64 [N].
        sigma: float64 [N], or None: the same for all.
        weight: float64 [N], of the rows in the mean loss, or None: 1.
    """

    images: Tensor
    target: Tensor
    sigma: Tensor | None
    weight: Tensor | None = None


class Batches(Protocol):
    """Gives the batches of any epoch; the same ones whenever it is asked for that epoch."""

    def __len__(self) -> int:
        """Number of batches in an epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, numbered from 1."""


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, such as seed, epoch and row.

    Example:
        >>> seed_of(0, 1, 2) == seed_of(0, 1, 2), seed_of(0, 1, 2) == seed_of(0, 2, 1)
        (True, False)
        >>> seed_of(0, 1, 0) == seed_of(0, 1)
        False
    """
    from numpy.random import SeedSequence

    # The count, since zeros at the end change nothing by themselves.
    low, high = SeedSequence((len(numbers), *numbers)).generate_state(2)
    return int(low) | (int(high) & 0x7FFFFFFF) << 32


def epoch_rows(
    count: int, batch_size: int, seed: int, epoch: int, rank: int = 0, processes: int = 1
) -> list[Tensor]:
    """Rows of this process's share of every batch of an epoch, in a new random order.

    A batch is that of all processes together, and process r takes its rows r, r + R, r + 2 R, ...,
    so that the number of processes R changes nothing about which images a step sees. An incomplete
    last batch is left out where there is a complete one.

    Args:
        count: number of images.
        batch_size: images per step, of all processes together.
        seed: of the training.
        epoch: number of the epoch, from 1.
        rank: of this process.
        processes: how many there are.

    Returns:
        One int64 tensor per batch.

    Example:
        >>> two = [epoch_rows(10, 4, 0, 1, rank, 2) for rank in range(2)]
        >>> [len(rows) for rows in two[0]]
        [2, 2]
        >>> together = torch.stack([two[0][0], two[1][0]], 1).reshape(-1)
        >>> torch.equal(together, epoch_rows(10, 4, 0, 1)[0])
        True
    """
    order = torch.randperm(count, generator=Generator().manual_seed(seed_of(seed, epoch)))
    batch_size = min(batch_size, count)
    whole = order[: count - count % batch_size]
    return [batch[rank::processes] for batch in torch.split(whole, batch_size)]
