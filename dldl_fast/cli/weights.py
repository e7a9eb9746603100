"""The command `dldl-fast weights`: fetches weights that the project does not ship."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from dldl_fast.cli.common import reported


def weights(
    name: Annotated[Literal["mtcnn"], typer.Argument(help="mtcnn: the networks that find faces.")],
    wheel: Annotated[
        Path | None,
        typer.Option(
            help="The wheel of facenet-pytorch 2.6.0, where there is no network.", dir_okay=False
        ),
    ] = None,
) -> None:
    """Put weights into the user's cache: those of MTCNN, from the wheel of facenet-pytorch.

    pip downloads the wheel (2 MB) and nothing else; its SHA-256 is checked, nothing of it is
    installed or run.
    """
    from dldl_fast.faces.mtcnn.weights import install_weights
    from dldl_fast.models.checkpoint import CheckpointError

    with reported(CheckpointError):
        folder = install_weights(wheel)
        Console().print(f"Weights of {name} in {escape(str(folder))}", highlight=False)
