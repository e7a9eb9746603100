"""From the table of a data set to what a training takes."""

from __future__ import annotations

import os

import torch
from torch import Generator, Tensor

from dldl_fast.data.augment import augment_face, augment_photo
from dldl_fast.data.base import DataError, FaceData, Progress, Split
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.official_augment import OfficialAugmentation
from dldl_fast.data.picture_store import decode_pictures, picture_cache
from dldl_fast.data.protocols import Parts
from dldl_fast.data.sets import public_set

AUGMENTATIONS = ("light", "official")

CACHED_BYTES = 256 * 2**20
"""Larger data sets are decoded once into the user's cache folder, smaller ones into memory."""

# Starting workers takes as long as decoding about so many pictures.
_FEW_PICTURES = 64


def default_protocol(source: str, table: FaceTable) -> str:
    """The protocol of `split_rows` that is used where the user names none.

    That is the first one of a public data set; of the user's own pictures the column ``split``, or
    else a share of the persons, or where they are not known of the rows.

    Args:
        source: what `open_source` read.
        table: what it made of it.
    """
    data_set = public_set(source)
    if data_set is not None:
        return data_set.protocols[0]
    if table.split is not None:
        return "official"
    return "random-80-20" if table.person is None else "subject-exclusive"


def load_table(
    table: FaceTable,
    parts: Parts,
    labels: Tensor,
    *,
    image_size: int,
    augmentation: str = "light",
    mirror: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FaceData:
    """Decode the pictures of a data set; all of them, so that a bad one shows at the start.

    Data sets of more than 256 MiB are decoded into the user's cache folder, where later trainings
    find them, and mapped from there.

    Args:
        table: the data set.
        parts: which rows are for what.
        labels: label grid, [K], that the labels must lie within.
        image_size: height and width of the images, in pixels.
        augmentation: ``"light"``: zoom, shift and brightness, all images of a step at once;
            ``"official"``: `OfficialAugmentation`, image by image, in workers.
        mirror: whether training images may be mirrored.
        workers: processes that decode; None: as many as cores, but for a few pictures.
        progress: told about every picture.

    Raises:
        DataError: naming the picture that cannot be read or the label that is outside the grid.
        ValueError: if there is no such augmentation.
    """
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"augmentation must be one of {AUGMENTATIONS}, got {augmentation!r}")
    low, high = float(labels[0]), float(labels[-1])
    outside = ((table.target < low) | (table.target > high)).nonzero()
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"{table.name}: label {table.target[row]:g} of {table.paths[row]} is outside the label "
            f"grid [{low:g}, {high:g}]; choose --label-min and --label-max around the labels"
        )
    large = len(table) * 3 * image_size**2 > CACHED_BYTES
    images = decode_pictures(
        table.root,
        table.paths,
        image_size,
        cache=picture_cache() if large else None,
        workers=_decoding_workers(len(table)) if workers is None else workers,
        progress=progress,
        places=table.where,
    )

    def part(mask: Tensor) -> Split:
        rows = mask.nonzero()[:, 0]
        sigma = None if table.sigma is None else table.sigma[rows]
        return Split(images, table.target[rows], sigma, image_of=rows)

    return FaceData(
        name=table.name,
        unit=table.spec.unit,
        labels=labels,
        train=part(parts.train),
        validation=None if parts.validation is None else part(parts.validation),
        test=part(parts.test),
        augment=augment_face if mirror else augment_photo,
        augment_picture=OfficialAugmentation(flip=mirror) if augmentation == "official" else None,
        baseline=float(table.target[parts.train].median()),
        note=table.note,
        mirror=mirror,
    )


def hold_out_validation(table: FaceTable, parts: Parts, fraction: float, seed: int) -> Parts:
    """Hold out a share of the training rows to choose the best epoch.

    Whole persons, where they are known.

    Args:
        table: the data set.
        parts: which rows are for what; those for training are divided.
        fraction: share of the persons or rows, in (0, 1).
        seed: selects them.

    Raises:
        DataError: if the parts have validation rows already, or there are too few persons or rows.
        ValueError: if `fraction` is not in (0, 1).
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"validation_fraction must be between 0 and 1, got {fraction}")
    if parts.validation is not None:
        raise DataError(
            f"{table.name} has a validation part of its own; leave out --validation-fraction"
        )
    rows = parts.train.nonzero()[:, 0].tolist()
    unit_of = [str(row) if table.person is None else table.person[row] for row in rows]
    units = sorted(set(unit_of))
    if len(units) < 2:
        raise DataError(f"{table.name}: too few persons to hold some out for validation")
    order = torch.randperm(len(units), generator=Generator().manual_seed(seed)).tolist()
    count = min(max(round(len(units) * fraction), 1), len(units) - 1)
    chosen = {units[index] for index in order[:count]}
    validation = torch.zeros_like(parts.train)
    validation[[row for row, unit in zip(rows, unit_of, strict=True) if unit in chosen]] = True
    return Parts(parts.train & ~validation, validation, parts.test)


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _decoding_workers(count: int) -> int:
    return 0 if count < _FEW_PICTURES or cores() == 1 else cores()
