"""The command `dldl-fast explain`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from dldl_fast.cli import options
from dldl_fast.cli.common import OptionError, file_name, progress_bar, reported
from dldl_fast.cli.estimator import load_estimator


def explain(
    data: options.LabelledData,
    model: Annotated[Path, typer.Option(help="Folder with model.safetensors and config.json.")],
    split: Annotated[
        Literal["train", "validation", "test", "all"] | None,
        typer.Option(
            help="Rows to look at. Default: test where the data say so, else all.",
            show_default=False,
        ),
    ] = None,
    aligned: options.Aligned = None,
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
    align: options.Align = True,
    flip: options.Flip = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 1,
    device: options.Device = "auto",
    weights: options.Weights = None,
    allow_outside: options.AllowOutside = False,
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
