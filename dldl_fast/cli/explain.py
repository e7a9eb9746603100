"""The command `dldl-fast explain`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from dldl_fast.cli.common import OptionError, file_name, progress_bar, reported
from dldl_fast.cli.estimator import load_estimator


def explain(
    data: Annotated[
        str,
        typer.Argument(
            help="A CSV file with path,label[,sigma][,split][,...], a folder with labels.csv, a "
            "folder of folders named by their label, or NAME:FOLDER for a public data set.",
            metavar="CSV|FOLDER|NAME:FOLDER",
        ),
    ],
    model: Annotated[Path, typer.Option(help="Folder with model.safetensors and config.json.")],
    split: Annotated[
        Literal["train", "validation", "test", "all"] | None,
        typer.Option(
            help="Rows to look at. Default: test where the data say so, else all.",
            show_default=False,
        ),
    ] = None,
    aligned: Annotated[
        Path | None,
        typer.Option(
            help="Folder that dldl-fast align wrote: its crops stand for the pictures of the data.",
            file_okay=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results. Default: runs/explain- and the name of the data.",
            file_okay=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=20, help="Faces in a row of a picture.")] = 8,
    occlusion: Annotated[
        bool,
        typer.Option(
            "--occlusion/--no-occlusion",
            help="Hide 49 squares and 7 stripes in turn: 57 forward passes of every face, and "
            "twice as many with --flip.",
        ),
    ] = True,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror/--no-mirror",
            help="Hide the same part of the face in the mirror image; --no-mirror: the same "
            "coordinates, as the released code does.",
        ),
    ] = True,
    align: Annotated[
        bool,
        typer.Option("--align/--no-align", help="Find faces; not for photos aligned already."),
    ] = True,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Average over the mirror image. Default: unless the label may have a side.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces that the model sees at once.")] = 32,
    workers: Annotated[
        int, typer.Option(min=0, help="Threads that read photos and find faces.")
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder with the weights of the face detector.", file_okay=False),
    ] = None,
    allow_outside: Annotated[
        bool,
        typer.Option("--allow-outside", help="Let a table name photos outside of its folder."),
    ] = False,
) -> None:
    """Draw what a model looks at, and what its distributions are worth.

    Score maps, the growth of the error with parts of the face hidden, reliability, risk against
    coverage, error by true value, and the best and worst predictions.
    """
    from dldl_fast.data.base import DataError
    from dldl_fast.data.sets import open_source
    from dldl_fast.evaluation import gather, model_predictions, rows_of_split
    from dldl_fast.explain.job import Explanation, write_explanation
    from dldl_fast.faces.manifest import aligned_table
    from dldl_fast.models import CheckpointError

    with reported(OptionError, DataError, CheckpointError):
        estimator = load_estimator(
            model,
            weights=weights,
            align=align and aligned is None,
            flip=flip,
            device=device,
        )
        table = open_source(data, spec=estimator.spec, allow_outside=allow_outside)
        if aligned is not None:
            table = aligned_table(table, aligned)
        table, words = rows_of_split(table, split)
        console = Console()
        with progress_bar(console) as progress:
            task = progress.add_task("predicting", total=len(table), loss="")
            found = model_predictions(
                estimator,
                table,
                batch_size=batch_size,
                workers=workers,
                allow_outside=allow_outside,
            )
            scores = gather(table, progress.track(found, task_id=task))
            explanation = Explanation(
                estimator, table, scores, rows=words, workers=workers, allow_outside=allow_outside
            )
            if occlusion:
                task = progress.add_task("hiding parts", total=explanation.count, loss="")
                explanation.hide_parts(
                    batch_size=batch_size,
                    mirror=mirror,
                    advance=lambda faces: progress.advance(task, faces),
                )
        folder = out if out is not None else Path("runs") / file_name(f"explain-{table.name}")
        written = write_explanation(
            explanation, folder, count=count, command=shlex.join(["dldl-fast", *sys.argv[1:]])
        )
        console.print(
            f"{', '.join(written)} in {escape(str(folder))} ({explanation.count} faces)",
            highlight=False,
        )
