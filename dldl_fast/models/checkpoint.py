"""Checkpoints of models: the weights as safetensors, all that is needed to use them as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dldl_fast.data.base import MissingExtraError
from dldl_fast.files import replace_file, write_json
from dldl_fast.labels import as_label_grid, label_grid

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"

# The largest grid written out label by label takes less than 3 MB.
_MAX_CONFIG_BYTES = 16 * 2**20

EXTRA_STATE = "_extra_state"
"""What torch calls extra state in a state dictionary."""


class CheckpointError(ValueError):
    """A checkpoint or another file of weights that cannot be used; the message names the file."""


def write_checkpoint(folder: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write ``model.safetensors`` and ``config.json`` into an existing folder.

    Raises:
        MissingExtraError: if safetensors is not installed.
    """
    serialize = _safetensors("save")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    replace_file(folder / WEIGHTS_NAME, lambda path: path.write_bytes(serialize(tensors)))
    write_json(folder / CONFIG_NAME, config)


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json``.

    Raises:
        CheckpointError: if it is missing, too large, or no JSON object.
    """
    path = folder / CONFIG_NAME
    try:
        size = path.stat().st_size
        if size > _MAX_CONFIG_BYTES:
            raise ValueError(f"{size:,} bytes, expected at most {_MAX_CONFIG_BYTES:,}")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"expected an object, got {type(config).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(bad_config(path, error)) from error
    return config


def bad_config(path: Path, error: Exception) -> str:
    """Text for a configuration that cannot be used."""
    return f"{path}: not the configuration of a checkpoint ({type(error).__name__}: {error})"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: if the file is missing or damaged.
        MissingExtraError: if safetensors is not installed.
    """
    load_file = _safetensors("load_file")
    try:
        weights: dict[str, Tensor] = load_file(path)
        # The file is mapped, aligned to 8 bytes only. In memory of torch's own alignment the
        # results are those of the model that was saved, to the last bit.
        return {name: tensor.clone() for name, tensor in weights.items()}
    # safetensors raises an exception of its own that derives from Exception alone.
    except Exception as error:
        raise CheckpointError(f"{path}: no weights that can be read ({error})") from error


def require_fit(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: object
) -> None:
    """Compare names, shapes and kinds of number of two sets of tensors.

    Raises:
        CheckpointError: naming the source and listing everything that differs.

    Example:
        >>> import torch
        >>> found, expected = nn.Linear(3, 2).state_dict(), nn.Conv1d(3, 2, 1).state_dict()
        >>> require_fit(found, {**expected, "scale": torch.ones(4)}, "old.pt")
        Traceback (most recent call last):
        ...
        dldl_fast.models.checkpoint.CheckpointError: old.pt: not the weights of this model; \
missing: scale [4]; wrong shape: weight [2, 3] (expected [2, 3, 1])
    """

    def listed(tensors: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[str]:
        return [f"{name} {list(t.shape)}" for name, t in tensors.items() if name not in others]

    both = [(name, found[name], expected[name]) for name in expected if name in found]
    problems = {
        "missing": listed(expected, found),
        "unexpected": listed(found, expected),
        "wrong shape": [
            f"{name} {list(got.shape)} (expected {list(want.shape)})"
            for name, got, want in both
            if got.shape != want.shape
        ],
        "wrong kind of number": [
            f"{name} {got.dtype} (expected {want.dtype})"
            for name, got, want in both
            if got.is_floating_point() != want.is_floating_point()
        ],
    }
    texts = [f"{title}: {', '.join(names)}" for title, names in problems.items() if names]
    if texts:
        raise CheckpointError(f"{source}: not the weights of this model; {'; '.join(texts)}")


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a module, without its extra state.

    Example:
        >>> list(weights_of(nn.Linear(3, 2)))
        ['weight', 'bias']
    """
    return {
        name: tensor
        for name, tensor in module.state_dict().items()
        if not name.endswith(EXTRA_STATE)
    }


def grid_to_json(labels: Tensor) -> dict[str, Any]:
    """A label grid as three numbers where they give exactly that grid, else label by label.

    Example:
        >>> grid_to_json(label_grid(1, 5, 0.1))
        {'min': 1.0, 'max': 5.0, 'step': 0.1}
        >>> grid_to_json(as_label_grid([1, 2, 4]))
        {'values': [1.0, 2.0, 4.0]}
    """
    values = [float(value) for value in labels]
    step = (values[-1] - values[0]) / (len(values) - 1)
    for candidate in (round(step, 12), step):
        if candidate > 0 and _is_uniform(values, candidate):
            return {"min": values[0], "max": values[-1], "step": candidate}
    return {"values": values}


def grid_from_json(grid: dict[str, Any]) -> Tensor:
    """The grid that `grid_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: if it is none.
    """
    if "values" in grid:
        return as_label_grid(grid["values"])
    return label_grid(float(grid["min"]), float(grid["max"]), float(grid["step"]))


def _is_uniform(values: list[float], step: float) -> bool:
    try:
        return label_grid(values[0], values[-1], step).tolist() == values
    except ValueError:  # rounded too far
        return False


def _safetensors(name: str) -> Callable[..., Any]:
    try:
        from safetensors import torch as safetensors_torch
    except ImportError as error:
        raise MissingExtraError(
            "checkpoints need the package 'safetensors'; run: pip install 'dldl_fast[hub]'"
        ) from error
    function: Callable[..., Any] = getattr(safetensors_torch, name)
    return function
