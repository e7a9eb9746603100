"""The large networks that the paper compares ThinAgeNet with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dldl_fast.labels import label_grid
from dldl_fast.models.label_distribution_net import LabelDistributionNet
from dldl_fast.models.resnet50 import ResNet50Backbone
from dldl_fast.models.thin_age_net import AGES
from dldl_fast.models.vgg16 import VGG16Backbone


class VGG16(LabelDistributionNet):
    """VGG-16 with K outputs: torchvision's where that is installed, with the same weights' names.

    Args:
        labels: label grid, K increasing numbers; default the ages 0, 1, ..., 100.

    Shape:
        images [N, 3, H, W], H and W >= 32, to logits [N, K].

    Source:
        Table 2, where it has 134.6 million parameters; 134,674,341 at K = 101.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in VGG16().parameters())
        134674341
    """

    def __init__(self, labels: Tensor | Sequence[float] | None = None) -> None:
        backbone = _torchvision_model("vgg16")
        if backbone is None:
            backbone = VGG16Backbone()
        else:
            del backbone.classifier[-1]  # type: ignore[union-attr, operator]
        super().__init__(backbone, _ages(labels), num_features=VGG16Backbone.num_features)

    def architecture(self) -> dict[str, Any]:
        """Nothing: the labels alone make this network again."""
        return {}


class ResNet50(LabelDistributionNet):
    """ResNet-50 with K outputs: torchvision's where that is installed, with the same names.

    Args:
        labels: label grid, K increasing numbers; default the ages 0, 1, ..., 100.

    Shape:
        images [N, 3, H, W] to logits [N, K].

    Source:
        Table 3, where it has 23.6 million parameters: 23,592,041 at K = 41, 23,633,021 at K = 61.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in ResNet50(label_grid(1, 5, 0.1)).parameters())
        23592041
    """

    def __init__(self, labels: Tensor | Sequence[float] | None = None) -> None:
        backbone = _torchvision_model("resnet50")
        if backbone is None:
            backbone = ResNet50Backbone()
        else:
            backbone.fc = nn.Identity()
        super().__init__(backbone, _ages(labels), num_features=ResNet50Backbone.num_features)

    def architecture(self) -> dict[str, Any]:
        """Nothing: the labels alone make this network again."""
        return {}


def _ages(labels: Tensor | Sequence[float] | None) -> Tensor | Sequence[float]:
    return label_grid(*AGES) if labels is None else labels


def _torchvision_model(name: str) -> nn.Module | None:
    """A model of torchvision with new weights, or None where torchvision cannot be imported."""
    try:
        from torchvision import models
    # One that is built for another torch raises RuntimeError.
    except (ImportError, RuntimeError):
        return None
    model: nn.Module = getattr(models, name)(weights=None)
    return model
