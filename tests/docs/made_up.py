"""What pages take for granted, made small: a model that has learned nothing, a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch


def write_model(folder: str) -> None:
    """A checkpoint with the untrained weights of a small network."""
    from dldl_fast.models import TinyAgeNet

    net = TinyAgeNet(rate=0.05)
    net.config = {
        "image": {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)},
        "data": {"name": "made up", "unit": "years"},
        "loss": {"sigma": 2.0},
    }
    net.save_pretrained(folder)


def write_photo(path: str) -> None:
    """Random colours."""
    from PIL import Image

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_detector() -> None:
    """The face detector with untrained weights, where `dldl-fast weights mtcnn` puts the real ones.

    They need a network, and are tested in tests/faces. These find no face, so that the whole photo
    is taken.
    """
    from dldl_fast.faces.mtcnn.networks import ONet, PNet, RNet
    from dldl_fast.faces.mtcnn.weights import FILES, weights_folder

    weights_folder().mkdir(parents=True)
    for network, name in zip((PNet(), RNet(), ONet()), FILES, strict=True):
        torch.save(network.state_dict(), weights_folder() / name)
