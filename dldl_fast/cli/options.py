"""Options that several commands have, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LabelledData = Annotated[
    str,
    typer.Argument(
        help="A CSV file with path,label[,sigma][,split][,...], a folder with labels.csv, a "
        "folder of folders named by their label, or NAME:FOLDER for a public data set.",
        metavar="CSV|FOLDER|NAME:FOLDER",
    ),
]
Aligned = Annotated[
    Path | None,
    typer.Option(
        help="Folder that dldl-fast align wrote: its crops stand for the pictures of the data.",
        file_okay=False,
    ),
]
Align = Annotated[
    bool, typer.Option("--align/--no-align", help="Find faces; not for photos aligned already.")
]
Flip = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip",
        help="Average over the mirror image. Default: unless the label may have a side.",
        show_default=False,
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Faces that the model sees at once.")]
Workers = Annotated[int, typer.Option(min=0, help="Threads that read photos and find faces.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Weights = Annotated[
    Path | None,
    typer.Option(help="Folder with the weights of the face detector.", file_okay=False),
]
AllowOutside = Annotated[
    bool,
    typer.Option("--allow-outside", help="Let a table name photos outside of its folder."),
]
