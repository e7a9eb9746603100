"""The command `dldl-fast pretrain`: features from face recognition."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from dldl_fast.cli.common import file_name, progress_bar, reported

_DATA, _TRAINING = "Data", "Training"


def pretrain(
    folder: Annotated[
        Path, typer.Argument(help="A folder of pictures for every person.", file_okay=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results. Default: runs/pretrain- and the name of the data.",
            file_okay=False,
            rich_help_panel=_DATA,
        ),
    ] = None,
    min_images: Annotated[
        int,
        typer.Option(
            min=2, help="Persons with fewer pictures are left out.", rich_help_panel=_DATA
        ),
    ] = 2,
    image_size: Annotated[
        int | None,
        typer.Option(min=32, max=1024, help="Height and width in pixels.", rich_help_panel=_DATA),
    ] = None,
    test_fraction: Annotated[
        float, typer.Option(help="Share of every person's pictures.", rich_help_panel=_DATA)
    ] = 0.2,
    recipe: Annotated[
        str,
        typer.Option(
            help="default, paper-age, ... or a .toml file, as for dldl-fast train; its loss and "
            "stages with a lambda are not used.",
            rich_help_panel=_TRAINING,
        ),
    ] = "default",
    network: Annotated[
        Literal["ThinAgeNet", "TinyAgeNet", "ThinAttNet", "TinyAttNet", "ALResNet"] | None,
        typer.Option(help="Default: the recipe's.", rich_help_panel=_TRAINING),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the images, per stage.", rich_help_panel=_TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per step.", rich_help_panel=_TRAINING)
    ] = None,
    micro_batches: Annotated[
        int | None,
        typer.Option(min=1, help="Parts of a step, for less memory.", rich_help_panel=_TRAINING),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of Adam at the start.", rich_help_panel=_TRAINING)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that prepare images.", rich_help_panel=_TRAINING),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on after the last whole epoch.", rich_help_panel=_TRAINING
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Of weights, parts and augmentation.", rich_help_panel=_TRAINING),
    ] = 0,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=_TRAINING)
    ] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="As for dldl-fast train.", rich_help_panel=_TRAINING),
    ] = "auto",
) -> None:
    """Train the features of a network to tell persons apart; dldl-fast train --init takes them."""
    from dldl_fast.cli.training_progress import TrainingProgress
    from dldl_fast.data import DataError, load_table
    from dldl_fast.data.identities import hold_out_images, read_identities
    from dldl_fast.models import LabelDistributionNet
    from dldl_fast.training import TrainingDivergedError, WorkerLostError, joined_processes
    from dldl_fast.training.pretrain import run_pretraining
    from dldl_fast.training.processes import process_device
    from dldl_fast.training.recipe import NETWORKS, load_recipe, training_settings
    from dldl_fast.training.run import new_model

    console = Console()
    command = shlex.join(["dldl-fast", *sys.argv[1:]])
    with reported(DataError, TrainingDivergedError, WorkerLostError, ValueError):
        chosen = load_recipe(recipe)
        settings = training_settings(
            chosen,
            epochs=epochs,
            batch_size=batch_size,
            micro_batches=micro_batches,
            learning_rate=learning_rate,
            workers=workers,
            seed=seed,
            device=device,
            precision=precision,
        )
        own_device = process_device(settings.resolved_device())
        settings = dataclasses.replace(settings, device=str(own_device))
        table = read_identities(folder, min_images=min_images)
        parts = hold_out_images(table, test_fraction, seed)
        results = out or Path("runs") / f"pretrain-{file_name(table.name)}"
        with joined_processes(own_device) as processes, progress_bar(console) as progress:
            if not processes.is_first:
                console.quiet = True
            task = progress.add_task("reading images", total=None, loss="")
            data = load_table(
                table,
                parts,
                table.spec.grid(),
                image_size=image_size or chosen.image_size,
                augmentation=chosen.augmentation,
                mirror=True,
                workers=workers,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
            progress.remove_task(task)
            net: LabelDistributionNet = new_model(NETWORKS[network or chosen.network], settings)
            console.print(
                f"[bold]{escape(data.name)}[/]: {len(data.labels)} persons, {len(data.train)} "
                f"images to learn from, {len(data.test)} held out; "
                f"{type(net).__name__}, {settings.device}\n{escape(data.note)}".rstrip(),
                highlight=False,
            )
            report = run_pretraining(
                data,
                net,
                settings,
                results,
                callbacks=[
                    TrainingProgress(
                        progress, lambda record: f"mistaken {record.scores['error']:.1%}"
                    )
                ],
                resume=resume,
                processes=processes,
                command=command,
            )
        console.print(
            f"{report.metrics['error']:.1%} of the held-out pictures mistaken "
            f"({1 - 1 / len(data.labels):.1%} by chance); results in {escape(str(results))}",
            highlight=False,
        )
        if report.metrics["interrupted"]:
            raise typer.Exit(130)
