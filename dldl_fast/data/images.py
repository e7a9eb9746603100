"""Reading pictures from files, and what the network wants them to look like."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.data.base import DataError

MEAN = (0.5958, 0.4637, 0.4065)
STD = (0.2693, 0.2409, 0.2352)
"""Mean and standard deviation of red, green and blue in [0, 1]: those of the released code."""

MAX_PIXELS = 50_000_000
"""Larger pictures are refused before they are decoded."""

# Decoders of common photo formats only; others (EPS, for one) start foreign programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")


def read_image(path: Path, size: int, *, grey: bool = False) -> NDArray[np.uint8]:
    """Decode a picture, turn it as its EXIF orientation says, cut and scale it to a square.

    The square is the largest one around the middle.

    Args:
        path: file to read.
        size: height and width of the result, in pixels.
        grey: one channel instead of three.

    Returns:
        uint8 [3, size, size] (RGB), or [1, size, size].

    Raises:
        DataError: naming the file, if it is no picture, too large, or damaged.
    """
    from PIL import Image, ImageOps

    # Not a pipe or a device either: opening one would wait for ever.
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise DataError(
                        f"{path}: {width} x {height} pixels, more than the limit of "
                        f"{MAX_PIXELS:,}; scale the picture down"
                    )
                if picture.mode.startswith(("I", "F")):
                    raise DataError(
                        f"{path}: pixels of mode {picture.mode!r}; expected 8 bits per channel"
                    )
                upright = ImageOps.exif_transpose(picture).convert("L" if grey else "RGB")
        square = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
    except DataError:
        raise
    # Damaged files make Pillow's decoders raise almost anything.
    except Exception as error:
        raise DataError(f"{path}: not a readable picture ({error})") from error
    pixels = np.asarray(square, dtype=np.uint8)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def normalise(images: Tensor) -> Tensor:
    """What the network takes: three channels with mean 0 and variance 1 over typical faces.

    Args:
        images: [N, C, H, W] in [0, 1], C = 1 (repeated) or 3.

    Returns:
        float32 [N, 3, H, W], channels last.

    Example:
        >>> normalise(torch.zeros(1, 1, 2, 2))[0, :, 0, 0]
        tensor([-2.2124, -1.9249, -1.7283])
    """
    mean = images.new_tensor(MEAN).reshape(3, 1, 1)
    std = images.new_tensor(STD).reshape(3, 1, 1)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
