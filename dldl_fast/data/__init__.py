"""Data sets: head roll and teacher ages on the ORL faces, and the user's own folder."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from dldl_fast.data.base import DataError, FaceData, MissingExtraError, Progress, Split
from dldl_fast.data.folder import load_folder
from dldl_fast.data.head_roll import load_head_roll
from dldl_fast.data.orl_age import load_orl_age

__all__ = [
    "DataError",
    "FaceData",
    "MissingExtraError",
    "Split",
    "load_data",
    "load_folder",
    "load_head_roll",
    "load_orl_age",
]


def load_data(
    source: str,
    labels: Tensor,
    *,
    image_size: int,
    test_fraction: float = 0.2,
    seed: int = 0,
    allow_zero_sigma: bool = True,
    progress: Progress | None = None,
) -> FaceData:
    """Load a data set by name, or the user's own by its path.

    Args:
        source: ``"head-roll"``, ``"orl-age"``, a folder with ``labels.csv``, or a CSV file.
        labels: label grid, [K].
        image_size: height and width of the images, in pixels.
        test_fraction: share of the persons (of the rows of a table) to hold out.
        seed: selects them.
        allow_zero_sigma: whether a table may hold a sigma of 0.
        progress: told about every picture of the user's own.

    Raises:
        DataError: if the data cannot be used, naming the file and the row.
        MissingExtraError: naming the extra to install.
    """
    if source == "head-roll":
        return load_head_roll(labels, image_size=image_size, test_fraction=test_fraction, seed=seed)
    if source == "orl-age":
        return load_orl_age(labels, image_size=image_size, test_fraction=test_fraction, seed=seed)
    return load_folder(
        Path(source),
        labels,
        image_size=image_size,
        test_fraction=test_fraction,
        seed=seed,
        allow_zero_sigma=allow_zero_sigma,
        progress=progress,
    )
