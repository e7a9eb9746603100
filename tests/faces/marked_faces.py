"""Photos whose faces a stand-in for the detector can tell, for tests of what comes after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dldl_fast.faces import TEMPLATE, Face

SIZE = 40


def write_photo(path: Path, seed: int, faces: int = 1) -> None:
    """A photo of noise with so many faces."""
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE + 8, 3), dtype=np.uint8)
    pixels[0, 0] = 10 * faces
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")


def find_marked(pictures: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
    """The faces of such photos, the largest first; where they are depends on the noise."""
    found = []
    for picture in pictures:
        faces = []
        for number in range(int(picture[0, 0, 0]) // 10):
            side = 24.0 - 3 * number
            left, top = (float(value) / 32 for value in picture[1, 1 + number, :2])
            landmarks = side * TEMPLATE + torch.tensor([left, top])
            box = (left, top, left + side, top + side)
            faces.append(Face(box, landmarks.float(), 0.75 + float(picture[2, 2, 0]) / 1024))
        found.append(faces)
    return found
