"""The ways of running a model: torch's own kernels, compiled, onnxruntime, OpenVINO."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dldl_fast.data.base import MissingExtraError
from dldl_fast.inference.export import onnx_bytes

Run = Callable[[Tensor], Tensor]
"""Images [N, C, H, W] to logits [N, K]; called without gradients."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

PRECISIONS = tuple(_DTYPES)


class Source:
    """What a path is built from.

    Args:
        plain: what `plain_copy` made; paths copy it before they change it.
        example_images: [N, C, H, W].
    """

    def __init__(self, plain: nn.Module, example_images: Tensor) -> None:
        self.plain, self.example_images = plain, example_images

    def converted(self, precision: str) -> nn.Module:
        """A copy in a precision, channels last."""
        model = copy.deepcopy(self.plain).to(_DTYPES[precision])
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @cached_property
    def onnx(self) -> bytes:
        """The model as ONNX, for all paths that read it."""
        return onnx_bytes(self.plain, self.example_images)


class InferencePath(NamedTuple):
    """One way of running a model."""

    build: Callable[[Source, str], Run]
    """From a source and a precision."""
    packages: tuple[str, ...] = ()
    """What it needs beside torch."""
    extra: str = ""
    """The extra that brings them."""
    precisions: tuple[str, ...] = PRECISIONS

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]

    def versions(self) -> str:
        """Versions of the packages, by which a remembered choice is recognised."""
        return " ".join(f"{package} {_version(package)}" for package in self.packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def require(name: str, precision: str) -> None:
    """Check that the path and the precision that were asked for can be taken.

    Raises:
        ValueError: if there is none of that name, or the path does not compute in that precision.
        MissingExtraError: if the path needs packages that are not installed.
    """
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(
            f"precision must be 'auto' or one of {', '.join(PRECISIONS)}, got {precision!r}"
        )
    if name == "auto":
        return
    if name not in PATHS:
        raise ValueError(f"path must be 'auto' or one of {', '.join(PATHS)}, got {name!r}")
    path = PATHS[name]
    if precision not in ("auto", *path.precisions):
        raise ValueError(
            f"path {name!r} computes in {' and '.join(path.precisions)}, "
            f"got precision={precision!r}; take another path or precision"
        )
    if path.missing():
        raise MissingExtraError(
            f"path {name!r} needs {', '.join(path.missing())}, not installed; "
            f"run: pip install 'dldl_fast[{path.extra}]'"
        )


def _channels_last(images: Tensor, precision: str) -> Tensor:
    return images.to(_DTYPES[precision]).contiguous(memory_format=torch.channels_last)


def _eager(source: Source, precision: str) -> Run:
    model = source.converted(precision)
    return lambda images: model(_channels_last(images, precision))


def _compile(source: Source, precision: str) -> Run:
    model = source.converted(precision)
    # Freezing lets inductor reorder the weights once. fullgraph: an error, not slow pieces.
    compiled = torch.compile(model, fullgraph=True, options={"freezing": True})
    first = _channels_last(source.example_images, precision)
    # Otherwise every other number of images would be compiled when it comes.
    torch._dynamo.maybe_mark_dynamic(first, 0)
    compiled(first)
    return lambda images: compiled(_channels_last(images, precision))


def _onnxruntime(source: Source, precision: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(source.onnx, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": _array(images)})[0])


def _openvino(source: Source, precision: str) -> Run:
    import openvino

    core = openvino.Core()
    # From ONNX: openvino.convert_model, the other way, reports its use over the network.
    network = core.read_model(source.onnx)
    compiled = core.compile_model(
        network,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        },
    )
    # It takes float32 without a word where the processor lacks bfloat16.
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if taken != {"float32": "f32", "bfloat16": "bf16"}[precision]:
        raise RuntimeError(f"OpenVINO computes in {taken} on this processor, not in {precision}")
    requests = threading.local()  # a request serves one call at a time

    def run(images: Tensor) -> Tensor:
        request: Any = getattr(requests, "request", None)
        if request is None:
            request = requests.request = compiled.create_infer_request()
        return torch.from_numpy(request.infer([_array(images)])[0])

    return run


def _array(images: Tensor) -> Any:
    return images.float().contiguous().numpy()


PATHS = {
    "eager": InferencePath(_eager),
    "compile": InferencePath(_compile),
    "onnxruntime": InferencePath(
        _onnxruntime, ("onnx", "onnxscript", "onnxruntime"), "onnx", ("float32",)
    ),
    "openvino": InferencePath(_openvino, ("onnx", "onnxscript", "openvino"), "openvino"),
}
"""Every path by the name that ``path=`` takes."""
