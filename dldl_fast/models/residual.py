"""Residual networks without their last layer, and residual networks of residual networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from dldl_fast.models.checkpoint import require_fit


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first one has the stride."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels, width, stride)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        shortcut = _sum(x if self.downsample is None else self.downsample(x), beside)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        out: Tensor = self.relu(x + shortcut)
        return out


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a shortcut; the stride is that of the 3x3 one."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = self.expansion * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels, out, stride)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        shortcut = _sum(x if self.downsample is None else self.downsample(x), beside)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        out: Tensor = self.relu(x + shortcut)
        return out


class _Kind(NamedTuple):
    block: type[_BasicBlock] | type[_Bottleneck]
    blocks: tuple[int, int, int, int]


_KINDS = {
    18: _Kind(_BasicBlock, (2, 2, 2, 2)),
    34: _Kind(_BasicBlock, (3, 4, 6, 3)),
    50: _Kind(_Bottleneck, (3, 4, 6, 3)),
}

DEPTHS = tuple(_KINDS)
"""Numbers of layers that there are."""


MIN_WIDTH = 8
"""With 4 channels, the gradient of a strided 1x1 convolution in channels_last writes beyond its
memory in torch 2.13 on the CPU."""


class ResNetMaps(nn.Module):
    """ResNet up to its last feature maps.

    Layers, and the names of the weights, are those of ``torchvision.models.resnet18``,
    ``resnet34`` and ``resnet50`` without ``fc``. Convolution weights start normal with variance
    2 / (k k c_out).

    Args:
        depth: 18, 34 or 50 layers.
        width: channels of the first convolution, 64 in the original, at least 8; the four stages
            have 1, 2, 4 and 8 times as many, and four times that with 50 layers.

    Attributes:
        stage_channels: channels of the maps after each of the four stages.

    Shape:
        images [N, 3, H, W] to maps [N, 8 width, h, w], or [N, 32 width, h, w] with 50 layers, where
        h is H / 32, rounded up.

    Raises:
        ValueError: if there is no such depth, or the width is not at least 8.

    Source:
        He et al., Deep Residual Learning for Image Recognition; with the stride in the 3x3
        convolutions, as torchvision has it.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     [sum(p.numel() for p in ResNetMaps(depth).parameters()) for depth in DEPTHS]
        [11176512, 21284672, 23508032]
        >>> ResNetMaps(18, width=8)(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 64, 2, 3])
    """

    def __init__(self, depth: int, *, width: int = 64) -> None:
        if depth not in _KINDS:
            raise ValueError(f"depth must be one of {DEPTHS}, got {depth!r}")
        if width < MIN_WIDTH:
            raise ValueError(f"width must be at least {MIN_WIDTH}, got {width}")
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        block, blocks = _KINDS[depth]
        channels, sizes = width, []
        for number, count in enumerate(blocks):
            size = width * 2**number
            stage = nn.Sequential(block(channels, size, 1 if number == 0 else 2))
            channels = block.expansion * size
            stage.extend(block(channels, size, 1) for _ in range(count - 1))
            self.add_module(f"layer{number + 1}", stage)
            sizes.append(channels)
        self.stage_channels = tuple(sizes)
        _start(self)

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """Maps after each of the four stages, with strides of 4, 8, 16 and 32 pixels."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Maps after the last stage."""
        return self.stage_maps(images)[-1]

    def load_torchvision(self, weights: Mapping[str, Tensor], source: object) -> None:
        """Take the weights of a ResNet of torchvision, such as those learnt on ImageNet.

        ``fc`` is left out. Shortcuts that torchvision's networks lack stay as they are.

        Args:
            weights: its ``state_dict()``, of the same depth.
            source: where it came from, for the error.

        Raises:
            CheckpointError: listing everything that does not fit.

        Example:
            >>> weights = ResNetMaps(18).state_dict()  # or that of torchvision.models.resnet18()
            >>> maps = RoRMaps(18)
            >>> maps.load_torchvision(weights, "resnet18")
            >>> (maps.conv1.weight == weights["conv1.weight"]).all().item()
            True
        """
        own = {key: v for key, v in self.state_dict().items() if not key.startswith("shortcut")}
        taken = {key: tensor for key, tensor in weights.items() if not key.startswith("fc.")}
        require_fit(taken, own, source)
        self.load_state_dict(taken, strict=False)


class RoRMaps(ResNetMaps):
    r"""Residual network of residual networks, up to its last feature maps.

    A ResNet with more shortcuts: one over each stage (middle level) and one over all of them (root
    level), added before the last ReLU of what they lead over. With x the input of a stage, r that
    of the first one, and h the block's own shortcut, the last block of a stage gives

    .. math::
        \mathrm{ReLU}(F(x_l) + h(x_l) + g(x)), \quad \text{in the last stage }
        \mathrm{ReLU}(F(x_l) + h(x_l) + g(x) + g_0(r)).

    g is the identity where the shapes are the same, else a 1x1 convolution with the stride and
    batch normalisation. Arguments and shapes are those of `ResNetMaps`.

    Source:
        RoR-3 of Zhang et al., Residual Networks of Residual Networks: Multilevel Residual Networks.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in RoRMaps(34).parameters())
        21492288
    """

    def __init__(self, depth: int, *, width: int = 64) -> None:
        super().__init__(depth, width=width)
        inputs = (width, *self.stage_channels)
        for number in range(1, 5):
            stride = 1 if number == 1 else 2
            projection = _projection(inputs[number - 1], inputs[number], stride) or nn.Identity()
            _start(projection)
            self.add_module(f"shortcut{number}", projection)
        root = _projection(width, inputs[-1], 8)
        assert root is not None  # for the type checker: the shapes always differ
        _start(root)
        self.shortcut = root

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """Maps after each of the four stages, with strides of 4, 8, 16 and 32 pixels."""
        x = root = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for number in range(1, 5):
            beside = self.get_submodule(f"shortcut{number}")(x)
            if number == 4:
                beside = beside + self.shortcut(root)
            stage = self.get_submodule(f"layer{number}")
            assert isinstance(stage, nn.Sequential)  # for the type checker
            x = stage[-1](stage[:-1](x), beside)
            maps.append(x)
        return maps


def _projection(channels: int, out: int, stride: int) -> nn.Sequential | None:
    """A shortcut between different shapes; None where they are the same."""
    if stride == 1 and channels == out:
        return None
    convolution = nn.Conv2d(channels, out, 1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out))


def _sum(shortcut: Tensor, beside: Tensor | None) -> Tensor:
    return shortcut if beside is None else shortcut + beside


def _start(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
