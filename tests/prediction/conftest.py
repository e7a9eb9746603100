from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from dldl_fast.faces import Face
from dldl_fast.models import TinyAgeNet

SIZE = 32
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture
def model() -> TinyAgeNet:
    """Small, with predictions that differ widely between pictures and from their mirror images."""
    net = TinyAgeNet(range(20, 51), rate=0.05)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.3)
            module.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        net.head.weight.mul_(20)
    net.config = {
        "image": {"size": SIZE, "mean": MEAN, "std": STD},
        "data": {"name": "made up", "unit": "years"},
        "loss": {"sigma": 2.5},
    }
    return net.eval()


@pytest.fixture
def model_folder(model: TinyAgeNet, tmp_path: Path) -> Path:
    pytest.importorskip("safetensors", reason="the extra hub is not installed")
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def picture(seed: int, height: int = SIZE, width: int = SIZE) -> NDArray[np.uint8]:
    """Smooth random colours."""
    coarse = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (255 * smooth[0].permute(1, 2, 0)).round().to(torch.uint8).numpy()


def face(left: float, top: float, side: float, score: float = 0.9) -> Face:
    """A face whose landmarks are at fixed places of its square box."""
    places = torch.tensor([[0.3, 0.35], [0.7, 0.33], [0.5, 0.55], [0.35, 0.75], [0.66, 0.77]])
    corner = torch.tensor([left, top])
    return Face((left, top, left + side, top + side), corner + side * places, score)


class FakeDetector:
    """Finds the same faces in every picture, and none in those that are darker than half."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        return [list(self.faces) if one.mean() > 100 else [] for one in pictures]
