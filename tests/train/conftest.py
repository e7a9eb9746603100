from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from dldl_fast.data import FaceData, Split
from dldl_fast.labels import label_grid


@pytest.fixture
def stripes() -> FaceData:
    """32 x 32 pictures of a bright column; its place is the label, 4 to 28."""

    def draw(count: int, seed: int) -> Split:
        generator = Generator().manual_seed(seed)
        target = 4 + 24 * torch.rand(count, generator=generator, dtype=torch.float64)
        column = torch.arange(32, dtype=torch.float64)
        bright = torch.exp(-0.5 * ((column - target[:, None]) / 2).square())
        noise = 40 * torch.rand(count, 1, 32, 32, generator=generator)
        images = (200 * bright[:, None, None] + noise).to(torch.uint8)
        sigma = 1 + torch.rand(count, generator=generator, dtype=torch.float64)
        return Split(images, target, sigma)

    def same(images: Tensor, target: Tensor, _: Generator) -> tuple[Tensor, Tensor]:
        return images, target

    train = draw(128, 0)
    return FaceData(
        name="stripes",
        unit="pixels",
        labels=label_grid(0, 31),
        train=train,
        test=draw(32, 1),
        augment=same,
        baseline=float(train.target.median()),
    )
