"""State dictionaries as those of PuNeal/DLDL-v2-PyTorch."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dldl_fast.models.checkpoint import CheckpointError, read_weights
from dldl_fast.models.importers.layers import convolutions_and_norms, load_renamed
from dldl_fast.models.sigmoid_age_net import SigmoidThinAgeNet

_NORM_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def load_puneal(net: SigmoidThinAgeNet, path: Path | str) -> None:
    """Load weights named ``conv1.0.weight``, ``conv1.1.running_mean``, ..., ``fc.0.bias``.

    The head may also be ``fc1.0``, and all names may start with ``module.``. Those networks were
    trained on images that are normalised with ImageNet's mean (.485, .456, .406) and standard
    deviation (.229, .224, .225).

    Args:
        net: `SigmoidThinAgeNet` for their ThinAge, `SigmoidTinyAgeNet` for their TinyAge; its
            label grid stays.
        path: a state dictionary that ``torch.save`` wrote, or a ``.safetensors`` file. A whole
            pickled model is refused, since loading one runs what code it likes.

    Raises:
        CheckpointError: if the file holds something else, or listing everything that is missing,
            unexpected or of a wrong shape, by the names in the file.
        ValueError: if `net` is another kind of network, whose predictions would be others.
        MissingExtraError: for ``.safetensors``, if safetensors is not installed.

    Example:
        >>> import tempfile
        >>> from dldl_fast.models import SigmoidTinyAgeNet
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"conv1.0.weight": torch.zeros(2)}, f"{folder}/odd.pt")
        ...     try:
        ...         load_puneal(SigmoidTinyAgeNet(), f"{folder}/odd.pt")
        ...     except CheckpointError as error:
        ...         print(str(error)[-56:])
        wrong shape: conv1.0.weight [2] (expected [16, 3, 3, 3])
    """
    if not isinstance(net, SigmoidThinAgeNet):
        raise ValueError(
            "net must be a SigmoidThinAgeNet or SigmoidTinyAgeNet, since those weights were "
            f"trained with sigmoids in place of softmax; got {type(net).__name__}"
        )
    path = Path(path)
    found = read_weights(path) if path.suffix == ".safetensors" else _read_state_dict(path)
    if all(name.startswith("module.") for name in found):  # DataParallel's
        found = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    names = {}
    for number, (convolution, norm) in enumerate(convolutions_and_norms(net), start=1):
        names[f"conv{number}.0.weight"] = f"{convolution}.weight"
        for key in _NORM_KEYS:
            names[f"conv{number}.1.{key}"] = f"{norm}.{key}"
    head = "fc1.0" if "fc1.0.weight" in found else "fc.0"
    for key in ("weight", "bias"):
        names[f"{head}.{key}"] = f"head.{key}"
    load_renamed(net, found, names, path)


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        _refuse_compression(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a dictionary of tensors alone; damaged, or perhaps a whole model. Load "
            "that where it came from, if you trust it, and torch.save its state_dict()"
        ) from error
    # torch raises whatever its parsers do.
    except Exception as error:
        raise CheckpointError(f"{path}: no state dictionary that can be read ({error})") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        kind = type(state).__name__
        raise CheckpointError(f"{path}: expected a dictionary of tensors alone, got {kind}")
    return state


def _refuse_compression(path: Path) -> None:
    """Raise ValueError where unpacking would take more memory than the file is long."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"compressed: {unpacked:,} bytes if unpacked; torch.save writes none")
