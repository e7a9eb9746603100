"""Bringing a face into the position that the networks were trained on, by its five landmarks."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.data.images import MEAN

TEMPLATE = torch.tensor(
    [[0.3750, 0.3743], [0.6250, 0.3743], [0.5, 0.5053], [0.3920, 0.6230], [0.6080, 0.6230]],
    dtype=torch.float64,
)
"""Where the landmarks are in a crop, in the order of `Face`: x and y as shares of its side.

The mean shape of the landmarks that MTCNN finds on the ORL faces and their mirror images
(``tools/face_template.py``); the mean of the five points is in the middle of the crop, as in the
released code. The eyes are a quarter of the side apart: hairline and chin, on average 1.25 and 1.75
such distances from the eyes, leave 6 % above and 19 % below, so that the whole face stays in the
crop also when the augmentation turns it.
"""


def similarity(source: Tensor, target: Tensor) -> Tensor:
    r"""The rotation, scale and translation, without mirroring, that fit points best.

    With points as complex numbers x + iy, source :math:`p_k` and target :math:`q_k`, it minimises
    :math:`\sum_k |a p_k + b - q_k|^2`:

    .. math::
        a = \frac{\sum_k \overline{(p_k - \bar p)} (q_k - \bar q)}{\sum_k |p_k - \bar p|^2},
        \qquad b = \bar q - a \bar p.

    Args:
        source: [N, 2], x and y of at least two points.
        target: [N, 2], where they should come.

    Returns:
        float64 [2, 3], the matrix M with ``target = M[:, :2] @ source + M[:, 2]``.

    Raises:
        ValueError: if a coordinate is not finite, the points of `source` are all equal, or no
            scale but 0 fits.

    Source:
        "non-reflective similarity": the alignment of the released code.

    Example:
        >>> corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
        >>> similarity(corners, torch.tensor([[5.0, 5.0], [5.0, 9.0], [1.0, 9.0], [1.0, 5.0]]))
        tensor([[ 0., -2.,  5.],
                [ 2.,  0.,  5.]], dtype=torch.float64)
    """
    if source.shape != target.shape or source.dim() != 2 or source.shape[1] != 2:
        raise ValueError(
            "source and target must have the same shape [N, 2], "
            f"got {list(source.shape)} and {list(target.shape)}"
        )
    p, q = source.to(torch.float64), target.to(torch.float64)
    if not bool(torch.isfinite(p).all()) or not bool(torch.isfinite(q).all()):
        raise ValueError("landmarks must be finite")
    p_mean, q_mean = p.mean(0), q.mean(0)
    p, q = p - p_mean, q - q_mean
    spread = p.square().sum()
    # Relative to the place of the points, since rounding leaves a spread where there was none.
    if not spread > 1e-12 * (p_mean.square().sum() + 1e-12):
        raise ValueError(f"landmarks must not be all at the same place, got {source.tolist()}")
    real = (p * q).sum() / spread
    imaginary = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / spread
    if not real.hypot(imaginary) > 0:
        raise ValueError(f"landmarks fit the target with no scale but 0, got {source.tolist()}")
    linear = torch.stack([torch.stack([real, -imaginary]), torch.stack([imaginary, real])])
    return torch.cat([linear, (q_mean - linear @ p_mean)[:, None]], dim=1)


def align_face(picture: NDArray[np.uint8], landmarks: Tensor, size: int = 224) -> NDArray[np.uint8]:
    """Turn, scale and cut a photo so that the landmarks of a face come to `TEMPLATE`.

    What lies outside the photo gets the colour `MEAN`: 0 after the normalisation, which is also
    what the convolutions see around the crop, and what the paper covers parts of a face with.

    Args:
        picture: uint8 [H, W, 3], RGB, upright.
        landmarks: [5, 2], x and y in pixels, as in `Face`.
        size: height and width of the crop, in pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: if `picture` or `landmarks` have another shape, or as `similarity`.

    Example:
        >>> photo = np.zeros((100, 100, 3), np.uint8)
        >>> align_face(photo, 100 * TEMPLATE, size=32).max()
        np.uint8(0)
    """
    from PIL import Image

    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(
            f"picture must be uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}"
        )
    if landmarks.shape != (5, 2):
        raise ValueError(f"landmarks must have shape [5, 2], got {list(landmarks.shape)}")
    to_crop = similarity(landmarks, size * TEMPLATE).numpy()
    inverse = np.linalg.inv(to_crop[:, :2])
    offset = -inverse @ to_crop[:, 2]
    # Pillow turns without averaging, and its bicubic filter there is a sharpening one. Hence in
    # three steps: the part of the photo that is needed is scaled to twice the crop's resolution,
    # turned at this one, and halved.
    pixels = float(np.hypot(*inverse[:, 0]))  # of the photo, per pixel of the crop
    scale = min(2 / pixels, _LARGEST_SCALE)
    margin = math.ceil(3 * max(1.0, pixels / 2))  # what the filters look at beyond the crop
    size_of_photo = np.array([picture.shape[1], picture.shape[0]])
    corners = inverse @ np.array([[0, size, 0, size], [0, 0, size, size]]) + offset[:, None]
    low = np.clip(np.floor(corners.min(1)) - margin, 0, size_of_photo - 1).astype(int)
    high = np.clip(np.ceil(corners.max(1)) + margin, low + 1, size_of_photo).astype(int)
    scaled = np.maximum(np.rint(scale * (high - low)), 1).astype(int)
    part = Image.fromarray(picture[low[1] : high[1], low[0] : high[0]])
    part = part.resize((int(scaled[0]), int(scaled[1])), Image.Resampling.BICUBIC)
    matrix = np.concatenate([inverse / 2, (offset - low)[:, None]], axis=1)
    matrix *= (scaled / (high - low))[:, None]
    twice = part.transform(
        (2 * size, 2 * size),
        Image.Transform.AFFINE,
        tuple(matrix.ravel().tolist()),
        Image.Resampling.BICUBIC,
        fillcolor=_BORDER,
    )
    crop = twice.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(crop, dtype=np.uint8)


# More is not worth its memory: such a face has a dozen pixels.
_LARGEST_SCALE = 16.0
_BORDER = tuple(round(255 * mean) for mean in MEAN)
