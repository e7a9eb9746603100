"""Rules for photos without a face, and with several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dldl_fast.data import DataError
from dldl_fast.data.images import read_image
from dldl_fast.faces import TEMPLATE, Face, NoFaceError, align_face, crops_of

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
FACES = [
    Face((10.0, 5.0, 50.0, 45.0), (40 * TEMPLATE + torch.tensor([10, 5])).float(), 0.9),
    Face((60.0, 20.0, 80.0, 40.0), (20 * TEMPLATE + torch.tensor([60, 20])).float(), 0.99),
]


def test_largest_or_all() -> None:
    (largest,) = crops_of(PHOTO, FACES, size=32)
    assert largest.face is FACES[0]
    np.testing.assert_array_equal(largest.pixels, align_face(PHOTO, FACES[0].landmarks, 32))
    every = crops_of(PHOTO, FACES, several="all", no_face="error", size=32)
    assert [crop.face for crop in every] == FACES
    np.testing.assert_array_equal(every[1].pixels, align_face(PHOTO, FACES[1].landmarks, 32))


def test_without_a_face(tmp_path: Path) -> None:
    (whole,) = crops_of(PHOTO, [], size=30)
    assert whole.face is None
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    as_read = read_image(tmp_path / "a.png", 30)
    np.testing.assert_array_equal(whole.pixels, as_read.transpose(1, 2, 0))
    assert crops_of(PHOTO, [], no_face="skip") == []
    with pytest.raises(NoFaceError, match="^no face found$") as caught:
        crops_of(PHOTO, [], no_face="error")
    assert isinstance(caught.value, DataError)


def test_one_pixel() -> None:
    (whole,) = crops_of(PHOTO[:1, :1], [])
    assert whole.pixels.shape == (224, 224, 3)
    assert (whole.pixels == PHOTO[0, 0]).all()


def test_unknown_rules() -> None:
    with pytest.raises(ValueError, match="no_face must be 'whole', 'skip' or 'error', got 'none'"):
        crops_of(PHOTO, FACES, no_face="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="several must be 'largest' or 'all', got 'first'"):
        crops_of(PHOTO, FACES, several="first")  # type: ignore[arg-type]
