"""The regions that an attention network looked at, drawn on the face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.explain.score_overlay import SIDE

if TYPE_CHECKING:
    from PIL.Image import Image

_COLOURS = ("#ffc400", "#00c8ff", "#ff5aa0", "#7ddc3c")


def region_overlay(crop: NDArray[np.uint8], regions: Tensor) -> Image:
    """Boxes over a face, with the numbers of the steps in which the network looked at them.

    Args:
        crop: the face, uint8 [S, S, 3], as large as the image that the network was given.
        regions: left, top, right and bottom in pixels, [T, 4]: a row of `ALResNet.regions`.

    Returns:
        RGB, 224 x 224 pixels.

    Raises:
        ValueError: if the regions have another shape.
    """
    from PIL import Image, ImageDraw, ImageFont

    if regions.dim() != 2 or regions.shape[1] != 4:
        raise ValueError(f"regions must have shape [T, 4], got {list(regions.shape)}")
    height, width = crop.shape[:2]
    picture = Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(SIDE // 16)
    for step, (left, top, right, bottom) in enumerate(regions.tolist()):
        colour = _COLOURS[step % len(_COLOURS)]
        x, y = left * SIDE / width, top * SIDE / height
        draw.rectangle(
            (x, y, right * SIDE / width, bottom * SIDE / height), outline=colour, width=3
        )
        # Beside each other, where the regions are the same.
        draw.text((x + 6 + step * SIDE / 16, y + 3), f"{step + 1}", fill=colour, font=font)
    return picture
