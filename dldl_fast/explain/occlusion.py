"""Which parts of a face a model depends on: how much worse it gets where they are hidden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dldl_fast.models import LabelDistributionNet


@dataclass(frozen=True)
class Occlusion:
    """How much the mean absolute error grows where a part of every image is hidden.

    Attributes:
        mae: without anything hidden, in the unit of the labels.
        squares: relative loss with one square hidden, float64 [parts, parts], by row and column.
        stripes: relative loss with one horizontal stripe hidden, float64 [parts], from the top.
        mean_image: of all images, float64 [3, H, W], as they were given.
        count: number of images.
    """

    mae: float
    squares: Tensor
    stripes: Tensor
    mean_image: Tensor
    count: int


def occlusion(
    model: LabelDistributionNet,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    parts: int = 7,
    fill: float = 0.0,
    flip: bool = True,
    mirror: bool = True,
    batch_size: int = 64,
) -> Occlusion:
    r"""Hide each square and each horizontal stripe in turn, and compare the errors.

    .. math::
        L_r = \frac{\mathrm{MAE}_r - \mathrm{MAE}}{\mathrm{MAE}}

    for each region r of an even division into ``parts`` rows and columns: for 224 x 224 pixels and
    7 parts, 49 squares of 32 x 32 and 7 stripes of 32 x 224. That takes ``parts * (parts + 1) + 1``
    forward passes of every image, 57 for 7 parts, and twice as many with ``flip``.

    Args:
        model: its values are `LabelDistributionNet.predict`.
        batches: normalised images [N, 3, H, W], all of one size, and their true values [N], in the
            unit of the labels; such as a ``DataLoader`` gives them. On any device.
        parts: number of rows, and of columns, >= 1.
        fill: what hides a region, in normalised images. 0 is the mean colour of the training
            images, with which they were normalised.
        flip: average the values of image and mirror image.
        mirror: whether the same part of the face is hidden in the mirror image. False hides the
            same *coordinates*, as the released code does, and so two parts of the face, which
            makes the map of squares symmetric.
        batch_size: images that the model sees at once, at least; a larger batch stays whole.

    Raises:
        ValueError: if an argument is not as described, there are no images, or the model makes no
            error, so that none is relative to it.

    Source:
        Section 5.2, Fig. 8.

    Example:
        >>> from dldl_fast.models import TinyAgeNet
        >>> model = TinyAgeNet(rate=0.05)
        >>> batches = [(torch.randn(2, 3, 64, 64), torch.tensor([20.0, 31.0]))]
        >>> found = occlusion(model, batches, parts=4)
        >>> found.squares.shape, found.stripes.shape, found.count
        (torch.Size([4, 4]), torch.Size([4]), 2)
    """
    for name, value in (("parts", parts), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}")
    device = next(model.parameters()).device
    count = 0
    # Of nothing hidden, of every square, of every stripe.
    errors = torch.zeros(1 + parts * parts + parts, dtype=torch.float64)
    total: Tensor | None = None
    for images, target in batches:
        _require_batch(images, target, parts, total)
        images = images.to(device)
        truth = target.double().cpu()
        together = max(1, batch_size // len(images))
        regions = list(_regions(images.shape[-2], images.shape[-1], parts))
        for first in range(0, len(regions), together):
            some = regions[first : first + together]
            values = _values(model, images, some, fill, flip, mirror)
            errors[first : first + len(some)] += (values - truth).abs().sum(1)
        added = images.double().sum(0).cpu()
        total = added if total is None else total + added
        count += len(images)
    if total is None:
        raise ValueError("batches holds no images")
    maes = errors / count
    if maes[0] == 0:
        raise ValueError("the model makes no error on these images: no loss is relative to it")
    relative = (maes[1:] - maes[0]) / maes[0]
    squares, stripes = relative.split([parts * parts, parts])
    return Occlusion(float(maes[0]), squares.view(parts, parts), stripes, total / count, count)


_Region = tuple[slice, slice]


def _regions(height: int, width: int, parts: int) -> Iterator[_Region]:
    """Nothing, then every square, then every stripe."""
    rows = [slice(i * height // parts, (i + 1) * height // parts) for i in range(parts)]
    columns = [slice(i * width // parts, (i + 1) * width // parts) for i in range(parts)]
    yield slice(0, 0), slice(0, 0)
    yield from ((row, column) for row in rows for column in columns)
    yield from ((row, slice(0, width)) for row in rows)


def _values(
    model: LabelDistributionNet,
    images: Tensor,
    regions: list[_Region],
    fill: float,
    flip: bool,
    mirror: bool,
) -> Tensor:
    """Values with every region hidden, float64 [regions, N] on the CPU."""
    hidden = _hide(images, regions, fill)
    values = model.predict(hidden, flip=flip and mirror)
    if flip and not mirror:
        values = (values + model.predict(_hide(images.flip(-1), regions, fill))) / 2
    return values.view(len(regions), len(images)).cpu()


def _hide(images: Tensor, regions: list[_Region], fill: float) -> Tensor:
    """A copy of the images for every region, [regions * N, 3, H, W]."""
    copies = images.repeat(len(regions), 1, 1, 1, 1)
    for copy, (rows, columns) in zip(copies, regions, strict=True):
        copy[..., rows, columns] = fill
    return copies.flatten(0, 1)


def _require_batch(images: Tensor, target: Tensor, parts: int, total: Tensor | None) -> None:
    if images.dim() != 4 or len(images) == 0:
        raise ValueError(f"images must be [N, 3, H, W], N >= 1, got {list(images.shape)}")
    if target.shape != images.shape[:1]:
        raise ValueError(
            f"there must be a true value for each of {len(images)} images, got {list(target.shape)}"
        )
    if not bool(target.isfinite().all()):
        raise ValueError("the true values must be finite")
    if min(images.shape[-2:]) < parts:
        raise ValueError(f"{parts} parts need as many pixels, got images {list(images.shape)}")
    if total is not None and total.shape != images.shape[1:]:
        raise ValueError(
            f"all images must have one size, got {list(images.shape[1:])} after {list(total.shape)}"
        )
