"""The command `dldl-fast evaluate`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dldl_fast.cli import options
from dldl_fast.cli.common import OptionError, file_name, progress_bar, reported
from dldl_fast.cli.estimator import load_estimator

if TYPE_CHECKING:
    from dldl_fast.data.face_table import FaceTable
    from dldl_fast.evaluation import Gap, Report, RowPrediction

_TITLES = {
    "mae": "mean absolute error",
    "e_error": "e-error",
    "rmse": "root mean squared error",
    "pearson": "Pearson correlation",
    "bias": "bias (predicted less true)",
    "coverage_90": "coverage of the 90 % interval",
    "width_90": "width of the 90 % interval",
    "crps": "CRPS",
    "emd": "earth mover's distance",
    "calibration_error": "calibration error",
    "accuracy": "accuracy of the most probable group",
    "one_off_accuracy": "the same or a neighbouring group",
}


def evaluate(
    data: options.LabelledData,
    model: Annotated[
        Path | None, typer.Option(help="Folder with model.safetensors and config.json.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Do not run the model: take a file that predict wrote, .csv or .jsonl. Without "
            "--model the labels are taken for ages."
        ),
    ] = None,
    group_column: Annotated[
        list[str] | None,
        typer.Option(help="Column with groups, for a table of their errors; may be repeated."),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test", "all"] | None,
        typer.Option(
            help="Rows to evaluate on. Default: test where the data say so, else all.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Instead: the rows that train --protocol holds out for the test."),
    ] = None,
    fold: Annotated[int, typer.Option(min=0, help="Of a protocol with several.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of a random protocol: that of train.")] = 0,
    test_fraction: Annotated[
        float, typer.Option(help="Share that a random protocol holds out.")
    ] = 0.2,
    aligned: options.Aligned = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for evaluation.json and groups.csv. Default: runs/evaluate- and the name "
            "of the data.",
            file_okay=False,
        ),
    ] = None,
    align: options.Align = True,
    no_face: Annotated[
        Literal["whole", "skip"],
        typer.Option(help="Where no face is found: take the whole photo, or leave the row out."),
    ] = "whole",
    flip: options.Flip = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 1,
    device: options.Device = "auto",
    weights: options.Weights = None,
    allow_outside: options.AllowOutside = False,
) -> None:
    """Compare predictions with true values: all metrics, and tables of errors per group.

    Errors are listed per group of labels (decades of ages, else tenths of the label range) and per
    value of every group column, with the largest gap between two groups and its bootstrap
    confidence interval. What to make of gaps: docs/ethics.md.
    """
    from dldl_fast.data.base import DataError
    from dldl_fast.data.label_spec import AGES
    from dldl_fast.data.sets import open_source
    from dldl_fast.evaluation import (
        file_predictions,
        gather,
        make_report,
        model_predictions,
        require_group_columns,
        rows_of_protocol,
        rows_of_split,
        write_report,
    )
    from dldl_fast.faces.manifest import aligned_table
    from dldl_fast.models import CheckpointError, LabelDistributionNet
    from dldl_fast.prediction.settings import label_spec

    with reported(OptionError, DataError, CheckpointError):
        if protocol is not None and split is not None:
            raise OptionError("give either --protocol or --split")
        spec = AGES
        predicted: Callable[[FaceTable], Iterator[RowPrediction]]
        if predictions is not None:
            predicted = partial(file_predictions, predictions)
            if model is not None:
                network = LabelDistributionNet.from_pretrained(model)
                spec = label_spec(network.config, network.labels)
        elif model is not None:
            estimator = load_estimator(
                model,
                weights=weights,
                align=align and aligned is None,
                no_face=no_face,
                flip=flip,
                device=device,
            )
            spec = estimator.spec
            predicted = partial(
                model_predictions,
                estimator,
                batch_size=batch_size,
                workers=workers,
                allow_outside=allow_outside,
            )
        else:
            raise OptionError("give --model, or --predictions with a file that predict wrote")
        table = open_source(data, spec=spec, allow_outside=allow_outside)
        if aligned is not None:
            table = aligned_table(table, aligned)
        if protocol is None:
            table, words = rows_of_split(table, split)
        else:
            try:
                table, words = rows_of_protocol(
                    table, protocol, fold=fold, seed=seed, fraction=test_fraction
                )
            except DataError:
                raise
            except ValueError as error:
                raise OptionError(str(error)) from error
        require_group_columns(table, group_column or ())
        console = Console()
        with progress_bar(console) as progress:
            task = progress.add_task("predicting", total=len(table), loss="")
            scores = gather(table, progress.track(predicted(table), task_id=task))
        report = make_report(table, scores, group_column or (), rows=words)
        folder = out if out is not None else Path("runs") / file_name(f"evaluate-{table.name}")
        write_report(report, folder, command=shlex.join(["dldl-fast", *sys.argv[1:]]))
        _print(console, report)
        console.print(f"results in {escape(str(folder))}", highlight=False)


def _print(console: Console, report: Report) -> None:
    left_out = f", {report.left_out} left out" if report.left_out else ""
    console.print(
        f"[bold]{escape(report.data)}[/]: {report.count} rows ({report.rows}){left_out}; "
        f"{escape(report.unit)}",
        highlight=False,
    )
    for reason in report.reasons:
        console.print(f"  [yellow]{escape(reason)}[/]", highlight=False)
    table = _table("", "")
    for name, value in report.metrics.items():
        title = _TITLES.get(name, f"share with an error of at most {name.removeprefix('cs_')}")
        table.add_row(title, "not known" if value is None else f"{value:.4g}")
    console.print(table)
    for column, rows in report.groups.items():
        table = _table(escape(column), "count", "MAE", "bias")
        for row in rows:
            table.add_row(escape(row.group), f"{row.count}", f"{row.mae:.4g}", f"{row.bias:+.4g}")
        console.print(table)
        if column in report.gaps:
            console.print(_gap_line(report.gaps[column]), highlight=False)


def _gap_line(gap: Gap | None) -> str:
    if gap is None:
        return "no gap: fewer than two groups have at least 10 rows"
    return (
        f"largest gap: {escape(gap.worst)} {gap.difference:.3g} above {escape(gap.best)} "
        f"(95 % interval {gap.low:.3g} to {gap.high:.3g})"
    )


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right")
    return table
