"""Those of torchvision's image operations that augmentation needs, on pictures of Pillow.

Names, arguments and results are those of ``torchvision.transforms.v2.functional``.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageEnhance


def horizontal_flip(image: Image.Image) -> Image.Image:
    """Mirror left to right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def rgb_to_grayscale(image: Image.Image, num_output_channels: int) -> Image.Image:
    """0.299 R + 0.587 G + 0.114 B, in one channel or three times."""
    grey = image.convert("L")
    return grey if num_output_channels == 1 else grey.convert("RGB")


def resize(image: Image.Image, size: Sequence[int], interpolation: Image.Resampling) -> Image.Image:
    """Scale to a height and width."""
    height, width = size
    return image.resize((width, height), interpolation)


def rotate(image: Image.Image, angle: float, interpolation: Image.Resampling) -> Image.Image:
    """Turn around the middle by degrees, anticlockwise; what was outside is black."""
    return image.rotate(angle, interpolation)


def adjust_brightness(image: Image.Image, brightness_factor: float) -> Image.Image:
    """The mix of the picture and black."""
    return ImageEnhance.Brightness(image).enhance(brightness_factor)


def adjust_contrast(image: Image.Image, contrast_factor: float) -> Image.Image:
    """The mix of the picture and its mean grey value."""
    return ImageEnhance.Contrast(image).enhance(contrast_factor)


def adjust_saturation(image: Image.Image, saturation_factor: float) -> Image.Image:
    """The mix of the picture and the grey picture."""
    return ImageEnhance.Color(image).enhance(saturation_factor)
