"""The random changes that the released code trains with, for one picture at a time.

Its order is kept: mirror, grey, shrink, turn, grow back, brightness, contrast and saturation in
random order. The picture is turned while it is small, as there.

Every step is done by Pillow on 8 bits: through ``torchvision.transforms.v2`` where that is
installed, which hands these pictures to Pillow, and directly elsewhere; the results are equal. The
released code (Torch7) computes in floating point, so that it neither rounds nor cuts off values
outside [0, 1] between the steps. It also shrinks without smoothing, scales from corner to corner
instead of from edge to edge, and blackens turned pixels that lack one of their four neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

MAX_ANGLE = 15.0
"""A picture is turned by at most as many degrees, either way."""

JITTER = 0.4
"""Factors of brightness, contrast and saturation are within 1 - JITTER and 1 + JITTER."""

COLOUR_STEPS = ("brightness", "contrast", "saturation")


class OfficialParameters(NamedTuple):
    """What is done to a picture.

    Attributes:
        mirrored: whether it is mirrored left to right.
        grey: whether its colours become grey.
        small_size: height and width in pixels that it is shrunk to before it grows back.
        angle: degrees that it is turned by, anticlockwise; the corners become black.
        brightness: factor of the values.
        contrast: factor of their differences from the mean grey value.
        saturation: factor of their differences from the grey picture.
        colour_steps: the order of the three factors, a permutation of `COLOUR_STEPS`.
    """

    mirrored: bool
    grey: bool
    small_size: int
    angle: float
    brightness: float
    contrast: float
    saturation: float
    colour_steps: tuple[str, ...]


def draw(generator: Generator, size: int) -> OfficialParameters:
    """Draw the changes of one picture.

    Mirrored and grey with probability one half each, ``small_size`` uniform in
    {ceil(size / 2), ..., size} (112 to 224 for the released networks), ``angle`` uniform in
    [-15, 15), factors uniform in [0.6, 1.4), all independent.

    Args:
        generator: on the CPU.
        size: height and width of the picture, in pixels.

    Source: section 4.1 of the DLDL-v2 paper and the training transforms of its released code.

    Example:
        >>> drawn = draw(torch.Generator().manual_seed(0), 224)
        >>> drawn.mirrored, drawn.grey, drawn.small_size, round(drawn.angle, 2)
        (False, False, 163, 12.62)
    """
    numbers = torch.rand(7, dtype=torch.float64, generator=generator).tolist()
    order = torch.randperm(len(COLOUR_STEPS), generator=generator).tolist()
    smallest = (size + 1) // 2
    brightness, contrast, saturation = (1.0 + JITTER * (2.0 * x - 1.0) for x in numbers[4:])
    return OfficialParameters(
        mirrored=numbers[0] < 0.5,
        grey=numbers[1] < 0.5,
        small_size=smallest + int(numbers[2] * (size + 1 - smallest)),
        angle=MAX_ANGLE * (2.0 * numbers[3] - 1.0),
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        colour_steps=tuple(COLOUR_STEPS[i] for i in order),
    )


def apply(picture: Tensor, parameters: OfficialParameters) -> Tensor:
    """Change one picture.

    Args:
        picture: uint8 [C, S, S] on the CPU, C = 1 (grey) or 3 (RGB).
        parameters: what to do, from `draw`.

    Returns:
        uint8 [3, S, S], with the channels innermost in memory.

    Raises:
        ValueError: if the picture is none of these.

    Example:
        >>> red = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> red[0] = 100
        >>> as_it_is = OfficialParameters(False, False, 8, 0.0, 1.0, 1.0, 1.0, COLOUR_STEPS)
        >>> apply(red, as_it_is._replace(brightness=1.2))[:, 4, 4]
        tensor([120,   0,   0], dtype=torch.uint8)
        >>> apply(red, as_it_is._replace(grey=True))[:, 4, 4]
        tensor([30, 30, 30], dtype=torch.uint8)
    """
    from PIL import Image

    channels, height, width = picture.shape if picture.ndim == 3 else (0, 0, 0)
    if picture.dtype != torch.uint8 or channels not in (1, 3) or height != width or not height:
        raise ValueError(
            "picture must be uint8 [C, S, S] with 1 or 3 channels, got "
            f"{str(picture.dtype).removeprefix('torch.')} {list(picture.shape)}"
        )
    do = _operations()
    planes = [Image.fromarray(plane) for plane in picture.numpy()]
    image: Any = planes[0] if channels == 1 else Image.merge("RGB", planes)
    if parameters.mirrored:
        image = do.horizontal_flip(image)
    if parameters.grey and channels == 3:
        # One channel does for all that follows, in a third of the time.
        image = do.rgb_to_grayscale(image, num_output_channels=1)
    small = [parameters.small_size] * 2
    image = do.resize(image, small, interpolation=Image.Resampling.BICUBIC)
    image = do.rotate(image, parameters.angle, interpolation=Image.Resampling.BILINEAR)
    image = do.resize(image, [height, width], interpolation=Image.Resampling.BICUBIC)
    for step in parameters.colour_steps:
        if step == "brightness":
            image = do.adjust_brightness(image, parameters.brightness)
        elif step == "contrast":
            image = do.adjust_contrast(image, parameters.contrast)
        elif image.mode == "RGB":  # grey has no saturation to change
            image = do.adjust_saturation(image, parameters.saturation)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@dataclass(frozen=True)
class OfficialAugmentation:
    """`draw` and `apply` in one call.

    Attributes:
        flip: whether pictures may be mirrored: not where a label has a side, such as the yaw of a
            head. Turning changes labels too that are angles in the picture plane (roll), and the
            colour steps those that are a matter of light or colour; do not use it for these.

    Example:
        >>> picture = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8)
        >>> augment = OfficialAugmentation()
        >>> first, second = (augment(picture, torch.Generator().manual_seed(3)) for _ in range(2))
        >>> first.shape, torch.equal(first, second)
        (torch.Size([3, 8, 8]), True)
    """

    flip: bool = True

    def __call__(self, picture: Tensor, generator: Generator) -> Tensor:
        """Change a picture, uint8 [C, S, S], to uint8 [3, S, S] as the generator says."""
        parameters = draw(generator, picture.shape[-1])
        return apply(picture, parameters if self.flip else parameters._replace(mirrored=False))


@cache
def _operations() -> Any:
    """What makes the steps: torchvision, or Pillow under the same names."""
    try:
        from torchvision.transforms.v2 import functional
    except ModuleNotFoundError:
        from dldl_fast.data import pillow_operations as functional
    return functional
