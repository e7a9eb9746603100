"""The pictures of faces that a photo gives, under the user's rules for no face and for several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dldl_fast.data.base import DataError
from dldl_fast.data.images import middle_square
from dldl_fast.faces.alignment import align_face
from dldl_fast.faces.face import Face

NoFace = Literal["whole", "skip", "error"]
"""What a photo without a face gives: the whole photo, nothing, or an error."""

Several = Literal["largest", "all"]
"""Which faces of a photo with several are taken."""


NO_FACE = "no face found"


class NoFaceError(DataError):
    """A photo without a face, where that is an error."""


@dataclass(frozen=True)
class Crop:
    """A square picture for the networks.

    Attributes:
        pixels: uint8 [size, size, 3], RGB.
        face: where it comes from in the photo; None: it is the whole photo.
    """

    pixels: NDArray[np.uint8]
    face: Face | None


def crops_of(
    picture: NDArray[np.uint8],
    faces: Sequence[Face],
    *,
    no_face: NoFace = "whole",
    several: Several = "largest",
    size: int = 224,
) -> list[Crop]:
    """Aligned crops of the faces in a photo.

    Args:
        picture: uint8 [H, W, 3], RGB, upright.
        faces: those found in it, largest first, as `FaceDetector` gives them.
        no_face: without faces, ``"whole"`` gives the largest square around the photo's middle,
            ``"skip"`` nothing, and ``"error"`` an error.
        several: ``"largest"`` takes the first face alone, ``"all"`` takes all.
        size: height and width of the crops, in pixels.

    Returns:
        The crops, in the order of the faces.

    Raises:
        NoFaceError: without faces, if `no_face` is ``"error"``.
        ValueError: if `no_face` or `several` is not one of these, or as `align_face`.

    Source:
        The released code takes the whole photo where its detector finds no face.

    Example:
        >>> photo = np.zeros((40, 60, 3), np.uint8)
        >>> [crop.pixels.shape for crop in crops_of(photo, [], size=32)]
        [(32, 32, 3)]
        >>> crops_of(photo, [], no_face="skip")
        []
    """
    if no_face not in ("whole", "skip", "error"):
        raise ValueError(f"no_face must be 'whole', 'skip' or 'error', got {no_face!r}")
    if several not in ("largest", "all"):
        raise ValueError(f"several must be 'largest' or 'all', got {several!r}")
    if faces:
        taken = faces if several == "all" else faces[:1]
        return [Crop(align_face(picture, face.landmarks, size), face) for face in taken]
    if no_face == "whole":
        from PIL import Image

        square = middle_square(Image.fromarray(picture), size)
        return [Crop(np.asarray(square, dtype=np.uint8), None)]
    if no_face == "error":
        raise NoFaceError(NO_FACE)
    return []
