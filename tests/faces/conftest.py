from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from dldl_fast.faces import FaceDetector
from dldl_fast.faces.mtcnn.weights import FILES, download_wheel, weights_folder
from dldl_fast.models.checkpoint import CheckpointError


@pytest.fixture(scope="session")
def facenet_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of facenet-pytorch, downloaded with pip."""
    try:
        return download_wheel(tmp_path_factory.mktemp("wheel"))
    except CheckpointError as error:
        pytest.skip(f"no weights of MTCNN: {error}")


@pytest.fixture(scope="session")
def mtcnn_weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three files of weights: the user's cache, or else downloaded."""
    if all((weights_folder() / name).is_file() for name in FILES):
        return weights_folder()
    folder = tmp_path_factory.mktemp("mtcnn")
    with ZipFile(request.getfixturevalue("facenet_wheel")) as wheel:
        for name in FILES:
            (folder / name).write_bytes(wheel.read(f"facenet_pytorch/data/{name}"))
    return folder


@pytest.fixture(scope="session")
def detector(mtcnn_weights: Path) -> FaceDetector:
    return FaceDetector.from_folder(mtcnn_weights)
