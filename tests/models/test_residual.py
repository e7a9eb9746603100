from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dldl_fast.models import CheckpointError
from dldl_fast.models.residual import DEPTHS, ResNetMaps, RoRMaps
from dldl_fast.models.resnet50 import ResNet50Backbone
from tests.models.test_comparators import randomised

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def torchvision_shapes(depth: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all that torchvision's ``resnet<depth>().state_dict()`` holds."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        for key in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{key}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    channels = 64
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        width = 32 * 2**stage
        out = width if depth < 50 else 4 * width
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            kernels = (
                [(width, channels, 3), (width, width, 3)]
                if depth < 50
                else [(width, channels, 1), (width, width, 3), (out, width, 1)]
            )
            for number, (c_out, c_in, k) in enumerate(kernels, start=1):
                shapes[f"{name}.conv{number}.weight"] = (c_out, c_in, k, k)
                norm(f"{name}.bn{number}", c_out)
            if block == 0 and channels != out:
                shapes[f"{name}.downsample.0.weight"] = (out, channels, 1, 1)
                norm(f"{name}.downsample.1", out)
            channels = out
    return {**shapes, "fc.weight": (1000, channels), "fc.bias": (1000,)}


@pytest.mark.parametrize("depth", DEPTHS)
def test_names_and_shapes_are_those_of_torchvision(depth):
    with torch.device("meta"):
        found = {name: tuple(v.shape) for name, v in ResNetMaps(depth).state_dict().items()}
        more = {name: tuple(v.shape) for name, v in RoRMaps(depth).state_dict().items()}
    expected = torchvision_shapes(depth)
    del expected["fc.weight"], expected["fc.bias"]
    assert found == expected
    assert {name: v for name, v in more.items() if not name.startswith("shortcut")} == expected


@pytest.mark.parametrize("kind", [ResNetMaps, RoRMaps])
def test_weights_of_torchvision_are_taken(kind):
    weights = {
        name: torch.empty(shape).uniform_(0.5, 1.5) if shape else torch.tensor(7)
        for name, shape in torchvision_shapes(18).items()
    }
    maps = kind(18)
    before = {name: tensor.clone() for name, tensor in maps.state_dict().items()}
    maps.load_torchvision(weights, "resnet18.pth")
    for name, tensor in maps.state_dict().items():
        assert torch.equal(tensor, weights.get(name, before[name])), name
    left = {name for name in before if name not in weights}
    assert all(name.startswith("shortcut") for name in left)
    assert bool(left) == (kind is RoRMaps)


def test_sizes_that_torchvision_states():
    """With the last layer for 1000 classes."""
    for depth, count in {18: 11_689_512, 34: 21_797_672, 50: 25_557_032}.items():
        with torch.device("meta"):
            maps = ResNetMaps(depth)
        features = maps.stage_channels[-1]
        parameters = sum(p.numel() for p in maps.parameters())
        assert parameters + 1000 * (features + 1) == count


@pytest.mark.parametrize("depth", DEPTHS)
def test_equals_torchvision(depth):
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    theirs = randomised(getattr(models, f"resnet{depth}")(weights=None))
    assert {k: tuple(v.shape) for k, v in theirs.state_dict().items()} == torchvision_shapes(depth)
    maps = ResNetMaps(depth).eval()
    maps.load_torchvision(theirs.state_dict(), "torchvision")
    images = torch.randn(2, 3, 64, 64)
    theirs.fc = torch.nn.Identity()
    torch.testing.assert_close(maps(images).mean((2, 3)), theirs(images))


def test_maps_of_the_stages():
    maps = ResNetMaps(18, width=8)
    images = torch.randn(1, 3, 96, 64)
    found = maps.stage_maps(images)
    assert [tuple(m.shape) for m in found] == [
        (1, 8, 24, 16), (1, 16, 12, 8), (1, 32, 6, 4), (1, 64, 3, 2),
    ]  # fmt: skip
    assert maps.stage_channels == (8, 16, 32, 64)
    assert ResNetMaps(50, width=8).stage_channels == (32, 64, 128, 256)


def test_the_pooled_network_is_the_same():
    with torch.device("meta"):
        assert list(ResNet50Backbone().state_dict()) == list(ResNetMaps(50).state_dict())


@pytest.mark.parametrize("depth", [18, 50])
def test_ror_layer_by_layer(depth):
    torch.manual_seed(0)
    model = randomised(RoRMaps(depth, width=8)).double()
    weights = model.state_dict()
    images = torch.randn(2, 3, 64, 48, dtype=torch.float64)
    kernels = (3, 3) if depth == 18 else (1, 3, 1)

    def step(x, name, norm_name, stride=1):
        kernel = weights[f"{name}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, var, scale, shift = (
            weights[f"{norm_name}.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def shortcut(x, name, stride):
        if f"{name}.0.weight" not in weights:
            return x
        return step(x, f"{name}.0", f"{name}.1", stride)

    x = root = F.max_pool2d(step(images, "conv1", "bn1", 2).relu(), 3, 2, 1)
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        start, first = x, 1 if stage == 1 else 2
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", first if block == 0 else 1
            beside = shortcut(x, f"{name}.downsample", stride)
            for number, kernel in enumerate(kernels, start=1):
                # The stride is that of the first 3x3 convolution.
                strided = block == 0 and kernel == 3 and (depth == 50 or number == 1)
                x = step(x, f"{name}.conv{number}", f"{name}.bn{number}", first if strided else 1)
                x = x.relu() if number < len(kernels) else x
            x = x + beside
            if block == blocks - 1:
                x = x + shortcut(start, f"shortcut{stage}", first)
                if stage == 4:
                    x = x + shortcut(root, "shortcut", 8)
            x = x.relu()
    torch.testing.assert_close(model(images), x, rtol=1e-9, atol=1e-9)
    # The identity over the first stage needs shapes that stay.
    assert ("shortcut1.0.weight" in weights) == (depth == 50)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"depth must be one of \(18, 34, 50\), got 101"):
        ResNetMaps(101)
    with pytest.raises(ValueError, match="width must be at least 8, got 7"):
        ResNetMaps(18, width=7)
    with torch.device("meta"):
        maps, other = ResNetMaps(18), ResNetMaps(34).state_dict()
    with pytest.raises(CheckpointError, match=r"r34\.pth: .*unexpected: layer1\.2\.conv1\.weight"):
        maps.load_torchvision(other, "r34.pth")
