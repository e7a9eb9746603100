"""The command `dldl-fast predict`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from dldl_fast.cli import options
from dldl_fast.cli.common import OptionError, progress_bar, reported
from dldl_fast.cli.estimator import load_estimator

if TYPE_CHECKING:
    from dldl_fast.prediction.job import JobSummary


def predict(
    source: Annotated[
        Path,
        typer.Argument(
            help="A photo, a folder (with all folders below), or a CSV file with a column path.",
            metavar="PHOTO|FOLDER|CSV",
        ),
    ],
    model: Annotated[
        Path,
        typer.Option(help="Folder with model.safetensors and config.json, as train writes it."),
    ],
    out: Annotated[
        Path, typer.Option(help="File for the rows: .csv or .jsonl.", dir_okay=False)
    ] = Path("predictions.csv"),
    distribution: Annotated[
        bool, typer.Option("--distribution", help="Write the whole distributions as well.")
    ] = False,
    annotate: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures with box, value and distribution drawn in.", file_okay=False
        ),
    ] = None,
    no_face: Annotated[
        Literal["whole", "skip", "error"],
        typer.Option(help="Where no face is found: take the whole photo, skip it, or an error."),
    ] = "whole",
    several: Annotated[
        Literal["largest", "all"], typer.Option(help="Which of several faces.")
    ] = "largest",
    align: options.Align = True,
    flip: options.Flip = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 1,
    device: options.Device = "auto",
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Predict on the CPUs of a Ray cluster (extra ray), which see the photos under "
            "the same path: the one at RAY_ADDRESS, else one that runs on this machine, else a "
            "new one. The rows are those without --ray. --workers is not used.",
        ),
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="With --ray: auto or HOST:PORT, a cluster that this machine belongs to; local, a "
            "new one.",
            metavar="ADDRESS",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the weights of the face detector. Default: what dldl-fast weights "
            "mtcnn has fetched.",
            file_okay=False,
        ),
    ] = None,
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside", help="Let a table or links name photos outside of their folder."
        ),
    ] = False,
) -> None:
    """Predict value, standard deviation and quantiles for the faces in photos.

    Writes a row per face as soon as it is there; a photo that cannot be used gets a row that says
    why. After Ctrl-C (exit status 130) the same command goes on where it was. Exit status 1 if no
    photo could be used. What such predictions must not be used for: docs/ethics.md.
    """
    from dldl_fast.data.base import DataError
    from dldl_fast.data.photos import photos
    from dldl_fast.models import CheckpointError
    from dldl_fast.prediction.job import run_job
    from dldl_fast.prediction.table import check_format

    with reported(OptionError, DataError, CheckpointError):
        try:
            check_format(out)
        except ValueError as error:
            raise OptionError(f"--out {error}") from error
        if ray_address is not None and not ray:
            raise OptionError("--ray-address needs --ray")
        if ray:
            from dldl_fast.prediction.ray_job import ray_cluster

            if device not in ("auto", "cpu"):
                raise OptionError(f"--ray predicts on CPUs, got --device {device}; leave it out")
            device = "cpu"
        total = sum(1 for _ in photos(source, leave_out=annotate))
        if total == 0:
            raise DataError(f"{source}: holds no photos")
        estimator = load_estimator(
            model,
            weights=weights,
            align=align,
            no_face=no_face,
            several=several,
            flip=flip,
            device=device,
        )
        console = Console()
        with ExitStack() as stack:
            predict_many = None
            if ray:
                predict_many = stack.enter_context(
                    ray_cluster(estimator, batch_size=batch_size, address=ray_address)
                )
            progress = stack.enter_context(progress_bar(console))
            task = progress.add_task("predicting", total=total, loss="")
            summary = run_job(
                estimator,
                source,
                out,
                settings={
                    "source": str(source.resolve()),
                    "model": estimator.digest(),
                    "distribution": distribution,
                    "align": align,
                    "no_face": no_face,
                    "several": several,
                    "flip": flip,
                    "allow_outside": allow_outside,
                },
                distribution=distribution,
                annotate=annotate,
                batch_size=batch_size,
                workers=workers,
                predict_many=predict_many,
                allow_outside=allow_outside,
                progress=lambda: progress.advance(task),
            )
        _print_summary(console, summary, out, estimator.spec.unit)
        if summary.statuses["error"] == summary.statuses.total() > 0:
            raise typer.Exit(1)


def _print_summary(console: Console, summary: JobSummary, out: Path, unit: str) -> None:
    counts = {
        "with a face": summary.statuses["aligned"],
        "taken whole": summary.statuses["whole"],
        "skipped": summary.statuses["skipped"],
        "not usable": summary.statuses["error"],
        "done before": summary.done_before,
    }
    listed = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    total = summary.statuses.total() + summary.done_before
    console.print(f"{total} photos: {listed}", highlight=False)
    for reason in summary.reasons:
        console.print(f"  {escape(reason)}", highlight=False)
    more = summary.statuses["skipped"] + summary.statuses["error"] - len(summary.reasons)
    if more > 0:
        console.print(f"  and {more} more, see the column reason", highlight=False)
    console.print(
        f"{summary.faces} predictions in {escape(unit)}: {escape(str(out))}", highlight=False
    )
