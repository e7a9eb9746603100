from __future__ import annotations

import io
import os
import pickle
import re
import shutil
import zipfile

import pytest
import torch

from dldl_fast.faces import FaceDetector
from dldl_fast.faces.mtcnn.weights import FILES, install_weights, read_networks, weights_folder
from dldl_fast.models.checkpoint import CheckpointError


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.fixture
def folder(mtcnn_weights, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(mtcnn_weights, tmp_path / "weights")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dldl_fast" / "mtcnn"


def test_the_weights_are_those_of_the_files(mtcnn_weights):
    networks = read_networks(mtcnn_weights)
    for network, name, count in zip(networks, FILES, (6_632, 100_178, 389_040), strict=True):
        expected = torch.load(mtcnn_weights / name, weights_only=True)
        assert sum(tensor.numel() for tensor in expected.values()) == count
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, expected[key]), key


def test_files_that_a_newer_torch_wrote(folder):
    expected = torch.load(folder / "rnet.pt", weights_only=True)
    torch.save(expected, folder / "rnet.pt")
    assert zipfile.is_zipfile(folder / "rnet.pt")
    _, network, _ = read_networks(folder)
    assert torch.equal(network.conv2.weight, expected["conv2.weight"])


def test_nothing_in_the_cache(cache):
    with pytest.raises(CheckpointError, match="no pnet.pt, no .*; run: dldl-fast weights mtcnn"):
        FaceDetector.from_cache()


def test_a_file_is_missing(folder):
    (folder / "rnet.pt").unlink()
    message = "weights: no rnet.pt; expected pnet.pt, rnet.pt, onet.pt; 'dldl-fast weights mtcnn'"
    with pytest.raises(CheckpointError, match=message):
        FaceDetector.from_folder(folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused(folder, tmp_path, zipped):
    trace = tmp_path / "was here"
    content = {"conv1.weight": Command(f"touch '{trace}'")}
    torch.save(content, folder / "onet.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"onet.pt: no weights of MTCNN that can be read"):
        read_networks(folder)
    (folder / "onet.pt").write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=r"onet.pt: no weights of MTCNN that can be read"):
        read_networks(folder)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no dictionary of tensors"),
        ({"conv1.weight": 3}, "no dictionary of tensors"),
        ({"conv1.weight": torch.ones(2, 2).to_sparse()}, "no dictionary of tensors"),
        ({"conv1.weight": torch.ones(2, 2)}, r"missing: conv1.bias \[10\].*wrong shape: conv1.we"),
    ],
)
def test_other_things_than_weights(folder, content, message):
    torch.save(content, folder / "pnet.pt")
    with pytest.raises(CheckpointError, match=f"pnet.pt: .*{message}"):
        read_networks(folder)


def test_damaged_files(folder):
    content = (folder / "pnet.pt").read_bytes()
    for damaged in (b"", content[:5000], b"x" * 100):
        (folder / "pnet.pt").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="pnet.pt: no weights of MTCNN"):
            read_networks(folder)


def test_files_that_get_larger_are_refused(folder):
    """A bomb of a few bytes: torch would unpack compressed parts of a zip file."""
    saved = io.BytesIO()
    torch.save(torch.load(folder / "pnet.pt", weights_only=True), saved)
    with (
        zipfile.ZipFile(saved) as source,
        zipfile.ZipFile(folder / "pnet.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(CheckpointError, match="compressed parts"):
        read_networks(folder)
    with (folder / "pnet.pt").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(CheckpointError, match="pnet.pt: more than 8,388,608 bytes"):
        read_networks(folder)


def test_from_a_wheel_into_the_cache(cache, facenet_wheel, mtcnn_weights):
    assert install_weights(facenet_wheel) == cache == weights_folder()
    assert sorted(path.name for path in cache.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (cache / name).read_bytes() == (mtcnn_weights / name).read_bytes()
    FaceDetector.from_cache()


def test_another_wheel_is_refused(cache, facenet_wheel, tmp_path):
    other = tmp_path / facenet_wheel.name
    other.write_bytes(facenet_wheel.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match=r"not the wheel of .*==2.6.0: expected SHA-256 ecb8"):
        install_weights(other)
    with pytest.raises(CheckpointError, match="no such file; expected the wheel of facenet"):
        install_weights(tmp_path / "none.whl")
    assert not cache.exists()


def test_pip_without_a_network(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(CheckpointError) as caught:
        install_weights()
    message = str(caught.value)
    assert "No matching distribution found for facenet-pytorch==2.6.0" in message
    assert "'dldl-fast weights mtcnn --wheel PATH'" in message
    assert "a folder that holds pnet.pt, rnet.pt, onet.pt" in message
    assert not cache.exists()


def test_the_command(cache, facenet_wheel, tmp_path):
    testing = pytest.importorskip("typer.testing", reason="the extra cli is not installed")
    from dldl_fast.cli.app import app

    def run(*arguments: object) -> tuple[int, str]:
        result = testing.CliRunner().invoke(app, ["weights", *map(str, arguments)])
        return result.exit_code, re.sub(r"\s+", "", result.output)

    code, output = run("mtcnn", "--wheel", facenet_wheel)
    assert (code, output) == (0, f"Weightsofmtcnnin{cache}".replace(" ", ""))
    assert all((cache / name).is_file() for name in FILES)
    (tmp_path / "other.whl").write_bytes(b"no wheel")
    code, output = run("mtcnn", "--wheel", tmp_path / "other.whl")
    assert code == 1
    assert "other.whl:notthewheeloffacenet-pytorch==2.6.0" in output
    assert run("other")[0] == 2
