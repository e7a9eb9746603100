from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dldl_fast.labels import label_grid
from dldl_fast.models import (
    CFD,
    HybridPool2d,
    ThinAgeNet,
    ThinAttNet,
    TinyAgeNet,
    TinyAttNet,
)


@pytest.mark.parametrize(
    ("make", "labels", "count"),
    [
        (ThinAgeNet, (0, 100, 1), 3_708_229),
        (TinyAgeNet, (0, 100, 1), 934_869),
        (ThinAttNet, (1, 5, 0.1), 3_692_809),
        (TinyAttNet, (1, 5, 0.1), 927_129),
        (lambda: ThinAttNet(label_grid(*CFD)), (1, 7, 0.1), 3_697_949),
    ],
)
def test_sizes_and_label_grids_of_the_paper(make, labels, count):
    model = make()
    assert sum(p.numel() for p in model.parameters()) == count
    assert torch.equal(model.labels, label_grid(*labels))


@pytest.mark.parametrize("make", [TinyAgeNet, TinyAttNet])
def test_tiny_is_rate_one_quarter(make):
    tiny = make(range(7)).state_dict()
    thin = ThinAgeNet(range(7), rate=0.25).state_dict()
    assert {k: v.shape for k, v in tiny.items()} == {k: v.shape for k, v in thin.items()}


def test_initial_weights():
    torch.manual_seed(0)
    model = ThinAgeNet()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 13
    for convolution in convolutions:
        weight = convolution.weight.detach()
        expected = math.sqrt(2 / (9 * convolution.out_channels))
        # Six standard errors of a sample's deviation and mean.
        tolerance = 6 / math.sqrt(2 * weight.numel())
        assert weight.std().item() == pytest.approx(expected, rel=tolerance)
        assert abs(weight.mean().item()) < 6 * expected / math.sqrt(weight.numel())
        assert weight.abs().max() > 2.5 * expected  # normal, not uniform
        assert convolution.bias is None
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        assert (norm.eps, norm.momentum) == (1e-5, 0.1)
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert torch.equal(norm.bias, torch.zeros_like(norm.bias))
    bound = 1 / math.sqrt(256)
    head = model.head.weight.detach()
    assert head.abs().max() <= bound
    assert head.abs().max() > 0.99 * bound
    assert head.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert torch.equal(model.head.bias, torch.zeros(101))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pooling", ["hybrid", "gap", "gmp"])
def test_forward_is_the_composition_of_section_3_4(training, pooling):
    torch.manual_seed(0)
    model = ThinAgeNet(range(11), rate=0.125, pooling=pooling).double().train(training)
    images = torch.randn(2, 3, 65, 48, dtype=torch.float64)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    convolutions = [k for k in weights if k.startswith("features") and weights[k].dim() == 4]

    x, seen = images, 0
    for block, depth in enumerate((2, 2, 3, 3, 3)):
        for _ in range(depth):
            x = F.conv2d(x, weights[convolutions[seen]], padding=1)
            if training:
                variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
            else:
                variance, mean = 1.0, 0.0
            x = ((x - mean) / (variance + 1e-5) ** 0.5).clamp(min=0)
            seen += 1
        if block < 4:
            x = F.max_pool2d(x, 2)
    pooled = {
        "hybrid": F.max_pool2d(x, 2).mean((2, 3)),
        "gap": x.mean((2, 3)),
        "gmp": x.amax((2, 3)),
    }[pooling]
    expected = pooled @ weights["head.weight"].T + weights["head.bias"]
    assert seen == 13
    torch.testing.assert_close(model(images), expected, rtol=1e-9, atol=1e-11)
    if not training:
        torch.testing.assert_close(model.features(images), x, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [(2, 2), (7, 7), (5, 8), (14, 14)])
def test_hybrid_pool_is_max_pool_then_mean(size):
    x = torch.randn(3, 4, *size, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    height, width = size[0] // 2, size[1] // 2
    windows = y[..., : 2 * height, : 2 * width].reshape(3, 4, height, 2, width, 2)
    expected = windows.amax(dim=(3, 5)).mean(dim=(2, 3))
    actual = HybridPool2d()(x)
    torch.testing.assert_close(actual, expected)
    upstream = torch.randn_like(expected)
    actual.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(x.grad, y.grad)


def test_hybrid_pool_differs_from_the_plain_mean():
    x = torch.tensor([[0.0, 4.0], [1.0, 3.0]]).reshape(1, 1, 2, 2)
    assert HybridPool2d()(x).item() == 4.0


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 64, 64), (1, 3, 31, 64), (1, 3, 64, 16)])
def test_wrong_images(shape):
    with pytest.raises(ValueError, match=r"\[N, 3, H, W\] with H and W >= 32, got"):
        TinyAgeNet(range(5))(torch.zeros(shape))


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, math.nan])
def test_wrong_rate(rate):
    with pytest.raises(ValueError, match=r"rate must be in \(0, 1\]"):
        ThinAgeNet(range(5), rate=rate)


def test_the_smallest_images_have_features():
    maps = TinyAgeNet().features(torch.zeros(1, 3, 32, 63))
    assert maps.shape == (1, 128, 2, 3)


def test_unknown_pooling():
    with pytest.raises(ValueError, match=r"pooling must be one of .*'gap'.*, got 'mean'"):
        ThinAgeNet(pooling="mean")
