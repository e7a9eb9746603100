from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dldl_fast.faces.mtcnn.networks import ONet, PNet, PNetScan, RNet


def some_weights(network: nn.Module) -> nn.Module:
    """Large and of both signs, the slopes too: then the order of pooling and PReLU matters."""
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, std=0.6 if "prelu" in name else 0.2)
    return network.requires_grad_(False)


def literal(network: nn.Module, images: Tensor, layers: str) -> Tensor:
    """Features in float64: `layers` are numbers of convolutions and sizes of pools."""
    weights = {name: tensor.double() for name, tensor in network.state_dict().items()}
    x = images.double()
    for number, pool in (layer.split(":") for layer in layers.split()):
        x = F.conv2d(x, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"])
        slope = weights[f"prelu{number}.weight"].reshape(-1, 1, 1)
        x = torch.where(x > 0, x, slope * x)
        if int(pool):
            x = F.max_pool2d(x, int(pool), 2, ceil_mode=True)
    return x


def dense(network: nn.Module, x: Tensor, number: int) -> Tensor:
    """The first dense layer: its columns are for x-coordinate, y-coordinate, channel."""
    weights = {name: tensor.double() for name, tensor in network.state_dict().items()}
    n, channels, height, width = x.shape
    weight = weights[f"dense{number}.weight"].reshape(-1, width, height, channels)
    x = torch.einsum("nchw,owhc->no", x, weight) + weights[f"dense{number}.bias"]
    return torch.where(x > 0, x, weights[f"prelu{number}.weight"] * x)


def output(network: nn.Module, x: Tensor, name: str) -> Tensor:
    layer = getattr(network, name)
    return x @ layer.weight.double().flatten(1).T + layer.bias.double()


@pytest.mark.parametrize("size", [(11, 11), (12, 13), (13, 12), (17, 30), (48, 41)])
def test_pnet_and_its_scan(size):
    network = some_weights(PNet())
    images = torch.rand(3, 3, *size) * 2 - 1
    features = literal(network, images, "1:2 2:0 3:0").permute(0, 2, 3, 1)
    assert features.shape[1:3] == tuple((side - 1) // 2 - 4 for side in size)
    score = output(network, features, "conv4_1").softmax(-1)[..., 1]
    offsets = output(network, features, "conv4_2")
    for found, expected in zip(network(images), (score, offsets), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    scan = PNetScan(network)
    for layout in (torch.contiguous_format, torch.channels_last):
        scores, found = scan(images.contiguous(memory_format=layout))
        torch.testing.assert_close(scores.double(), score, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(scan.offsets(found).double(), offsets, atol=1e-5, rtol=1e-5)


def test_rnet():
    network = some_weights(RNet())
    images = torch.rand(5, 3, 24, 24) * 2 - 1
    features = dense(network, literal(network, images, "1:3 2:3 3:0"), 4)
    scores, offsets = network(images)
    expected = output(network, features, "dense5_1").softmax(1)[:, 1]
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=1e-5)
    expected = output(network, features, "dense5_2")
    torch.testing.assert_close(offsets.double(), expected, atol=1e-4, rtol=1e-4)


def test_onet():
    network = some_weights(ONet())
    images = torch.rand(5, 3, 48, 48) * 2 - 1
    features = dense(network, literal(network, images, "1:3 2:3 3:2 4:0"), 5)
    scores, offsets, landmarks = network(images)
    expected = output(network, features, "dense6_1").softmax(1)[:, 1]
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=1e-4)
    expected = output(network, features, "dense6_2")
    torch.testing.assert_close(offsets.double(), expected, atol=1e-4, rtol=1e-4)
    x, y = output(network, features, "dense6_3").split(5, 1)
    expected = torch.stack((x, y), 2)
    torch.testing.assert_close(landmarks.double(), expected, atol=1e-4, rtol=1e-4)
