"""The first step of MTCNN: the PNet on every level of the pictures' pyramids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dldl_fast.faces.mtcnn.networks import PNetScan
from dldl_fast.faces.mtcnn.sums import SummedPictures
from dldl_fast.faces.mtcnn.suppression import suppress

FACTOR = 0.709
"""From one level of the pyramid to the next: half the area."""

# Of the windows that the PNet looks at, in pixels of the scaled picture.
_WINDOW, _STRIDE = 12, 2

# Pixels that go through the PNet at once, about 100 bytes each. On a CPU, what a core's cache
# nearly holds; on a GPU, enough to keep it busy.
_TILE_PIXELS_PER_THREAD, _TILE_PIXELS_GPU = 2**16, 2**22
_TILE_COLUMNS = 2**11


def proposals(
    sums: SummedPictures, network: PNetScan, min_face_size: float, threshold: float
) -> tuple[Tensor, Tensor]:
    """Where the PNet sees a face.

    Args:
        sums: the pictures; those of one size go through the network together.
        network: of the first step.
        min_face_size: side of the smallest faces that are looked for, in pixels.
        threshold: the least score.

    Returns:
        Squares float32 [K, 4] (left, top, right, bottom) and the picture of each, int64 [K].
    """
    device = sums.sizes.device
    tiles = list(_tiles(sums.shapes, min_face_size, device))
    if not tiles:
        return torch.zeros(0, 4, device=device), torch.zeros(0, dtype=torch.int64, device=device)
    hits = []
    for tile in tiles:
        scores, features = network(sums.scaled(tile.pictures, tile.size, tile.rows, tile.columns))
        cells = (scores >= threshold).nonzero()
        at = cells.unbind(1)
        hits.append((cells, scores[at], features[at]))
    # Picture, row and column; the same numbers of the tiles' first cells are added.
    cells, scores, features = (torch.cat(parts) for parts in zip(*hits, strict=True))
    first = [
        (tile.pictures.start, tile.rows.start // _STRIDE, tile.columns.start // _STRIDE, tile.level)
        for tile in tiles
    ]
    counts = torch.tensor([len(hit[0]) for hit in hits], device=device)
    origin = torch.tensor(first, device=device).repeat_interleave(counts, 0)
    scale = torch.tensor([tile.scale for tile in tiles], dtype=torch.float32, device=device)
    scale = scale.repeat_interleave(counts)[:, None]
    picture, level = cells[:, 0] + origin[:, 0], origin[:, 3]
    corner = ((cells[:, 1:] + origin[:, 1:3]) * _STRIDE).flip(1)
    # Rounded as in facenet-pytorch.
    boxes = (torch.cat((corner + 1, corner + _WINDOW), 1) / scale).floor_()

    kept = suppress(boxes, scores, picture * len(tiles) + level, 0.5)
    kept = kept[suppress(boxes[kept], scores[kept], picture[kept], 0.7)]
    boxes, offsets = boxes[kept], network.offsets(features[kept])
    sides = boxes[:, 2:] - boxes[:, :2]
    return squares(boxes + offsets * sides.repeat(1, 2)), picture[kept]


def squares(boxes: Tensor) -> Tensor:
    """Squares around the middle of boxes [K, 4], as long as their longer side.

    Example:
        >>> squares(torch.tensor([[10.0, 20, 30, 30]]))
        tensor([[10., 15., 30., 35.]])
    """
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.amax(1, keepdim=True)
    first = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat((first, first + side), 1)


class _Tile(NamedTuple):
    """A part of several pictures of one size, on one level of their pyramids.

    Attributes:
        pictures: which ones.
        size: height and width of the level.
        rows: of the level, beginning with an even one.
        columns: of the level, likewise.
        level: its number.
        scale: pixels of the level per pixel of the pictures.
    """

    pictures: range
    size: tuple[int, int]
    rows: range
    columns: range
    level: int
    scale: float


def _tiles(
    shapes: Sequence[tuple[int, int]], min_face_size: float, device: torch.device
) -> Iterator[_Tile]:
    """Everything that has to go through the PNet, in parts of bounded size."""
    pixels = _TILE_PIXELS_PER_THREAD * torch.get_num_threads()
    if device.type != "cpu":
        pixels = _TILE_PIXELS_GPU
    for (height, width), same in itertools.groupby(range(len(shapes)), key=shapes.__getitem__):
        pictures = list(same)
        scale = _WINDOW / min_face_size
        shortest = min(height, width) * scale
        for level in itertools.count():
            if shortest < _WINDOW:
                break
            size = int(height * scale + 1), int(width * scale + 1)
            for some, rows, columns in _parts(range(pictures[0], pictures[-1] + 1), size, pixels):
                yield _Tile(some, size, rows, columns, level, scale)
            scale *= FACTOR
            shortest *= FACTOR


def _parts(
    pictures: range, size: tuple[int, int], pixels: int
) -> Iterator[tuple[range, range, range]]:
    """Pictures, rows and columns that cover a level; so far overlapping that no window is lost."""
    border = _WINDOW - _STRIDE
    height, width = (side - border for side in size)
    columns = min(width, _TILE_COLUMNS)
    rows = min(height, max(pixels // columns // _STRIDE * _STRIDE, _STRIDE))
    count = max(1, pixels // ((rows + border) * (columns + border)))
    for first in range(pictures.start, pictures.stop, count):
        some = range(first, min(first + count, pictures.stop))
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                bottom, right = min(top + rows, height), min(left + columns, width)
                yield some, range(top, bottom + border), range(left, right + border)
