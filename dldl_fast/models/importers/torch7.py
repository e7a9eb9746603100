"""Networks of the authors' released code, saved by Torch7."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dldl_fast.models.checkpoint import CheckpointError, weights_of
from dldl_fast.models.feature_net import FeatureNet
from dldl_fast.models.importers.layers import convolutions_and_norms, load_renamed
from dldl_fast.models.importers.torch7_file import Torch7Object, read_torch7
from dldl_fast.models.sigmoid_age_net import SigmoidThinAgeNet
from dldl_fast.models.thin_age_net import ThinVGG16Features

# Kinds of module by their class, without the package: nn and cudnn have the same ones.
_KINDS = {
    "SpatialConvolution": "convolution",
    "SpatialConvolutionMM": "convolution",
    "SpatialBatchNormalization": "batch normalisation",
    "ReLU": "ReLU",
    "SpatialMaxPooling": "max-pooling",
    "SpatialAveragePooling": "average pooling",
    "View": "view",
    "Reshape": "view",
    "Linear": "linear layer",
    "SoftMax": "softmax",
    "LogSoftMax": "softmax",
    "ConcatTable": "distribution and expectation",
}

# What the modules of a kind must have in common with the layers here.
_SETTINGS: dict[str, dict[str, float]] = {
    "convolution": {"kW": 3, "kH": 3, "dW": 1, "dH": 1, "padW": 1, "padH": 1},
    "batch normalisation": {"eps": 1e-5},
    "max-pooling": {"kW": 2, "kH": 2, "dW": 2, "dH": 2},
    "average pooling": {"kW": 7, "kH": 7},
}
_TENSORS = {
    "convolution": ("weight",),
    "batch normalisation": ("weight", "bias", "running_mean", "running_var"),
    "linear layer": ("weight", "bias"),
}


def load_torch7(net: FeatureNet, path: Path | str) -> None:
    """Load a network of the authors' released code from a binary ``.t7`` file.

    Its modules must be those of ``hp_scratch``: convolutions, batch normalisations and poolings
    of nn or cudnn in nn.Sequential, a linear layer, and possibly SoftMax or LogSoftMax with what
    computes the expectation from it. Biases of convolutions, which some versions of cudnn force,
    go into the running means. No code in the file is run.

    Args:
        net: a network of the ThinAgeNet family of the same size and number of labels; its label
            grid stays. Or a `FaceIdentityNet` around one, for a network that knows 54,073 persons.
        path: the file.

    Raises:
        CheckpointError: naming file and byte where the file is damaged; or listing every module
            that is another one than expected, or every tensor that is missing or of a wrong shape.
        ValueError: if `net` is another kind of network.
        OSError: if the file cannot be read.

    Source:
        ``models/hp_scratch.lua``, ``dldlnet-msceleb1m.lua`` and ``mtdldlnet-msceleb1m.lua`` of
        gaobb/DLDL-v2.

    Example:
        >>> from dldl_fast.models import FaceIdentityNet, ThinAgeNet
        >>> net = ThinAgeNet()
        >>> faces = FaceIdentityNet(net, num_identities=54_073)
        >>> load_torch7(faces, "ThinMSCeleb1mNet-60.t7")  # doctest: +SKIP
    """
    layers = convolutions_and_norms(net)
    if isinstance(net, SigmoidThinAgeNet):
        raise ValueError(
            f"net must have softmax, as the authors' networks have, got {type(net).__name__}"
        )
    assert isinstance(net.features, ThinVGG16Features)  # for the type checker
    modules = _flatten(read_torch7(path), path)
    _require_modules(modules, net.features.depths, path)

    own = weights_of(net)
    ours = iter([name for pair in layers for name in pair] + ["head"])
    names: dict[str, str] = {}
    found: dict[str, Tensor] = {}
    bias: Any = None
    for number, module in enumerate(modules, start=1):
        kind = _kind(module)
        if kind not in _TENSORS:
            continue
        prefix, layer = f"{number} {module.class_name}", next(ours)
        for key in _TENSORS[kind]:
            names[f"{prefix} {key}"] = f"{layer}.{key}"
            if isinstance(module.get(key), Tensor):
                found[f"{prefix} {key}"] = module[key]
        if kind == "convolution":
            _as_images(found, f"{prefix} weight", own[f"{layer}.weight"])
            bias = module.get("bias")
        elif kind == "batch normalisation":
            names[f"{prefix} num_batches_tracked"] = f"{layer}.num_batches_tracked"
            if isinstance(bias, Tensor):
                _fold(bias, found, f"{prefix} running_mean")
    load_renamed(net, found, names, path)


def _kind(module: Torch7Object) -> str:
    """What a module computes, or "" if it is none of those that are known."""
    package, _, name = module.class_name.partition(".")
    return _KINDS.get(name, "") if package in ("nn", "cudnn") else ""


def _as_images(found: dict[str, Tensor], name: str, like: Tensor) -> None:
    """Give kernels that SpatialConvolutionMM keeps as rows of a matrix their four dimensions."""
    kernels = found.get(name)
    if kernels is not None and kernels.dim() == 2 and kernels.numel() == like.numel():
        found[name] = kernels.reshape(like.shape)


def _fold(bias: Tensor, found: dict[str, Tensor], name: str) -> None:
    """Move the bias of a convolution into the running mean that is subtracted after it."""
    mean = found.get(name)
    if mean is None or mean.shape != bias.shape:
        found[f"{name.rpartition(' ')[0]} bias of its convolution"] = bias  # listed as unexpected
    else:
        found[name] = mean - bias


def _flatten(network: Any, path: Path | str) -> list[Torch7Object]:
    """The modules of a network in their order, without the nn.Sequential around them."""
    modules: list[Torch7Object] = []
    remaining: list[Any] = [network]
    opened: list[Torch7Object] = []
    while remaining:
        module = remaining.pop()
        if not isinstance(module, Torch7Object):
            raise CheckpointError(f"{path}: expected a network, got {type(module).__name__}")
        if module.class_name != "nn.Sequential":
            modules.append(module)
            continue
        if any(module is other for other in opened):
            raise CheckpointError(f"{path}: the same nn.Sequential twice, or within itself")
        opened.append(module)
        remaining += reversed(_children(module, path))
    return modules


def _children(container: Torch7Object, path: Path | str) -> list[Any]:
    children = container.get("modules")
    if not isinstance(children, dict) or set(children) != set(range(1, len(children) + 1)):
        raise CheckpointError(f"{path}: {container.class_name} without a list of modules")
    return [children[i] for i in range(1, len(children) + 1)]


def _require_modules(modules: list[Torch7Object], depths: Sequence[int], path: Path | str) -> None:
    """Compare the modules with those of the released code.

    Raises:
        CheckpointError: listing everything that differs.
    """
    kinds: list[str] = []
    for depth in depths:
        kinds += ["convolution", "batch normalisation", "ReLU"] * depth + ["max-pooling"]
    kinds += ["average pooling", "view", "linear layer", "softmax", "distribution and expectation"]
    required = len(kinds) - 2
    problems = [f"{i + 1} nothing, expected {kinds[i]}" for i in range(len(modules), required)]
    for i, module in enumerate(modules):
        kind = kinds[i] if i < len(kinds) else "the end"
        where = f"{i + 1} {module.class_name}"
        if _kind(module) != kind:
            problems.append(f"{where}, expected {kind}")
        for key, value in _SETTINGS.get(kind, {}).items():
            if _kind(module) == kind and module.get(key) != value:
                problems.append(f"{where} with {key} = {module.get(key)}, expected {value}")
        if kind == _kind(module) == "distribution and expectation":
            branches = [getattr(child, "class_name", "?") for child in _children(module, path)]
            if branches != ["nn.Identity", "nn.ExpOut"]:
                problems.append(f"{where} of {branches}, expected nn.Identity and nn.ExpOut")
    if problems:
        raise CheckpointError(f"{path}: not this network; modules: {'; '.join(problems)}")
