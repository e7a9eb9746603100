"""What a checkpoint says of the pictures that its model wants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from dldl_fast.data.label_spec import LabelSpec
from dldl_fast.models import CheckpointError

MIN_SIZE, MAX_SIZE = 32, 2048
"""Of the pictures that a model may ask for, so that a bad checkpoint cannot take all memory."""

_SIDELESS_UNITS = ("years", "points")


class ImageSettings(NamedTuple):
    """Pictures as the model wants them.

    Attributes:
        size: height and width in pixels.
        mean: of red, green and blue in [0, 1].
        std: standard deviation of the same.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def image_settings(config: Mapping[str, Any]) -> ImageSettings:
    """Size and normalisation from the entry ``image`` of a configuration.

    Raises:
        CheckpointError: if it is missing or makes no sense.

    Example:
        >>> image = {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
        >>> image_settings({"image": image}).size
        64
    """
    image = config.get("image")
    try:
        if not isinstance(image, Mapping):
            raise ValueError(f"expected an object, got {image!r}")
        size = image["size"]
        if isinstance(size, bool) or not isinstance(size, int) or not MIN_SIZE <= size <= MAX_SIZE:
            raise ValueError(f"size must be an integer in [{MIN_SIZE}, {MAX_SIZE}], got {size!r}")
        mean, std = _triple(image["mean"]), _triple(image["std"])
        if min(std) <= 0:
            raise ValueError(f"std must be > 0, got {std}")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "the configuration of the model does not say what its pictures look like: entry "
            f"'image' ({type(error).__name__}: {error}); expected size, mean and std, such as "
            "model.config['image'] = {'size': 224, 'mean': dldl_fast.data.images.MEAN, "
            "'std': dldl_fast.data.images.STD} before save_pretrained"
        ) from error
    return ImageSettings(size, mean, std)


def mirror_keeps_label(config: Mapping[str, Any]) -> bool:
    """Whether the label of a picture is that of its mirror image.

    Training writes it as the entry ``mirror`` of ``data``. Without that entry it is true for labels
    in years and points (ages, attractiveness) and false for all others: averaging over the mirror
    image makes values only a little better, but useless if the label has a side, as an angle has.

    Example:
        >>> mirror_keeps_label({"data": {"unit": "years"}})
        True
        >>> mirror_keeps_label({"data": {"unit": "degrees"}}), mirror_keeps_label({})
        (False, False)
        >>> mirror_keeps_label({"data": {"unit": "degrees", "mirror": True}})
        True
    """
    data = config.get("data")
    if not isinstance(data, Mapping):
        return False
    mirror = data.get("mirror")
    return mirror if isinstance(mirror, bool) else data.get("unit") in _SIDELESS_UNITS


def label_spec(config: Mapping[str, Any], labels: Tensor) -> LabelSpec:
    """Labels of a model as those of a data set that says nothing else.

    The standard deviation of its targets is that of the training; where every image had its own,
    1/50 of the label range: 2 years for ages from 0 to 100.

    Args:
        config: of the model.
        labels: its label grid, [K].

    Example:
        >>> import torch
        >>> label_spec({"data": {"unit": "points"}}, torch.tensor([1.0, 3.0, 5.0]))
        LabelSpec(label_min=1.0, label_max=5.0, label_step=2.0, sigma=0.08, unit='points')
    """
    low, high = float(labels[0]), float(labels[-1])
    data, loss = config.get("data"), config.get("loss")
    unit = data.get("unit") if isinstance(data, Mapping) else None
    sigma = loss.get("sigma") if isinstance(loss, Mapping) else None
    if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 <= sigma < math.inf:
        sigma = (high - low) / 50
    step = (high - low) / (len(labels) - 1)
    return LabelSpec(low, high, step, sigma=sigma, unit=str(unit or "label units"))


def _triple(numbers: Any) -> tuple[float, float, float]:
    red, green, blue = (float(number) for number in numbers)
    if not all(math.isfinite(number) for number in (red, green, blue)):
        raise ValueError(f"expected three finite numbers, got {numbers}")
    return red, green, blue
