"""VGG-16 without its last layer, for machines without torchvision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Backbone(nn.Module):
    """Thirteen convolutions and the first two fully connected layers of VGG-16.

    Names of the weights, and the layers, are those of ``torchvision.models.vgg16`` without
    ``classifier.6``. Weights start normal with variance 2 / (9 c_out) in the convolutions and
    0.0001 in the fully connected layers; biases as 0.

    Shape:
        images [N, 3, H, W], H and W >= 32, to features [N, 4096].

    Source:
        Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image
        Recognition, configuration D.

    Example:
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in VGG16Backbone().parameters())
        134260544
    """

    num_features = 4096

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in _CHANNELS:
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(7 * 7 * channels, self.num_features),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(self.num_features, self.num_features),
            nn.ReLU(inplace=True),
            nn.Dropout(),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, 4096] of images [N, 3, H, W]."""
        maps = self.avgpool(self.features(images))
        features: Tensor = self.classifier(torch.flatten(maps, 1))
        return features
