"""A face that was found in a picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Face:
    """A face in a picture; coordinates are pixels of the upright picture, from its left top corner.

    Attributes:
        box: left, top, right, bottom.
        landmarks: float32 [5, 2], x and y of left eye, right eye, nose, left and right corner of
            the mouth; left is the side of the picture, not of the person.
        score: how sure the detector is, in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: Tensor
    score: float

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        left, top, right, bottom = self.box
        return max(0.0, right - left) * max(0.0, bottom - top)
