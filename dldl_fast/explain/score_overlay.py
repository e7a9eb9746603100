"""The picture of a score map over its face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 224
"""Height and width of the picture, in pixels."""


def score_overlay(crop: NDArray[np.uint8], scores: Tensor) -> Image:
    """A score map over its face in grey: dark where it is lowest, bright where it is highest.

    Args:
        crop: the face, uint8 [S, S, 3].
        scores: its map, [h, w]; scaled to the size of the picture as the paper does it.

    Returns:
        RGB, `SIDE` x `SIDE` pixels. A map that is the same everywhere is dark everywhere.

    Source:
        Section 5.1: the map is scaled to the size of the picture.
    """
    from matplotlib import colormaps
    from PIL import Image

    large = torch.nn.functional.interpolate(
        scores.cpu().double()[None, None], (SIDE, SIDE), mode="bilinear"
    )[0, 0].numpy()
    spread = large.max() - large.min()
    shares = (large - large.min()) / (spread if spread > 0 else 1.0)
    colours = colormaps["inferno"](shares)[..., :3] * 255
    grey = np.asarray(Image.fromarray(crop).convert("L").resize((SIDE, SIDE)), np.float64)
    return Image.fromarray((0.6 * colours + 0.4 * grey[..., None]).round().astype(np.uint8))
