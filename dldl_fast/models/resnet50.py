"""ResNet-50 without its last layer, for machines without torchvision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dldl_fast.models.residual import ResNetMaps


class ResNet50Backbone(ResNetMaps):
    """ResNet-50 up to its global average pooling.

    Names of the weights, and the layers, are those of ``torchvision.models.resnet50`` without
    ``fc``.

    Shape:
        images [N, 3, H, W] to features [N, 2048].

    Source:
        He et al., Deep Residual Learning for Image Recognition.

    Example:
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in ResNet50Backbone().parameters())
        23508032
    """

    num_features = 2048

    def __init__(self) -> None:
        super().__init__(50)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, 2048] of images [N, 3, H, W]."""
        return torch.flatten(self.avgpool(super().forward(images)), 1)
