from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dldl_fast import HybridPool2d
from dldl_fast.models import ThinAgeNet

IMAGE_SHAPE = (3, 64, 64)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """No test reads or writes the user's own choices."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dldl_fast" / "inference"


@pytest.fixture
def model() -> nn.Module:
    """Small, in training mode, with batch statistics; its values differ widely between images."""
    net = ThinAgeNet(rate=0.125)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
    # Gaussians of standard deviation 5 around a value that is linear in the features.
    centred = torch.arange(101.0) - 50
    with torch.no_grad():
        features = net.eval().pool(net.features(some_images(32)))
        direction = torch.randn(features.shape[1])
        direction *= 2 / (features @ direction).std()
        net.head.weight.copy_(torch.outer(centred, direction) / 25)
        middle = features.mean(0) @ direction
        net.head.bias.copy_(-centred * middle / 25 - centred**2 / 50)
    return net.train()


@pytest.fixture
def small_model() -> nn.Module:
    """What is quick to trace and to compile."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        HybridPool2d(),
        nn.Linear(8, 101),
    )
    net[1].running_var.fill_(0.5)
    with torch.no_grad():
        net[-1].weight *= 3
    return net


@pytest.fixture
def images() -> Tensor:
    return some_images(3)


def some_images(count: int) -> Tensor:
    """Smooth ones: the mean over noise would be the same for all."""
    return F.interpolate(torch.randn(count, 3, 4, 4), IMAGE_SHAPE[1:], mode="bicubic")


def expected_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Of the model as it is, in evaluation mode, float64."""
    with torch.no_grad():
        return copy.deepcopy(model).double().eval()(images.double())
