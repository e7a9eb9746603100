"""The command `dldl-fast export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from dldl_fast.cli.common import OptionError, reported


def export(
    out: Annotated[
        Path,
        typer.Argument(help="File to write, .onnx or .pt2 (torch.export).", dir_okay=False),
    ],
    model: Annotated[
        Path,
        typer.Option(help="Folder with model.safetensors and config.json, as train writes it."),
    ],
) -> None:
    """Write a model for other programs: as ONNX, or as a program of torch.export.

    Both take aligned, normalised images of the size that is printed, any number at once, and give
    logits; batch normalisation is folded into the convolutions.
    """
    import torch

    from dldl_fast.data.base import DataError
    from dldl_fast.files import replace_file
    from dldl_fast.inference import export_onnx, export_program
    from dldl_fast.models import CheckpointError, LabelDistributionNet
    from dldl_fast.prediction.settings import image_settings

    with reported(OptionError, DataError, CheckpointError):
        if out.suffix not in (".onnx", ".pt2"):
            raise OptionError(f"{out}: expected a name that ends in .onnx or .pt2")
        network = LabelDistributionNet.from_pretrained(model)
        size, mean, std = image_settings(network.config)
        example = torch.zeros(1, 3, size, size)
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".onnx":
            export_onnx(network, out, example)
        else:
            program = export_program(network, example)
            replace_file(out, lambda part: torch.export.save(program, part))
        numbers = [", ".join(f"{number:g}" for number in triple) for triple in (mean, std)]
        Console().print(
            f"{escape(str(out))}: float32 images [N, 3, {size}, {size}], RGB in [0, 1], "
            f"minus ({numbers[0]}), divided by ({numbers[1]}), to logits "
            f"[N, {len(network.labels)}]; the value is the expectation of their softmax over the "
            f"labels {network.labels[0]:g} to {network.labels[-1]:g}",
            highlight=False,
        )
