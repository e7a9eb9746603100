"""Averages over rectangles of pictures, from sums that are computed once for each picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Red, green and blue are three fields of one int64. Sums of whole rows overflow, which does no
# harm: a difference of two is right where its own fields are in range.
_BITS = 21
_FIELD = 2**_BITS - 1
_LONGEST = 90
"""Side of the largest square whose sums fit in their fields."""

# Rows of a picture that are summed while they are in the cache.
_ROWS = 16


class SummedPictures:
    """Pictures of any sizes as sums over all pixels above and to the left.

    The average over a rectangle takes four of them, whatever its size. The results equal those of
    ``torch.nn.functional.interpolate(mode="area")`` to the last bit, since sums of 8-bit numbers
    are exact in both.

    Args:
        pictures: uint8 [H, W, 3] each; those of one size follow each other.
        device: where to compute.

    Attributes:
        shapes: height and width of every picture.
        sizes: the same as a tensor, int64 [N, 2].
    """

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], device: torch.device) -> None:
        sizes = torch.tensor([picture.shape[:2] for picture in pictures])
        room = (sizes + 1).prod(1)
        end = room.cumsum(0)
        self._sums = torch.empty(int(end[-1]), dtype=torch.int64, device=device)
        for picture, last, count in zip(pictures, end.tolist(), room.tolist(), strict=True):
            height, width = picture.shape[:2]
            _sum_up(picture, self._sums[last - count : last].view(height + 1, width + 1))
        # Where each begins: on the device for crops, here for the rest.
        self._begins = (end - room).tolist()
        self._begin = (end - room).to(device)
        self.shapes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        self.sizes = sizes.to(device)

    def scaled(self, pictures: range, size: tuple[int, int], rows: range, columns: range) -> Tensor:
        """A part of several pictures of one size, scaled.

        Args:
            pictures: which ones.
            size: height and width of the whole scaled pictures.
            rows: of the scaled pictures.
            columns: of the scaled pictures.

        Returns:
            float32 [len(pictures), 3, len(rows), len(columns)], channels last, values in [-1, 1].
        """
        height, width = self.shapes[pictures[0]]
        shape = (len(pictures), height + 1, width + 1)
        begin = self._begins[pictures[0]]
        sums = self._sums[begin : begin + math.prod(shape)].view(shape)
        index = torch.arange(max(rows.stop, columns.stop), device=sums.device)
        top, bottom = _bins(height, size[0], index[rows.start : rows.stop])
        left, right = _bins(width, size[1], index[columns.start : columns.stop])
        split = _split(height / size[0], width / size[1])
        upper, lower = _parts(top, bottom, split)
        near, far = _parts(left, right, split)
        # Only what is needed: index_select copies all of a tensor with gaps between its rows.
        row, column = rows.start * height // size[0], columns.start * width // size[1]
        end = -(-rows.stop * height // size[0]) + 1, -(-columns.stop * width // size[1]) + 1
        sums = sums[:, row : end[0], column : end[1]]
        bands = sums.index_select(1, lower - row) - sums.index_select(1, upper - row)
        packed = bands.index_select(2, far - column) - bands.index_select(2, near - column)
        return _averages(packed, split, (bottom - top)[None], (right - left)[None])

    def crops(self, picture: Tensor, boxes: Tensor, size: int) -> Tensor:
        """Rectangles of the pictures, scaled to squares.

        Args:
            picture: int64 [K], which picture each is cut from.
            boxes: int64 [K, 4], left, top, right, bottom, not empty and inside their pictures.
            size: height and width of the result.

        Returns:
            float32 [K, 3, size, size], channels last, values in [-1, 1].
        """
        left, top, right, bottom = boxes[:, :, None].unbind(1)
        split = _split(float((boxes[:, 2:] - boxes[:, :2]).max()) / size)
        index = torch.arange(size, device=boxes.device)
        rows, columns = _bins(bottom - top, size, index), _bins(right - left, size, index)
        pitch = (self.sizes[:, 1] + 1)[picture][:, None, None]
        begin = self._begin[picture][:, None, None]
        upper, lower = ((part + top)[:, :, None] * pitch + begin for part in _parts(*rows, split))
        near, far = ((part + left)[:, None] for part in _parts(*columns, split))
        packed = self._sums[lower + far] - self._sums[lower + near]
        packed -= self._sums[upper + far] - self._sums[upper + near]
        return _averages(packed, split, rows[1] - rows[0], columns[1] - columns[0])


def _sum_up(picture: NDArray[np.uint8], sums: Tensor) -> None:
    """Fill in the sums [H + 1, W + 1] of a picture [H, W, 3]."""
    sums[0] = 0
    sums[:, 0] = 0
    if sums.device.type != "cpu":
        image = torch.from_numpy(np.require(picture, requirements=["C", "W"]))
        red, green, blue = image.to(sums.device).long().unbind(2)
        all_three = red + (green << _BITS) + (blue << 2 * _BITS)
        sums[1:, 1:] = all_three.cumsum(1).cumsum(0)
        return
    # NumPy adds row to row several times as fast as torch sums along columns.
    table = sums.numpy()
    for first in range(0, len(picture), _ROWS):
        pixels = picture[first : first + _ROWS]
        packed = pixels[:, :, 2].astype(np.int64)
        for channel in (1, 0):
            packed <<= _BITS
            packed += pixels[:, :, channel]
        np.cumsum(packed, axis=1, out=packed)
        for row, line in enumerate(packed, first):
            np.add(table[row, 1:], line, out=table[row + 1, 1:])


def _bins(length: Tensor | int, count: int, index: Tensor) -> tuple[Tensor, Tensor]:
    """Where bins of an index begin and end when `length` pixels are averaged to `count`.

    Bins overlap unless the numbers divide, as in adaptive pooling.
    """
    return index * length // count, ((index + 1) * length + count - 1) // count


def _split(*pixels_per_bin: float) -> int:
    """In how many parts bins have to be summed, along each axis."""
    return int((max(pixels_per_bin) + 2) // _LONGEST) + 1


def _parts(start: Tensor, end: Tensor, split: int) -> tuple[Tensor, Tensor]:
    """The bins [..., n] in parts: [..., n * split]."""
    if split == 1:
        return start, end
    share = torch.arange(split + 1, device=start.device)
    edges = start[..., None] + (end - start)[..., None] * share // split
    return edges[..., :-1].flatten(-2), edges[..., 1:].flatten(-2)


def _averages(packed: Tensor, split: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Averages [K, 3, h, w], from [0, 255] to [-1, 1], of packed sums.

    Args:
        packed: int64 [K, h * split, w * split]; overwritten.
        split: parts of every bin along each axis.
        rows: of every bin, [K or 1, h].
        columns: of every bin, [K or 1, w].
    """
    sums = packed.new_empty((*packed.shape, 3), dtype=torch.float32)
    sums[..., 0] = packed & _FIELD
    packed >>= _BITS
    sums[..., 1] = packed & _FIELD
    packed >>= _BITS
    sums[..., 2] = packed
    if split > 1:
        sums = sums.unflatten(2, (-1, split)).unflatten(1, (-1, split)).sum((2, 4))
    # One division after the other: so does torch.
    sums /= rows.float()[:, :, None, None]
    sums /= columns.float()[:, None, :, None]
    return sums.sub_(127.5).mul_(1 / 128).permute(0, 3, 1, 2)
