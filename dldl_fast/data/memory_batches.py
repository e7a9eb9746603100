"""Batches of images that are in memory, changed at random all at once on the training device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from dldl_fast.data.base import Augment, Split
from dldl_fast.data.batches import Batch, epoch_rows, seed_of
from dldl_fast.data.images import normalise


class MemoryBatches:
    """Batches of a part of a data set; see `dldl_fast.data.batches.Batches`.

    The seed decides the order of the images, whatever the number of processes. Their random changes
    are drawn anew in every epoch, for each process by itself.

    Args:
        part: the images.
        augment: makes the images and targets of a step.
        batch_size: images per step, of all processes together.
        seed: of order and random changes.
        device: where the batches are wanted.
        rank: of this process.
        processes: how many there are.
    """

    def __init__(
        self,
        part: Split,
        augment: Augment,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._part = part
        self._augment = augment
        self._batch_size = min(batch_size, len(part))
        self._seed = seed
        self._device = device
        self._rank = rank
        self._processes = processes

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self._part) // self._batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, numbered from 1."""
        part = self._part
        generator = Generator().manual_seed(seed_of(self._seed, number, 1, self._rank))
        for rows in epoch_rows(
            len(part), self._batch_size, self._seed, number, self._rank, self._processes
        ):
            images, target = self._augment(
                part.pictures(rows).to(self._device) / 255.0,
                part.target[rows].to(self._device),
                generator,
            )
            yield Batch(
                normalise(images), target, self._of(part.sigma, rows), self._of(part.weight, rows)
            )

    def _of(self, values: Tensor | None, rows: Tensor) -> Tensor | None:
        return None if values is None else values[rows].to(self._device)
