"""ThinAgeNet and TinyAgeNet: VGG-16 made thin, with batch normalisation and hybrid pooling."""

from __future__ import annotations

import math

from torch import Tensor, nn

from dldl_fast.models.hybrid_pool import HybridPool2d

# Channels of VGG-16's five blocks. A 2x2 max-pool halves the plane after each of the first four;
# the fifth one belongs to the hybrid pooling.
_VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

MIN_IMAGE_SIZE = 32
"""Smallest height and width that the five halvings leave something of."""


class ThinAgeNet(nn.Module):
    r"""VGG-16 with fewer channels, batch normalisation and hybrid pooling; its output are logits.

    Thirteen 3x3 convolutions without bias, each followed by batch normalisation and ReLU, hybrid
    pooling (see Source), and one fully connected layer to the K labels. Convolution weights start
    as :math:`N(0, 2 / (9\, c_{out}))`, those of the last layer as
    :math:`U(-1/\sqrt{c_{in}}, 1/\sqrt{c_{in}})` with bias 0.

    Args:
        num_labels: K, the number of labels of the grid; at least 2.
        rate: share of VGG-16's channels that is kept, in (0, 1]. 0.5 is ThinAgeNet, 0.25
            TinyAgeNet.

    Shape:
        images [N, 3, H, W], normalised, H and W >= 32, to logits [N, K].

    Raises:
        ValueError: if `rate` or `num_labels` is out of range, or the images are not of the shape
            above.

    Source:
        Section 3.4 and the authors' released code (its ``hp_scratch``). 3,708,229 parameters at
        rate 0.5 and K = 101, 934,869 at rate 0.25.

    Example:
        >>> sum(p.numel() for p in ThinAgeNet(101).parameters())
        3708229
    """

    def __init__(self, num_labels: int = 101, *, rate: float = 0.5) -> None:
        super().__init__()
        if not 0.0 < rate <= 1.0:
            raise ValueError(f"rate must be in (0, 1], got {rate}")
        if num_labels < 2:
            raise ValueError(f"num_labels must be at least 2, got {num_labels}")
        self.rate = float(rate)
        layers: list[nn.Module] = []
        channels = 3
        for block in _VGG16_BLOCKS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for vgg_width in block:
                width = max(1, round(vgg_width * rate))
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                nn.init.normal_(convolution.weight, std=math.sqrt(2.0 / (9 * width)))
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.pool = HybridPool2d()
        self.head = nn.Linear(channels, num_labels)
        bound = 1.0 / math.sqrt(channels)
        nn.init.uniform_(self.head.weight, -bound, bound)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of normalised images [N, 3, H, W]."""
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < MIN_IMAGE_SIZE:
            raise ValueError(
                f"images must have shape [N, 3, H, W] with H and W >= {MIN_IMAGE_SIZE}, "
                f"got {list(shape)}"
            )
        logits: Tensor = self.head(self.pool(self.features(images)))
        return logits


class TinyAgeNet(ThinAgeNet):
    """`ThinAgeNet` with a quarter of VGG-16's channels.

    Args:
        num_labels: K, the number of labels of the grid.

    Source:
        Section 3.4; 934,869 parameters at K = 101.

    Example:
        >>> sum(p.numel() for p in TinyAgeNet(101).parameters())
        934869
    """

    def __init__(self, num_labels: int = 101) -> None:
        super().__init__(num_labels, rate=0.25)
