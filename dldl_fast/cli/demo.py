"""The command `dldl-fast demo`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dldl_fast.cli import options
from dldl_fast.cli.common import OptionError, reported
from dldl_fast.cli.estimator import load_estimator


def demo(
    model: Annotated[
        Path,
        typer.Option(help="Folder with model.safetensors and config.json, as train writes it."),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the weights of the face detector. Default: what dldl-fast weights "
            "mtcnn has fetched.",
            file_okay=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the page; 0 takes any free one.")
    ] = 7860,
    device: options.Device = "auto",
) -> None:
    """Show a page in the browser: a photo in; faces with value, distribution and score map out.

    The page is there for this machine alone, sends nothing anywhere and keeps no photo. Ctrl-C
    ends it. What such predictions must not be used for: docs/ethics.md.
    """
    from dldl_fast.data.base import DataError
    from dldl_fast.demo.page import serving
    from dldl_fast.models import CheckpointError

    with reported(OptionError, DataError, CheckpointError):
        estimator = load_estimator(
            model, weights=weights, device=device, several="all", no_face="skip"
        )
        try:
            with serving(estimator, model.resolve().name, port) as address:
                Console().print(f"Demo page: {address} (Ctrl-C ends it)", highlight=False)
                threading.Event().wait()
        except KeyboardInterrupt:  # its ordinary end
            return
