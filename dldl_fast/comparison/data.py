"""Tables, features and pictures in the one form that a comparison takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes
from torch import Tensor

from dldl_fast.comparison.feature_files import FeatureRows, group_numbers, read_csv, read_mat
from dldl_fast.data.augment import augment_photo
from dldl_fast.data.base import Augment, DataError, Progress
from dldl_fast.data.folder import TABLE_NAME, read_table
from dldl_fast.data.head_roll import angle_range, random_head_roll, turn_evenly
from dldl_fast.data.orl import read_orl_faces
from dldl_fast.data.picture_store import decode_pictures
from dldl_fast.estimators.rows import default_sigma, fit_label_grid
from dldl_fast.labels import label_grid

HEAD_ROLL_LABELS = (-45.0, 45.0, 1.0)
HEAD_ROLL_SIGMA = 3.0


@dataclass(frozen=True)
class ComparisonData:
    """Rows to learn from and to test on, either features or images.

    Attributes:
        name: short name, for titles.
        labels: float64 [K], the label grid.
        target: float64 [N], the values to predict, within the labels.
        sigma: float64 [N], standard deviation of every target, in the same unit.
        group: int64 [N], the group of every row; groups are not divided between folds. Or None.
        features: float32 [N, F], or None for images.
        images: uint8 [N, C, H, W] as a network is tested on them, or None.
        training_images: what `augment` makes training images from; the same rows.
        augment: makes images and targets of a training step.
        note: what a reader of the results must know; may be empty.
    """

    name: str
    labels: Tensor
    target: Tensor
    sigma: Tensor
    group: Tensor | None = None
    features: Tensor | None = None
    images: Tensor | None = None
    training_images: Tensor | None = None
    augment: Augment = augment_photo
    note: str = ""

    def __len__(self) -> int:
        return len(self.target)

    def fingerprint(self) -> str:
        """SHA-256 of all rows, to notice that results on disk are of other data."""
        digest = hashlib.sha256()
        for tensor in (self.target, self.sigma, self.group, self.features, self.images):
            if tensor is not None:
                digest.update(str(list(tensor.shape)).encode())
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def load_comparison_data(
    source: str,
    *,
    labels: Tensor | None = None,
    sigma: float | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    image_size: int = 64,
    progress: Progress | None = None,
) -> ComparisonData:
    """Load a data set by name, or the user's own by its path.

    Args:
        source: ``"diabetes"`` (scikit-learn's: disease progression after a year, ten features),
            ``"head-roll"`` (angles of turned ORL faces; groups are persons), a CSV table of
            features, a ``.mat`` file, or pictures: a folder with ``labels.csv`` or a CSV file with
            a column ``path``.
        labels: label grid, [K]. Default: -45, ..., 45 for head-roll; otherwise whole numbers from
            the smallest to the largest value where all are whole and at most 101 labels come of
            it, else 101 equally spaced labels between these two.
        sigma: standard deviation of every target. Default: what the data give for each row (a
            column ``sigma``, or the rows' own label distributions); 3 for head-roll; otherwise 1/50
            of the range of the labels, but at least half the mean distance of labels.
        label_column: what holds the values; see `read_csv` and `read_mat`.
        group_column: what holds the groups, for example persons.
        image_size: height and width of images, in pixels.
        progress: told about every picture of the user's own.

    Raises:
        DataError: if the data cannot be used, naming the file and the row.
        MissingExtraError: naming the extra to install.
    """
    path = Path(source)
    if source == "head-roll":
        _only_for_files(source, label_column, group_column)
        return _head_roll(labels, sigma, image_size)
    if source == "diabetes":
        _only_for_files(source, label_column, group_column)
        features, target = load_diabetes(return_X_y=True)
        rows = FeatureRows(features.astype(np.float32), target)
        return _with_grid("diabetes", rows, labels, sigma)
    if path.is_dir() or is_table_of_pictures(path):
        if label_column not in (None, "label"):
            raise DataError(
                f"{source}: tables of pictures have their values in the column 'label'; "
                "leave out --label-column"
            )
        return _pictures(path, labels, sigma, group_column, image_size, progress)
    if not path.is_file():
        raise DataError(
            f"{source}: no such file or folder; expected diabetes, head-roll, a CSV table, "
            f"a .mat file, or a folder of pictures with {TABLE_NAME}"
        )
    if path.suffix.lower() == ".mat":
        rows = read_mat(path, labels, label_column, group_column)
    else:
        rows = read_csv(path, "label" if label_column is None else label_column, group_column)
    return _with_grid(path.stem, rows, rows.labels if labels is None else labels, sigma)


def _only_for_files(source: str, label_column: str | None, group_column: str | None) -> None:
    for option, value in (("--label-column", label_column), ("--group-column", group_column)):
        if value is not None:
            raise DataError(f"{source}: {option} is for files only; leave it out")


def is_table_of_pictures(path: Path) -> bool:
    """Whether a path is a CSV file with a column ``path``, and not one of features."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return "path" in [name.strip() for name in file.readline(1 << 20).split(",")]


def _head_roll(labels: Tensor | None, sigma: float | None, image_size: int) -> ComparisonData:
    grid = label_grid(*HEAD_ROLL_LABELS) if labels is None else labels
    low, high = angle_range(grid)
    faces, person_of = read_orl_faces(image_size)
    shown, angles = turn_evenly(faces, low, high)
    return ComparisonData(
        name="head-roll",
        labels=grid,
        target=angles,
        sigma=_sigmas(HEAD_ROLL_SIGMA if sigma is None else sigma, len(angles)),
        group=person_of,
        images=shown,
        training_images=faces,
        augment=random_head_roll(low, high),
        note="Folds are of whole persons.",
    )


def _pictures(
    source: Path,
    labels: Tensor | None,
    sigma: float | None,
    group_column: str | None,
    image_size: int,
    progress: Progress | None,
) -> ComparisonData:
    table = source / TABLE_NAME if source.is_dir() else source
    rows = read_table(table, labels, group_column=group_column)
    images = decode_pictures(
        table.parent.resolve(),
        [str(row.path) for row in rows],
        image_size,
        cache=None,
        progress=progress,
        places=[f"{table}, row {row.number}" for row in rows],
    )
    target = np.array([row.label for row in rows])
    given = [row.sigma for row in rows if row.sigma is not None]
    groups = None
    if group_column is not None:
        groups = group_numbers([row.fields[group_column] for row in rows])
    grid = _grid(source.stem, labels, target)
    return ComparisonData(
        name=source.resolve().name if source.is_dir() else source.stem,
        labels=grid,
        target=torch.from_numpy(target),
        sigma=_row_sigmas(sigma, np.array(given) if given else None, grid, len(target)),
        group=None if groups is None else torch.from_numpy(groups),
        images=images,
        training_images=images,
    )


def _with_grid(
    name: str, rows: FeatureRows, labels: Tensor | None, sigma: float | None
) -> ComparisonData:
    grid = _grid(name, labels, rows.target)
    return ComparisonData(
        name=name,
        labels=grid,
        target=torch.from_numpy(rows.target),
        sigma=_row_sigmas(sigma, rows.sigma, grid, len(rows.target)),
        group=None if rows.group is None else torch.from_numpy(rows.group),
        features=torch.from_numpy(rows.features),
        note=rows.note,
    )


def _grid(
    name: str, labels: Tensor | Sequence[float] | None, target: NDArray[np.float64]
) -> Tensor:
    try:
        return fit_label_grid(labels, target)
    except ValueError as error:
        raise DataError(f"{name}: {error} (--labels min,max,step)") from error


def _row_sigmas(
    sigma: float | None, given: NDArray[np.float64] | None, grid: Tensor, count: int
) -> Tensor:
    if sigma is None and given is not None:
        return torch.from_numpy(given)
    return _sigmas(default_sigma(grid) if sigma is None else sigma, count)


def _sigmas(sigma: float, count: int) -> Tensor:
    return torch.full((count,), sigma, dtype=torch.float64)
