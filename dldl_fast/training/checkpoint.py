"""Checkpoints: the weights as safetensors, everything needed to use them as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dldl_fast.data.base import DataError, MissingExtraError
from dldl_fast.files import replace_file, write_json
from dldl_fast.labels import as_label_grid, label_grid
from dldl_fast.models import ThinAgeNet

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"


class Checkpoint(NamedTuple):
    """A model that was loaded, in evaluation mode.

    Attributes:
        model: the network, on the CPU.
        labels: its label grid, float64 [K].
        config: the whole configuration that was stored with it.
    """

    model: ThinAgeNet
    labels: Tensor
    config: dict[str, Any]


def save_checkpoint(
    folder: Path, model: ThinAgeNet, labels: Tensor, config: dict[str, Any]
) -> None:
    """Write ``model.safetensors`` and ``config.json``.

    Args:
        folder: where to; must exist.
        model: the network, on any device.
        labels: its label grid, [K].
        config: more JSON values to keep. The architecture and the grid are added to them as
            ``model`` and ``label_grid``.

    Raises:
        MissingExtraError: if safetensors is not installed.
    """
    serialize = _safetensors("save")
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    architecture = {
        "name": "ThinAgeNet",
        "rate": model.rate,
        "num_labels": model.head.out_features,
    }
    replace_file(folder / WEIGHTS_NAME, lambda path: path.write_bytes(serialize(weights)))
    entries = {"model": architecture, "label_grid": _grid_to_json(labels), **config}
    write_json(folder / CONFIG_NAME, entries)


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Load what `save_checkpoint` wrote.

    Args:
        folder: the folder that holds ``model.safetensors`` and ``config.json``.

    Raises:
        DataError: naming the file that is missing, damaged, or does not fit the other.
        MissingExtraError: if safetensors is not installed.
    """
    load_file = _safetensors("load_file")
    path = Path(folder) / CONFIG_NAME
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        labels = _grid_from_json(config["label_grid"])
        # The initial weights are overwritten; the caller's random numbers stay as they are.
        with torch.random.fork_rng(devices=[]):
            model = ThinAgeNet(len(labels), rate=float(config["model"]["rate"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not the configuration of a checkpoint ({type(error).__name__}: {error})"
        ) from error
    path = Path(folder) / WEIGHTS_NAME
    try:
        model.load_state_dict(load_file(path))
    # safetensors raises an exception of its own that derives from Exception alone.
    except Exception as error:
        raise DataError(f"{path}: not the weights of this model ({error})") from error
    return Checkpoint(model.eval(), labels, config)


def _grid_to_json(labels: Tensor) -> dict[str, Any]:
    values = [float(value) for value in labels]
    step = (values[-1] - values[0]) / (len(values) - 1)
    if label_grid(values[0], values[-1], step).tolist() == values:
        return {"min": values[0], "max": values[-1], "step": step}
    return {"values": values}


def _grid_from_json(grid: dict[str, Any]) -> Tensor:
    if "values" in grid:
        return as_label_grid(grid["values"])
    return label_grid(float(grid["min"]), float(grid["max"]), float(grid["step"]))


def _safetensors(name: str) -> Callable[..., Any]:
    try:
        from safetensors import torch as safetensors_torch
    except ImportError as error:
        raise MissingExtraError(
            "checkpoints need the package 'safetensors'; run: pip install 'dldl_fast[faces]'"
        ) from error
    function: Callable[..., Any] = getattr(safetensors_torch, name)
    return function
