"""What a data set is to the training loop, and the errors that data sets raise."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Generator, Tensor

Augment = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
"""Images [N, C, H, W] in [0, 1] and targets [N] to those of one training step.

Random numbers come from the generator, which is on the CPU whatever the device of the images, so
that a seed gives the same images everywhere.
"""

PictureAugment = Callable[[Tensor, Generator], Tensor]
"""One image, uint8 [C, S, S], to that of one training step, uint8 [3, S, S].

All its random numbers come from the generator.
"""

Progress = Callable[[int, int], None]
"""Called with the number of pictures that are ready and their total."""


class DataError(ValueError):
    """A data set that cannot be used; the message names the file and, in a table, the row."""


class MissingExtraError(ImportError):
    """A package that an extra brings is missing; the message says what to install."""


@dataclass(frozen=True)
class Split:
    """The training, validation or test part of a data set.

    Attributes:
        images: uint8 [M, C, H, W], C = 1 (grey) or 3 (RGB); in memory or mapped from a file.
        target: float64 [N], in the unit of the labels.
        sigma: float64 [N], the standard deviation of every target, or None: the same for all.
        weight: float64 [N], >= 0, of every row in the mean loss, or None: 1.
        image_of: int64 [N], the image of every row, so that parts share what is mapped from one
            file; None: row n has image n.

    Example:
        >>> images = torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1)
        >>> part = Split(images, torch.tensor([50.0, 60.0]), image_of=torch.tensor([3, 1]))
        >>> part.pictures(torch.tensor([0, 1])).flatten().tolist()
        [3, 1]
    """

    images: Tensor
    target: Tensor
    sigma: Tensor | None = None
    weight: Tensor | None = None
    image_of: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def pictures(self, rows: Tensor) -> Tensor:
        """Images of some rows, uint8 [len(rows), C, H, W]."""
        return self.images[rows if self.image_of is None else self.image_of[rows]]

    def picture(self, row: int) -> Tensor:
        """The image of a row where it is, uint8 [C, H, W]."""
        return self.images[row if self.image_of is None else int(self.image_of[row])]


@dataclass(frozen=True)
class FaceData:
    """A data set, ready to train on.

    Attributes:
        name: short name, for file names and titles.
        unit: unit of the labels, in the plural.
        labels: float64 [K], the label grid.
        train: images to learn from.
        test: held-out images.
        augment: makes the images and targets of a training step.
        baseline: the constant whose mean absolute error on the training targets is smallest.
        note: what a reader of the results must know about the labels; may be empty.
        validation: held-out images that choose the best epoch, or None.
        mirror: whether a mirror image has the same label: true of ages, not of angles.
        augment_picture: instead of `augment`, changes images one by one, in worker processes.
    """

    name: str
    unit: str
    labels: Tensor
    train: Split
    test: Split
    augment: Augment
    baseline: float
    note: str = ""
    validation: Split | None = None
    mirror: bool = False
    augment_picture: PictureAugment | None = None


def package_folder(package: str, extra: str, purpose: str) -> Path:
    """Folder of an installed package, found without importing it.

    Raises:
        MissingExtraError: naming the extra that installs it.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"run: pip install 'dldl_fast[{extra}]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def hold_out(count: int, fraction: float, seed: int) -> Tensor:
    """Which of `count` items (images or persons) are held out for the test: bool [count].

    At least one is, and at least one is not.

    Raises:
        DataError: for fewer than two items.
        ValueError: if `fraction` is not in (0, 1).

    Example:
        >>> hold_out(10, 0.2, seed=0).sum().item()
        2
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"test_fraction must be between 0 and 1, got {fraction}")
    if count < 2:
        raise DataError(f"a training and a test part need at least 2 items, got {count}")
    held_out = min(max(round(count * fraction), 1), count - 1)
    order = torch.randperm(count, generator=Generator().manual_seed(seed))
    mask = torch.zeros(count, dtype=torch.bool)
    mask[order[:held_out]] = True
    return mask


def memory_limit() -> int:
    """Bytes that the decoded pictures may take: half of the memory, or 4 GiB if not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return 4 << 30
