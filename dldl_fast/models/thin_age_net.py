"""ThinAgeNet and its family: VGG-16 made thin, with batch normalisation and hybrid pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from dldl_fast.labels import label_grid
from dldl_fast.models.label_distribution_net import LabelDistributionNet

AGES = (0.0, 100.0, 1.0)
"""First label, last label and step of the paper's label grid for ages, in years: K = 101."""

SCUT_FBP = (1.0, 5.0, 0.1)
"""The same for attractiveness in SCUT-FBP, in points: K = 41."""

CFD = (1.0, 7.0, 0.1)
"""The same for attractiveness in CFD, in points: K = 61."""

# Channels of VGG-16's five blocks. A 2x2 max-pool halves the plane after each of the first four;
# the fifth one belongs to the hybrid pooling.
_VGG16_WIDTHS = (64, 128, 256, 512, 512)

MIN_IMAGE_SIZE = 32
"""Smallest height and width that the five halvings leave something of."""


class ThinVGG16Features(nn.Sequential):
    """VGG-16's convolutions with fewer channels, batch normalisation and no fifth max-pool.

    Every 3x3 convolution has no bias and is followed by batch normalisation and ReLU. Weights
    start as N(0, 2 / (9 c_out)).

    Args:
        rate: share of VGG-16's channels that is kept, in (0, 1].
        depths: convolutions of each of the five blocks.

    Shape:
        images [N, 3, H, W], H and W >= 32, to maps [N, C, H // 16, W // 16].

    Raises:
        ValueError: if `rate` is out of range, or the images are not of the shape above.

    Example:
        >>> import torch
        >>> ThinVGG16Features(0.125, (2, 2, 3, 3, 3))(torch.zeros(1, 3, 224, 112)).shape
        torch.Size([1, 64, 14, 7])
    """

    def __init__(self, rate: float, depths: Sequence[int]) -> None:
        if not 0.0 < rate <= 1.0:
            raise ValueError(f"rate must be in (0, 1], got {rate}")
        layers: list[nn.Module] = []
        channels = 3
        for vgg_width, depth in zip(_VGG16_WIDTHS, depths, strict=True):
            if layers:
                layers.append(nn.MaxPool2d(2))
            width = max(1, round(vgg_width * rate))
            for _ in range(depth):
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                nn.init.normal_(convolution.weight, std=math.sqrt(2.0 / (9 * width)))
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
        super().__init__(*layers)
        self.num_features = channels
        self.depths = tuple(depths)

    def forward(self, images: Tensor) -> Tensor:
        """Maps [N, C, H // 16, W // 16] of normalised images [N, 3, H, W]."""
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < MIN_IMAGE_SIZE:
            raise ValueError(
                f"images must have shape [N, 3, H, W] with H and W >= {MIN_IMAGE_SIZE}, "
                f"got {list(shape)}"
            )
        maps: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return maps


class ThinAgeNet(LabelDistributionNet):
    r"""VGG-16 with fewer channels, batch normalisation and hybrid pooling; its output are logits.

    Thirteen 3x3 convolutions without bias, each followed by batch normalisation and ReLU, hybrid
    pooling (see Source), and one fully connected layer to the K labels. Convolution weights start
    as :math:`N(0, 2 / (9\, c_{out}))`, those of the last layer as
    :math:`U(-1/\sqrt{c_{in}}, 1/\sqrt{c_{in}})` with bias 0.

    Args:
        labels: label grid, K increasing numbers; default the ages 0, 1, ..., 100.
        rate: share of VGG-16's channels that is kept, in (0, 1]; default 0.5, for TinyAgeNet and
            TinyAttNet 0.25.
        pooling: ``"hybrid"``; or, for the paper's ablation, ``"gap"`` (mean of every map) or
            ``"gmp"`` (its maximum).

    Shape:
        images [N, 3, H, W], normalised, H and W >= 32, to logits [N, K].

    Raises:
        ValueError: if an argument is out of range, or the images are not of the shape above.

    Source:
        Section 3.4 and the authors' released code (its ``hp_scratch``); 3,708,229 parameters at
        K = 101. The ablation is in section 4.5.2.

    Example:
        >>> model = ThinAgeNet()
        >>> sum(p.numel() for p in model.parameters())
        3708229
        >>> import torch
        >>> model.predict(torch.zeros(1, 3, 224, 224), flip=True).dtype
        torch.float64
    """

    _rate: ClassVar[float] = 0.5
    _grid: ClassVar[tuple[float, float, float]] = AGES
    _depths: ClassVar[tuple[int, ...]] = (2, 2, 3, 3, 3)

    def __init__(
        self,
        labels: Tensor | Sequence[float] | None = None,
        *,
        rate: float | None = None,
        pooling: str = "hybrid",
    ) -> None:
        rate = self._rate if rate is None else rate
        super().__init__(
            ThinVGG16Features(rate, self._depths),
            label_grid(*self._grid) if labels is None else labels,
            pooling=pooling,
        )
        self.rate = float(rate)

    def architecture(self) -> dict[str, Any]:
        """Arguments, other than the labels, that make this network again."""
        return {"rate": self.rate, "pooling": self.pooling}


class TinyAgeNet(ThinAgeNet):
    """`ThinAgeNet` with a quarter of VGG-16's channels; the same arguments.

    Source:
        Section 3.4; 934,869 parameters at K = 101.

    Example:
        >>> sum(p.numel() for p in TinyAgeNet().parameters())
        934869
    """

    _rate = 0.25


class ThinAttNet(ThinAgeNet):
    """`ThinAgeNet` for attractiveness; the same arguments.

    The default grid is that of SCUT-FBP, 1, 1.1, ..., 5; for CFD pass ``label_grid(*CFD)``.

    Source:
        Sections 3.4 and 4.1; 3,692,809 parameters at K = 41, 3,697,949 at K = 61.

    Example:
        >>> len(ThinAttNet().labels), len(ThinAttNet(label_grid(*CFD)).labels)
        (41, 61)
    """

    _grid = SCUT_FBP


class TinyAttNet(TinyAgeNet):
    """`ThinAttNet` with a quarter of VGG-16's channels; the same arguments.

    Source:
        Sections 3.4 and 4.1.

    Example:
        >>> sum(p.numel() for p in TinyAttNet().parameters())
        927129
    """

    _grid = SCUT_FBP
