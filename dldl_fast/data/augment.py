"""Random changes that leave the label of a face as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def uniform(low: float, high: float, like: Tensor, generator: Generator) -> Tensor:
    """One number per image, uniform in [low, high), on the device of the images."""
    drawn = torch.rand(len(like), generator=generator, dtype=torch.float32)
    return (low + (high - low) * drawn).to(like.device)


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror every image left to right with probability one half."""
    mirrored = uniform(0.0, 1.0, images, generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def random_brightness(images: Tensor, generator: Generator, amount: float = 0.2) -> Tensor:
    """Multiply every image by a number in [1 - amount, 1 + amount)."""
    factor = uniform(1.0 - amount, 1.0 + amount, images, generator)
    return images * factor[:, None, None, None]


def random_zoom(
    images: Tensor, generator: Generator, amount: float = 0.1, shift: float = 0.05
) -> Tensor:
    """Zoom by up to `amount` and move by up to `shift` of the size; the border is repeated."""
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = uniform(1.0 - amount, 1.0 + amount, images, generator)
    # The coordinates of a sampling grid run from -1 to 1, so the size is 2.
    theta[:, 0, 2] = uniform(-2.0 * shift, 2.0 * shift, images, generator)
    theta[:, 1, 2] = uniform(-2.0 * shift, 2.0 * shift, images, generator)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def augment_photo(images: Tensor, target: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Zoom, shift and brightness: safe for any label, also for one that has a side."""
    return random_brightness(random_zoom(images, generator), generator), target


def augment_face(images: Tensor, target: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """The same and mirroring, for labels that a mirror does not change, such as age."""
    return augment_photo(random_flip(images, generator), target, generator)
