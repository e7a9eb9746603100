"""The faces of a data set's rows, as a model is given them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.data.face_table import FaceTable
from dldl_fast.evaluation import photos_of_rows
from dldl_fast.explain.score_map import NoMapsError, score_map
from dldl_fast.prediction import AgeEstimator


def faces_of_rows(
    estimator: AgeEstimator,
    table: FaceTable,
    rows: Sequence[int],
    *,
    workers: int = 1,
    allow_outside: bool = False,
) -> Iterator[NDArray[np.uint8]]:
    """The largest face of every row, uint8 [S, S, 3]; the rows must have predictions."""
    photos = photos_of_rows(table, rows, allow_outside=allow_outside)
    for faces in estimator.crops(photos, workers=workers):
        yield faces[0].pixels


def score_maps(
    estimator: AgeEstimator, faces: Sequence[NDArray[np.uint8]]
) -> Sequence[Tensor | None]:
    """One per face, of the places of the features; None where these have no places."""
    inputs = estimator.network_inputs(torch.from_numpy(np.stack(faces)))
    try:
        return list(score_map(estimator.model, inputs, upsample=False))
    except NoMapsError:
        return [None] * len(faces)


def face_batches(
    estimator: AgeEstimator,
    faces: Iterable[NDArray[np.uint8]],
    targets: Tensor,
    batch_size: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Faces as `occlusion` takes them, with their true values."""
    stream, first = iter(faces), 0
    while batch := list(islice(stream, batch_size)):
        inputs = estimator.network_inputs(torch.from_numpy(np.stack(batch)))
        yield inputs, targets[first : first + len(batch)]
        first += len(batch)
