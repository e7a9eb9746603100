"""Noise with a patch somewhere, whose stripes say what the label is."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dldl_fast.methods import make_method
from dldl_fast.models import ALResNet

SIZE, SIDE = 64, 16
"""Of images and of patches, in pixels."""

LABELS = 5


class Planted(NamedTuple):
    images: Tensor
    """[N, 3, 64, 64]"""
    labels: Tensor
    """0 to 4, float64 [N]"""
    boxes: Tensor
    """Left, top, right, bottom of the striped patches, [N, 4]."""


def planted(count: int, seed: int) -> Planted:
    """The stripes of label k are turned by k / 4 of a right angle; their phase is random."""
    random = Generator().manual_seed(seed)
    labels = torch.randint(LABELS, (count,), generator=random)
    images = 0.5 * torch.randn(count, 3, SIZE, SIZE, generator=random)
    corners = torch.randint(SIZE - SIDE + 1, (count, 2), generator=random)
    phases = 2 * math.pi * torch.rand(count, generator=random)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for image, label, phase, (left, top) in zip(
        images, labels.tolist(), phases, corners.tolist(), strict=True
    ):
        angle = math.pi / 2 * label / (LABELS - 1)
        wave = torch.sin((x * math.cos(angle) + y * math.sin(angle)) * math.pi / 4 + phase)
        image[:, top : top + SIDE, left : left + SIDE] = 1.5 * wave.sign()
    left_top = corners.float()
    return Planted(images, labels.double(), torch.cat([left_top, left_top + SIDE], 1))


def train(model: ALResNet, seed: int) -> None:
    """100 steps with DLDL-v2, 16 new images each: about ten seconds of a core."""
    method = make_method("dldl-v2", range(LABELS), sigma=0.5)
    slow = model.attention_parameters()
    fast = [p for p in model.parameters() if all(p is not q for q in slow)]
    optimizer = torch.optim.Adam([{"params": fast}, {"params": slow, "lr": 0.0003}], lr=0.003)
    model.train()
    for step in range(100):
        images, labels, _ = planted(16, seed=10_000 * seed + step)
        optimizer.zero_grad()
        method.loss(model(images), labels).backward()
        optimizer.step()


def distances(regions: Tensor, cues: Tensor) -> Tensor:
    """Of the centres of regions [N, T, 4] to those of the cues [N, 4], in pixels, [N, T]."""
    middles = (regions[..., :2] + regions[..., 2:]) / 2
    return (middles - ((cues[:, :2] + cues[:, 2:]) / 2)[:, None]).norm(dim=2)


def covered(regions: Tensor, cues: Tensor) -> Tensor:
    """Share of every cue's area that is in the region, [N, T]."""
    cues = cues[:, None]
    sides = torch.minimum(regions[..., 2:], cues[..., 2:]) - torch.maximum(
        regions[..., :2], cues[..., :2]
    )
    return sides.clamp_min(0).prod(2) / SIDE**2
