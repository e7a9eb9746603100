"""Models for other programs: torch.export and ONNX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dldl_fast.data.base import MissingExtraError
from dldl_fast.files import replace_file
from dldl_fast.inference.arguments import check_example, label_grid_of
from dldl_fast.inference.plain import plain_copy, traced
from dldl_fast.labels import as_label_grid

ONNX_OPSET = 18
"""Version of the ONNX operator set that `export_onnx` writes."""

LABELS_KEY = "dldl_fast.labels"
"""Key of the label grid, a JSON list of K numbers, in the metadata of an ONNX file."""


def export_program(model: nn.Module, example_images: Tensor) -> torch.export.ExportedProgram:
    """Export a model for inference by `torch.export`.

    The program takes any number of images of the example's size, needs nothing of this package,
    and has its batch normalisation folded into the convolutions. ``torch.export.save`` writes it,
    ``torch.export.load`` reads it; ``program.module()(images)`` runs it.

    Args:
        model: maps images [N, C, H, W] to logits [N, K]; on the CPU. It stays as it is; batch
            normalisation uses its running statistics, whatever the mode of the model.
        example_images: [N, C, H, W]; only their size matters.

    Raises:
        ValueError, TypeError: if an argument is not as described, or the model uses an operation
            of this package that only this package can run.

    Example:
        >>> from dldl_fast.models import ThinAgeNet
        >>> program = export_program(ThinAgeNet(rate=0.125), torch.zeros(1, 3, 64, 64))
        >>> program.module()(torch.zeros(5, 3, 64, 64)).shape
        torch.Size([5, 101])
    """
    check_example(model, example_images)
    return _export(plain_copy(model, example_images), example_images)


def export_onnx(
    model: nn.Module,
    path: Path | str,
    example_images: Tensor,
    *,
    labels: Tensor | Sequence[float] | None = None,
) -> None:
    """Write a model for inference as ONNX, operator set 18, in one file.

    Input ``images`` [batch, C, H, W], output ``logits`` [batch, K], both float32; the batch may be
    of any size. The predicted value is the expectation of the softmax of the logits over the
    label grid (Eq. 10); the grid is in the metadata as ``dldl_fast.labels``, a JSON list. Batch
    normalisation is folded into the convolutions.

    Args:
        model: as for `export_program`.
        path: the file to write, replaced if it is there.
        example_images: [N, C, H, W]; only their size matters.
        labels: label grid, K increasing numbers; default ``model.labels``, if the model has them.

    Raises:
        MissingExtraError: if onnx or onnxscript is not installed.
        ValueError, TypeError: as `export_program`, or if the labels are no grid of K labels.

    Example:
        >>> from dldl_fast.models import ThinAgeNet
        >>> import onnxruntime, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/age.onnx"
        ...     export_onnx(ThinAgeNet(rate=0.125), file, torch.zeros(1, 3, 64, 64))
        ...     session = onnxruntime.InferenceSession(file)
        >>> logits, = session.run(None, {"images": torch.zeros(5, 3, 64, 64).numpy()})
        >>> logits.shape
        (5, 101)
    """
    check_example(model, example_images)
    plain = plain_copy(model, example_images)
    grid = label_grid_of(model) if labels is None else labels
    metadata = {}
    if grid is not None:
        grid = as_label_grid(grid)
        with torch.no_grad():
            num_labels = plain(example_images[:1].float()).shape[-1]
        if len(grid) != num_labels:
            raise ValueError(
                f"labels must be the {num_labels} labels of the logits, got {len(grid)}"
            )
        metadata[LABELS_KEY] = json.dumps(grid.tolist())
    serialized = onnx_bytes(plain, example_images, metadata)
    replace_file(Path(path), lambda part: part.write_bytes(serialized))


def onnx_bytes(
    plain: nn.Module, example_images: Tensor, metadata: dict[str, str] | None = None
) -> bytes:
    """A model made by `plain_copy` as the contents of an ONNX file.

    Raises:
        MissingExtraError: if onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX needs the package {error.name!r}; run: pip install 'dldl_fast[onnx]'"
        ) from error
    program = torch.onnx.export(
        _export(plain, example_images),
        dynamo=True,
        opset_version=ONNX_OPSET,
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    proto: Any = program.model_proto  # type: ignore[union-attr]
    for key, value in (metadata or {}).items():
        proto.metadata_props.add(key=key, value=value)
    serialized: bytes = proto.SerializeToString()
    return serialized


def _export(plain: nn.Module, example_images: Tensor) -> torch.export.ExportedProgram:
    program = traced(plain, example_images)
    foreign = {
        str(node.target)
        for node in program.graph.nodes
        if node.op == "call_function" and str(node.target).startswith("dldl_fast.")
    }
    if foreign:
        raise ValueError(
            f"model must not use {', '.join(sorted(foreign))} to be exported: other programs do "
            "not have it; use dldl_fast.models.HybridPool2d, which is exported in plain torch, "
            "and leave expectation and loss out of forward"
        )
    return program
