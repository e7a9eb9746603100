"""Pictures that show what was predicted: box, value, and the distribution as a small plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from dldl_fast.prediction.result import Prediction

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

MIN_SIDE, MAX_SIDE = 480, 1600
"""Of an annotated picture's longer side, in pixels: the text must be legible, the file small."""

_LINE = (255, 196, 0, 255)
_GROUND = (20, 22, 26, 190)
_TEXT = (255, 255, 255, 255)
_QUIET = (190, 194, 200, 255)


def decimals_of(labels: Tensor) -> int:
    """Decimals of a value, one more than labels so far apart have.

    Example:
        >>> import torch
        >>> decimals_of(torch.arange(3.0)), decimals_of(torch.arange(3.0) / 10)
        (1, 2)
    """
    return 1 + max(0, -math.floor(math.log10(float(labels[1] - labels[0]))))


def annotated(
    picture: Image, predictions: Sequence[Prediction], labels: Tensor, unit: str
) -> Image:
    """A copy of a picture, scaled to a handy size, with its predictions drawn into it.

    For every face there is its box and, below it where there is room, a panel: value and standard
    deviation, the distribution over all labels, the value as a line, and the 90 % interval as a bar
    under the axis.

    Args:
        picture: RGB, upright.
        predictions: of its faces.
        labels: label grid, [K].
        unit: of the labels, in the plural; may be empty.
    """
    from PIL import Image, ImageDraw

    longest = max(picture.size)
    scale = min(max(longest, MIN_SIDE), MAX_SIDE) / longest
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas, "RGBA")  # blends where a colour is not opaque
    thickness = max(2, max(size) // 300)
    whole = (0.0, 0.0, float(size[0]), float(size[1]))
    for prediction in predictions:
        box = whole
        if prediction.face is not None:
            left, top, right, bottom = (edge * scale for edge in prediction.face.box)
            box = (left, top, right, bottom)
            draw.rectangle(box, outline=_LINE, width=thickness)
        _draw_panel(draw, size, box, prediction, labels, unit)
    return canvas


def _draw_panel(
    draw: ImageDraw,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    prediction: Prediction,
    labels: Tensor,
    unit: str,
) -> None:
    from PIL import ImageFont

    text_size = max(13, max(size) // 48)
    font, small = (ImageFont.load_default(text_size * share) for share in (1.0, 0.75))
    margin = text_size * 0.4
    decimals = decimals_of(labels)
    title = f"{prediction.value:.{decimals}f} ± {prediction.std:.{decimals}f} {unit}".strip()
    width = max(draw.textlength(title, font), 9 * text_size) + 2 * margin
    height = 6 * text_size
    x = min(max(box[0], 0.0), max(0.0, size[0] - width))
    y = next(
        (y for y in (box[3] + margin, box[1] - margin - height) if 0 <= y <= size[1] - height),
        # No room below or above: inside, at the lower end.
        max(0.0, min(box[3], size[1]) - height - margin),
    )
    draw.rounded_rectangle((x, y, x + width, y + height), margin, fill=_GROUND)
    draw.text((x + margin, y + margin * 0.6), title, _TEXT, font)

    left, right = x + margin, x + width - margin
    top, base = y + 1.9 * text_size, y + 4.4 * text_size
    low, high = float(labels[0]), float(labels[-1])

    def at(label: float) -> float:
        return left + (right - left) * (label - low) / (high - low)

    peak = float(prediction.distribution.max())
    outline = [
        (at(label), base - (base - top) * p / peak)
        for label, p in zip(labels.tolist(), prediction.distribution.tolist(), strict=True)
    ]
    draw.polygon([(left, base), *outline, (right, base)], fill=(*_LINE[:3], 150))
    draw.line([(left, base), (right, base)], _QUIET, 1)
    draw.line([(at(prediction.value), top), (at(prediction.value), base)], _TEXT, 2)
    bar = base + 0.25 * text_size
    draw.line([(at(prediction.q05), bar), (at(prediction.q95), bar)], _LINE, max(2, text_size // 6))
    draw.text((left, base + 0.5 * text_size), f"{low:g}", _QUIET, small)
    draw.text((right, base + 0.5 * text_size), f"{high:g}", _QUIET, small, anchor="ra")
