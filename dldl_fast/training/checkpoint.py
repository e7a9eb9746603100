"""The state of a training on disk, from which the same training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dldl_fast.data.base import DataError
from dldl_fast.files import replace_file

STATE_NAME = "training.pt"


def write_state(folder: Path, state: dict[str, Any], made_with: Mapping[str, object]) -> None:
    """Write a training's state, and what it was made with, into an existing folder."""
    content = {"state": state, "made_with": {key: str(value) for key, value in made_with.items()}}
    replace_file(folder / STATE_NAME, lambda path: torch.save(content, path))


def read_state(folder: Path, made_with: Mapping[str, object]) -> dict[str, Any]:
    """Read what `write_state` wrote; nothing is unpickled.

    Raises:
        DataError: if there is none, it is damaged, or it was made with something else; the message
            says what differs.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        raise DataError(f"{path}: no such file; start the training without --resume")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state, before = dict(content["state"]), dict(content["made_with"])
    # Damaged files make torch raise almost anything.
    except Exception as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: no state of a training ({first_line})") from error
    now = {key: str(value) for key, value in made_with.items()}
    differing = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differing:
        raise DataError(
            f"{path}: of another training: {'; '.join(differing)}; give the same options, or start "
            "anew without --resume"
        )
    return state
