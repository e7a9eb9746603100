from __future__ import annotations

from pathlib import Path

import pytest

from dldl_fast.faces import FaceDetector


@pytest.fixture(scope="session")
def detector(mtcnn_weights: Path) -> FaceDetector:
    return FaceDetector.from_folder(mtcnn_weights)
