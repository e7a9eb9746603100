"""Reading pictures from files, and what the network wants them to look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.data.base import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN = (0.5958, 0.4637, 0.4065)
STD = (0.2693, 0.2409, 0.2352)
"""Mean and standard deviation of red, green and blue in [0, 1]: those of the released code."""

MAX_PIXELS = 50_000_000
"""Larger pictures are refused before they are decoded."""

MAX_BYTES = 8 * MAX_PIXELS
"""Larger files are refused before they are read; the largest picture in 16-bit RGBA has as many."""

# Decoders of common photo formats only; others (EPS, for one) start foreign programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")


def open_picture(path: Path) -> Image:
    """Decode a photo: RGB with 8 bits per channel, turned as its EXIF orientation says.

    Transparent pixels let a white ground through, as in a browser. 16 bits per channel are scaled
    to 8. Of a file with several pictures (an animation, pages) it is the first. Colour profiles
    are not applied.

    Args:
        path: a JPEG, PNG, WebP, BMP, PPM (also PGM, PBM) or TIFF file.

    Raises:
        DataError: naming the file, if it is no picture, has more than `MAX_PIXELS` or `MAX_BYTES`,
            or is damaged.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        # Not a pipe or a device either: opening one would wait for ever.
        if not path.is_file():
            raise DataError(f"{path}: " + ("not a file" if path.exists() else "no such file"))
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: more bytes than the limit of {MAX_BYTES:,}")
        with Image.open(path, formats=_FORMATS) as picture:
            # A TIFF file has tiles of any size, whatever that of the picture: decoded in whole.
            tags = getattr(picture, "tag_v2", {})
            sizes = (picture.size, (tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)))
            width, height = max(sizes, key=lambda size: size[0] * size[1])
            # Pillow's own limit is higher, and at first only a warning.
            if width * height > MAX_PIXELS:
                raise DataError(f"{path}: {_TOO_LARGE} ({width} x {height}); scale it down")
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return as_rgb(picture)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(_FORMATS)
        raise DataError(f"{path}: not a readable picture (none of {formats})") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {_TOO_LARGE} ({error}); scale it down") from error
    # Damaged files make Pillow's decoders raise almost anything.
    except Exception as error:
        raise DataError(f"{path}: not a readable picture ({error})") from error


_TOO_LARGE = f"more pixels than the limit of {MAX_PIXELS:,}"
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def as_rgb(picture: Image) -> Image:
    """RGB with 8 bits per channel, as `open_picture` says.

    Raises:
        ValueError: for pixels of 32 bits.
    """
    from PIL import Image

    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format != "TIFF"):
        # Pillow would cut off what is above 255. Only PNG and PPM fill "I" to 65535, whatever
        # their number of bits was.
        grey = (np.asarray(picture).astype(np.uint32) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {picture.mode!r}; expected 8 or 16 bits per channel")
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGB", picture.size, "white")
        ground.paste(picture, mask=picture.getchannel("A"))
        return ground
    # `convert` would copy.
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def middle_square(picture: Image, size: int) -> Image:
    """The largest square around the middle of a picture, scaled to `size` x `size` pixels."""
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)


def read_image(path: Path, size: int, *, grey: bool = False) -> NDArray[np.uint8]:
    """Decode a picture as `open_picture` does, cut it to the square in its middle and scale it.

    Args:
        path: file to read.
        size: height and width of the result, in pixels.
        grey: one channel instead of three.

    Returns:
        uint8 [3, size, size] (RGB), or [1, size, size].

    Raises:
        DataError: naming the file, as `open_picture`.
    """
    picture = open_picture(path)
    square = middle_square(picture.convert("L") if grey else picture, size)
    pixels = np.asarray(square, dtype=np.uint8)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def normalise(images: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """What the network takes: three channels with mean 0 and variance 1 over typical faces.

    Args:
        images: [N, C, H, W] in [0, 1], C = 1 (repeated) or 3.
        mean: of red, green and blue over typical faces, in [0, 1].
        std: standard deviation of the same.

    Returns:
        float32 [N, 3, H, W], channels last.

    Example:
        >>> normalise(torch.zeros(1, 1, 2, 2))[0, :, 0, 0]
        tensor([-2.2124, -1.9249, -1.7283])
    """
    centre = images.new_tensor(mean).reshape(3, 1, 1)
    scale = images.new_tensor(std).reshape(3, 1, 1)
    return ((images - centre) / scale).contiguous(memory_format=torch.channels_last)
