from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dldl_fast.faces.mtcnn.sums import SummedPictures


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def resized(image: np.ndarray, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    """The same by torch, [3, h, w], from [0, 255] to [-1, 1]."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(dtype)
    return (F.interpolate(pixels, size=size, mode="area")[0] - 127.5) / 128


def sums_of(*pictures: np.ndarray) -> SummedPictures:
    return SummedPictures(pictures, torch.device("cpu"))


@pytest.mark.parametrize("size", [(20, 33), (37, 41), (13, 12), (40, 50)])  # the last enlarges
def test_scaled_is_what_torch_gives(size):
    pictures = [picture(37, 41, seed) for seed in range(3)]
    found = sums_of(*pictures).scaled(range(3), size, range(size[0]), range(size[1]))
    assert found.is_contiguous(memory_format=torch.channels_last)
    for image, expected in zip(found, pictures, strict=True):
        assert torch.equal(image, resized(expected, size))


def test_parts_of_scaled():
    sums = sums_of(picture(50, 60), picture(37, 41, 1), picture(37, 41, 2), picture(37, 41, 3))
    found = sums.scaled(range(2, 4), (25, 30), range(4, 17), range(10, 30))
    for image, seed in zip(found, (2, 3), strict=True):
        expected = resized(picture(37, 41, seed), (25, 30))
        assert torch.equal(image, expected[:, 4:17, 10:30])


def test_one_picture_with_columns_that_are_not_needed():
    image = picture(300, 500)
    found = sums_of(image).scaled(range(1), (100, 333), range(20, 90), range(100, 200))
    assert torch.equal(found[0], resized(image, (100, 333))[:, 20:90, 100:200])


@pytest.mark.parametrize("size", [(13, 30), (2, 1)])
def test_bins_whose_sums_do_not_fit_into_their_fields(size):
    # Sums of a row are larger than 2^21, and of the blue field beyond 2^63: they overflow.
    image = picture(2500, 3000)
    image[:, 500:2500] = 255
    found = sums_of(image).scaled(range(1), size, range(size[0]), range(size[1]))
    # torch's own float32 sums of so many pixels are less exact.
    expected = resized(image, size, torch.float64)
    torch.testing.assert_close(found[0].double(), expected, atol=1e-6, rtol=0)


def test_crops_from_pictures_of_several_sizes():
    pictures = [picture(40, 70), picture(90, 30, 1), picture(90, 30, 2)]
    boxes = torch.tensor([[3, 5, 40, 40], [0, 0, 30, 90], [29, 89, 30, 90], [10, 0, 17, 80]])
    which = torch.tensor([0, 2, 1, 1])
    found = sums_of(*pictures).crops(which, boxes, 24)
    for image, i, (left, top, right, bottom) in zip(found, which, boxes.tolist(), strict=True):
        expected = resized(pictures[i][top:bottom, left:right], (24, 24))
        assert torch.equal(image, expected)


def test_crops_of_large_boxes():
    image = picture(2500, 3000)
    image[500:, 500:] = 255
    boxes = torch.tensor([[1, 2, 2999, 2490], [7, 9, 40, 50]])
    found = sums_of(image).crops(torch.zeros(2, dtype=torch.int64), boxes, 24)
    for crop, (left, top, right, bottom) in zip(found, boxes.tolist(), strict=True):
        expected = resized(image[top:bottom, left:right], (24, 24), torch.float64)
        torch.testing.assert_close(crop.double(), expected, atol=1e-6, rtol=0)


def test_pictures_that_are_views():
    image = picture(50, 60)
    image.flags.writeable = False
    found = sums_of(image[::-1, ::2]).scaled(range(1), (20, 20), range(20), range(20))
    assert torch.equal(found[0], resized(image[::-1, ::2].copy(), (20, 20)))
