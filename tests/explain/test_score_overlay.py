from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="the extra faces is not installed")
pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

from dldl_fast.explain.score_overlay import SIDE, score_overlay  # noqa: E402


def test_map_lies_over_its_face():
    scores = torch.full((7, 7), -3.0)
    scores[1, 5] = 2.0
    crop = np.full((64, 64, 3), 100, np.uint8)
    picture = np.asarray(score_overlay(crop, scores)).astype(int)
    assert picture.shape == (SIDE, SIDE, 3)
    # The middle of row 1 and column 5, of 32 pixels each. Inferno ends at (252, 255, 164).
    brightest = picture.sum(2).argmax()
    assert abs(brightest // SIDE - 48) <= 1
    assert abs(brightest % SIDE - 176) <= 1
    np.testing.assert_allclose(
        picture.reshape(-1, 3)[brightest], 0.4 * 100 + 0.6 * np.array([252, 255, 164]), atol=12
    )
    np.testing.assert_allclose(picture[200, 20], 0.4 * 100 + 0.6 * np.array([0, 0, 4]), atol=1)


def test_face_shows_through_the_map():
    crop = np.zeros((32, 32, 3), np.uint8)
    crop[:, 16:] = (200, 100, 50)
    picture = np.asarray(score_overlay(crop, torch.full((2, 2), 7.0))).astype(int)
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    np.testing.assert_allclose(picture[100, 200], 0.4 * grey + 0.6 * np.array([0, 0, 4]), atol=1)
    np.testing.assert_allclose(picture[100, 20], 0.6 * np.array([0, 0, 4]), atol=1)
