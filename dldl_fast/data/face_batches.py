"""Batches of a training whose pictures worker processes change and put together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from dldl_fast.data.base import PictureAugment, Split
from dldl_fast.data.batches import Batch, epoch_rows, seed_of
from dldl_fast.data.images import normalise
from dldl_fast.data.workers import clear_errors, loader


class FaceBatches:
    """`Batches` of a split, the same ones whatever the number of workers and processes.

    The random numbers of a picture depend on `seed`, the epoch and its row alone. The workers hand
    over 8-bit pictures, which are a quarter as large as what the network takes; they are normalised
    on the device.

    Args:
        split: images, which may be mapped from a file, targets and sigmas.
        batch_size: images per step, of all processes together.
        seed: of the order and of the random changes.
        augment: changes every picture, such as `OfficialAugmentation`; None leaves them alone.
        workers: processes that make batches ahead of the training; 0 makes each when it is needed.
        rank: of this process in a training of several.
        processes: how many there are.
        device: where the batches go.

    Raises:
        ValueError: if the batches would be empty in some process, or an argument makes no sense.

    Example:
        >>> from dldl_fast.data.official_augment import OfficialAugmentation
        >>> images = torch.zeros(10, 1, 16, 16, dtype=torch.uint8)
        >>> split = Split(images, torch.arange(10.0, dtype=torch.float64))
        >>> batches = FaceBatches(split, batch_size=4, seed=0, augment=OfficialAugmentation())
        >>> [batch.images.shape for batch in batches.epoch(1)]
        [torch.Size([4, 3, 16, 16]), torch.Size([4, 3, 16, 16])]
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        augment: PictureAugment | None,
        workers: int = 0,
        rank: int = 0,
        processes: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 <= rank < processes:
            raise ValueError(f"rank must be in [0, {processes}), got {rank}")
        if min(batch_size, len(split)) < processes:
            raise ValueError(
                f"{processes} processes need at least as many images per step; got batch_size "
                f"{batch_size} and {len(split)} images"
            )
        self._split = split
        self._rows = (len(split), batch_size, seed)
        self._share = (rank, processes)
        self._device = torch.device(device)
        self._keys = _Keys()
        self._begun = 0
        self._loader = loader(
            _Pictures(split, seed, augment),
            self._keys,
            workers,
            keep=True,
            pin=self._device.type == "cuda",
        )

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        count, batch_size, _ = self._rows
        return count // min(batch_size, count)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, numbered from 1. Beginning another one ends it.

        Raises:
            RuntimeError: if a worker ended unexpectedly, or another epoch has begun since.
        """
        rows = epoch_rows(*self._rows, number, *self._share)
        self._keys.now = [(number, part.tolist()) for part in rows]
        self._begun += 1
        begun = self._begun
        with clear_errors():
            for part, images in zip(rows, self._loader, strict=True):
                yield self._batch(part, images)
                if begun != self._begun:
                    raise RuntimeError(f"epoch {number} cannot go on: another epoch has begun")

    def _batch(self, rows: Tensor, images: Tensor) -> Batch:
        device, split = self._device, self._split

        def of(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows].to(device)

        return Batch(
            normalise(images.to(device, non_blocking=True) / 255.0),
            split.target[rows].to(device),
            of(split.sigma),
            of(split.weight),
        )


class _Keys:
    """Epoch and rows of the batches to come, which a DataLoader asks for at every pass."""

    def __init__(self) -> None:
        self.now: list[tuple[int, list[int]]] = []

    def __len__(self) -> int:
        return len(self.now)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return iter(self.now)


class _Pictures(Dataset[Tensor]):
    def __init__(self, split: Split, seed: int, augment: PictureAugment | None) -> None:
        self.split = split
        self.seed = seed
        self.augment = augment

    def __getitem__(self, key: tuple[int, list[int]]) -> Tensor:
        """The pictures of a batch, uint8 [N, C, S, S]."""
        epoch, rows = key
        if self.augment is None:
            return self.split.pictures(torch.tensor(rows))
        size = self.split.images.shape[-1]
        changed = torch.empty(
            (len(rows), 3, size, size), dtype=torch.uint8, memory_format=torch.channels_last
        )
        for place, row in enumerate(rows):
            generator = Generator().manual_seed(seed_of(self.seed, epoch, row))
            changed[place] = self.augment(self.split.picture(row), generator)
        return changed
