"""The command `dldl-fast reproduce`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from dldl_fast.cli import options
from dldl_fast.cli.common import OptionError, progress_bar, reported

Name = Literal[
    "table2", "table3", "table4", "table5", "table6", "table7",
    "fig1", "fig2", "fig6", "fig7", "fig8",
]  # fmt: skip


def reproduce(
    name: Annotated[Name, typer.Argument(help="A table or figure of the paper.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Data to measure on: orl-age, NAME:FOLDER of a public data set, such as "
            "morph:DATA/MORPH, a folder or CSV file of pictures; table5, table6, table7 and fig1 "
            "also take features (.mat). May be repeated. Default: orl-age.",
            metavar="orl-age|NAME:FOLDER|PATH",
        ),
    ] = None,
    budget: Annotated[
        Literal["quick", "paper"],
        typer.Option(
            help="quick: minutes on two cores; paper: the paper's training, which wants a GPU."
        ),
    ] = "quick",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of every training. Default: the budget's.")
    ] = None,
    init: Annotated[
        list[Path] | None,
        typer.Option(
            help="Network of dldl-fast pretrain that the trained one begins with (table5: whose "
            "features are the CNN features). May be repeated: one for each size of network.",
            metavar="FOLDER",
            file_okay=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="For fig6, fig7, fig8: a trained network. Default: train one.", file_okay=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results. Default: runs/reproduce- and the name.", file_okay=False
        ),
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Measure a table or figure of the paper anew, beside the paper's own numbers.

    Writes it as Markdown, CSV, PNG and JSON, with what differs from the paper: data, pre-training,
    budget. Numbers of the paper are in columns and series that say "paper", all others were
    measured here. After Ctrl-C (exit status 130) the same command goes on where it was.
    """
    from dldl_fast.cli.reproduction_progress import ReproductionProgress
    from dldl_fast.models import CheckpointError
    from dldl_fast.reproduction import make_job, reproduce
    from dldl_fast.reproduction.report import markdown
    from dldl_fast.resume import ResumeError
    from dldl_fast.training import TrainingDivergedError

    console = Console()
    errors = (OptionError, ValueError, CheckpointError, ResumeError, TrainingDivergedError)
    with reported(*errors), progress_bar(console) as progress:
        folder = out if out is not None else Path("runs") / f"reproduce-{name}"
        job = make_job(
            name,
            data or (),
            folder,
            budget=budget,
            epochs=epochs,
            init=init or (),
            model=model,
            device=device,
            watch=ReproductionProgress(progress),
        )
        written = reproduce(job, shlex.join(["dldl-fast", *sys.argv[1:]]))
        console.print(
            markdown(written.outcome.sheet), highlight=False, markup=False, soft_wrap=True
        )
        for line in written.outcome.differences:
            console.print(f"- {escape(line)}", highlight=False)
        console.print(f"{', '.join(written.files)} in {escape(str(folder))}", highlight=False)
