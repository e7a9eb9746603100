"""Bio-inspired features (BIF) of faces: Gabor filters, a maximum over scales, a spread over cells.

The method is that of Guo, Mu, Fu and Huang, "Human age estimation using bio-inspired features",
CVPR 2009. The DLDL-v2 paper (section 4.5.3) uses 6 bands and 8 orientations of it and says that
these are 4,616 numbers, but states neither the size of the images nor that of the cells, and many
choices give 4,616. The one taken here has the filters and cells of the first six bands of the 2009
paper, where cells overlap by half and lie wholly inside the image, and an image of such a size that
the number comes out; 60 rows x 44 columns is the one nearest to the shape of a face:
8 (19 * 13 + 14 * 10 + 11 * 7 + 9 * 6 + 7 * 5 + 6 * 4) = 8 * 577 = 4,616.

Choices of other kinds that the papers leave open: the filters have mean 0 and unit length, so that
brightness does not count and all scales weigh the same; responses keep their sign; images are
mirrored at their borders.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

BIF_SIZE = (60, 44)
"""Height and width in pixels that images are brought to."""

BIF_DIMENSION = 4616
"""Length of the feature vector."""

N_ORIENTATIONS = 8
_ASPECT_RATIO = 0.3
_GREY = (0.299, 0.587, 0.114)
_IMAGES_AT_A_TIME = 64  # bounds the memory: the responses of a band are 170 kB per image and scale


class Scale(NamedTuple):
    """One size of Gabor filter, in pixels."""

    size: int
    sigma: float
    wavelength: float


class Band(NamedTuple):
    """Two neighbouring scales, and the height and width of the cells their maximum is pooled in."""

    scales: tuple[Scale, Scale]
    cell: int


BANDS = (
    Band((Scale(5, 2.0, 2.5), Scale(7, 2.8, 3.5)), 6),
    Band((Scale(9, 3.6, 4.6), Scale(11, 4.5, 5.6)), 8),
    Band((Scale(13, 5.4, 6.8), Scale(15, 6.3, 7.9)), 10),
    Band((Scale(17, 7.3, 9.1), Scale(19, 8.2, 10.3)), 12),
    Band((Scale(21, 9.2, 11.5), Scale(23, 10.2, 12.7)), 14),
    Band((Scale(25, 11.3, 14.1), Scale(27, 12.3, 15.4)), 16),
)
"""The first six bands of the 2009 paper."""


@torch.no_grad()
def bif_features(images: Tensor) -> Tensor:
    r"""Bio-inspired features of faces: 6 bands, 8 orientations, 4,616 numbers per image.

    .. math::
        G_{\theta}(x, y) = \exp\left(-\frac{X^2 + 0.3^2\, Y^2}{2 \sigma^2}\right)
        \cos\frac{2 \pi X}{\lambda}, \quad
        X = x \cos\theta + y \sin\theta, \; Y = -x \sin\theta + y \cos\theta

    S1: the image is correlated with the filters of :math:`\theta = 0, \pi/8, \ldots, 7\pi/8`, with
    two scales per band. C1: of the two scales the larger response is kept at every pixel, and its
    standard deviation is taken over square cells, which overlap by half.

    The largest area of 60 : 44 around the middle is cut out and scaled to 60 x 44 pixels. All
    arithmetic is float32 and nothing is random; on CUDA, convolutions are TF32 where
    ``torch.backends.cudnn.allow_tf32`` is set. For progress and for data sets that do not fit in
    memory, call it with a few hundred images at a time.

    Args:
        images: [N, 1, H, W] or [N, H, W] (grey) or [N, 3, H, W] (RGB), uint8, or floating point and
            finite. A uint8 image gives what the same image in [0, 1] gives. `read_image` of
            `dldl_fast.data.images` reads such from files.

    Returns:
        float32 [N, 4616], >= 0, proportional to the contrast of the image, on its device: band by
        band, in each orientation by orientation, in each the cells row by row. Not differentiable.
        `l2_normalize` makes them what the paper learns from.

    Raises:
        TypeError: if images is no tensor of these types.
        ValueError: if it has another shape, or pixels are not finite.

    Source:
        Guo et al. 2009; section 4.5.3. The text of the module says what was chosen.

    Example:
        >>> bif_features(torch.zeros(2, 3, 100, 80)).shape
        torch.Size([2, 4616])
    """
    stacked = _checked(images)
    bank = [[gabor_filters(scale).to(images.device) for scale in band.scales] for band in BANDS]
    features = torch.empty(len(stacked), BIF_DIMENSION, device=images.device)
    for start in range(0, len(stacked), _IMAGES_AT_A_TIME):
        rows = slice(start, start + _IMAGES_AT_A_TIME)
        grey = _prepared(stacked[rows])
        bands = zip(bank, BANDS, strict=True)
        features[rows] = torch.cat(
            [_pooled(grey, filters, band.cell) for filters, band in bands], dim=1
        )
    return features


def gabor_filters(scale: Scale) -> Tensor:
    """The filters of one scale with mean 0 and length 1, float32 [orientations, 1, size, size]."""
    half = scale.size // 2
    offset = torch.arange(-half, half + 1, dtype=torch.float64)
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    theta = torch.arange(N_ORIENTATIONS, dtype=torch.float64) * math.pi / N_ORIENTATIONS
    cosine, sine = theta.cos().reshape(-1, 1, 1), theta.sin().reshape(-1, 1, 1)
    across, along = x * cosine + y * sine, y * cosine - x * sine
    envelope = torch.exp(-(across**2 + (_ASPECT_RATIO * along) ** 2) / (2 * scale.sigma**2))
    wave = envelope * torch.cos(2 * math.pi * across / scale.wavelength)
    wave = wave - wave.mean((1, 2), keepdim=True)
    length: Tensor = torch.linalg.vector_norm(wave, dim=(1, 2), keepdim=True)
    return (wave / length).unsqueeze(1).float()


def _checked(images: Tensor) -> Tensor:
    """As [N, 1 or 3, H, W]."""
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, got {type(images).__name__}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images must be uint8 or floating point, got {images.dtype}")
    stacked = images.unsqueeze(1) if images.dim() == 3 else images
    if stacked.dim() != 4 or stacked.shape[1] not in (1, 3) or 0 in stacked.shape[2:]:
        raise ValueError(
            "images must have shape [N, 1, H, W], [N, 3, H, W] or [N, H, W] with pixels, "
            f"got {list(images.shape)}"
        )
    if not bool(torch.isfinite(stacked).all()):
        raise ValueError("images must hold finite values, got NaN or infinity")
    return stacked


def _prepared(images: Tensor) -> Tensor:
    """Grey, cut and scaled, float32 [N, 1, *BIF_SIZE]."""
    x = images.float()
    if images.dtype == torch.uint8:
        x = x / 255
    if x.shape[1] == 3:
        x = (x * x.new_tensor(_GREY).reshape(3, 1, 1)).sum(1, keepdim=True)
    height, width = x.shape[2:]
    rows = min(height, max(1, round(width * BIF_SIZE[0] / BIF_SIZE[1])))
    columns = min(width, max(1, round(height * BIF_SIZE[1] / BIF_SIZE[0])))
    top, left = (height - rows) // 2, (width - columns) // 2
    x = x[:, :, top : top + rows, left : left + columns]
    # The filters have mean 0, but rounded weights only almost: without a common brightness nothing
    # of it is left, and an even image gives zeros.
    x = x - x[:, :, :1, :1]
    return interpolate(x, BIF_SIZE, mode="bilinear", antialias=True)


def _pooled(images: Tensor, filters: list[Tensor], cell: int) -> Tensor:
    """Features of one band with the filters of its two scales, [N, orientations * cells]."""
    response = torch.maximum(*(_response(images, scale) for scale in filters))
    cells = response.unfold(2, cell, cell // 2).unfold(3, cell, cell // 2)
    return cells.std((4, 5), correction=0).flatten(1)


def _response(images: Tensor, filters: Tensor) -> Tensor:
    margin = filters.shape[-1] // 2
    return conv2d(pad(images, (margin,) * 4, mode="reflect"), filters)
