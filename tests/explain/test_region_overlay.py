from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

from dldl_fast.explain import region_overlay  # noqa: E402


def test_boxes_are_drawn_where_they_are():
    crop = np.full((64, 128, 3), 100, np.uint8)
    regions = torch.tensor([[16.0, 8.0, 48.0, 40.0], [64.0, 0.0, 128.0, 32.0]])
    picture = np.asarray(region_overlay(crop, regions)).astype(int)
    assert picture.shape == (224, 224, 3)
    first, second = np.array([255, 196, 0]), np.array([0, 200, 255])
    # x is scaled by 224 / 128, y by 224 / 64.
    assert (picture[60, 29] == first).all() and (picture[60, 83] == first).all()
    assert (picture[29, 60] == first).all() and (picture[139, 60] == first).all()
    assert (picture[60, 113] == second).all() and (picture[111, 170] == second).all()
    assert (picture[180, 150] == 100).all() and (picture[100, 60] == 100).all()


def test_regions_of_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"regions must have shape \[T, 4\], got \[1, 3, 4\]"):
        region_overlay(np.zeros((8, 8, 3), np.uint8), torch.zeros(1, 3, 4))
