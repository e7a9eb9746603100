"""The command `dldl-fast compare`: options to objects, the progress, table and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.progress
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from dldl_fast.cli.common import OptionError, file_name, progress_bar
from dldl_fast.comparison import (
    REFERENCE,
    ComparisonData,
    Entry,
    EntryError,
    Line,
    Progress,
    Results,
    ResumeError,
    load_comparison_data,
    method_entries,
    parse_sweep,
    run_comparison,
    summarise,
    sweep_entries,
    table_cells,
    table_titles,
    write_tables,
)
from dldl_fast.comparison.plots import plot_errors, plot_predictions
from dldl_fast.data import DataError, MissingExtraError
from dldl_fast.figures import new_figure
from dldl_fast.files import replace_file
from dldl_fast.labels import label_grid
from dldl_fast.training import TrainingDivergedError, TrainSettings
from dldl_fast.training.run import versions

USER_ERRORS = (
    OptionError,
    DataError,
    EntryError,
    MissingExtraError,
    ResumeError,
    TrainingDivergedError,
    OSError,
)
"""Errors whose message is all that the user needs."""

FEATURE_BUDGET = (100, 64)
IMAGE_BUDGET = (24, 32)
"""Epochs and batch size unless others are asked for."""

_BUDGET_NOTE = (
    "No method was tuned: all networks have the same backbone, initial weights, batches and budget "
    "per seed, and the two-stage methods their default settings."
)
_NOTES = (
    "Mean ± standard deviation over the folds of all seeds; e-error with the sigma of the targets.",
    "diff.: mean absolute error less that of {reference}, over all rows.",
    "p: Wilcoxon signed-rank test, two-sided, of the absolute errors per {unit}, averaged over the "
    "seeds, against {reference}; Holm's correction for {tests} tests. Models of two folds share "
    "training rows, so the p-values are too small rather than too large, and say nothing about "
    "another training sample.",
)


@dataclass(frozen=True)
class CompareRequest:
    """The options of the command, as typed."""

    data: str
    methods: str
    folds: int
    seeds: int
    out: Path | None
    label_column: str | None
    group_column: str | None
    labels: str | None
    sigma: float | None
    image_size: int
    epochs: int | None
    batch_size: int | None
    learning_rate: float
    device: str
    sweep: Sequence[str]
    command: str


def run_request(request: CompareRequest, console: Console) -> None:
    """Load the data, train what has no result yet, print and write the table.

    Raises:
        KeyboardInterrupt: what is finished by then is on disk.
        Exception: any of USER_ERRORS, with a message for the user.
    """
    # Says now, not after all the training, if there can be no pictures.
    new_figure(1.0, 1.0, extra="compare")
    sweep = parse_sweep(request.sweep)
    if request.sigma is not None and not 0.0 <= request.sigma < math.inf:
        raise OptionError(f"--sigma must be finite and >= 0, got {request.sigma}")
    data = _load(request, console)
    entries = sweep_entries(sweep, data) if sweep else method_entries(_names(request.methods), data)
    reference = entries[0].name if sweep else REFERENCE
    settings = _train_settings(request, data)
    out = (
        request.out if request.out is not None else Path("runs") / f"compare-{file_name(data.name)}"
    )
    console.print(
        f"[bold]{escape(data.name)}[/]: {len(data)} rows, labels {data.labels[0]:g} to "
        f"{data.labels[-1]:g} (K = {len(data.labels)}); {request.folds} folds, "
        f"{_count(request.seeds, 'seed')}, {settings.epochs} epochs; results in {escape(str(out))}",
        highlight=False,
    )
    if data.note:
        console.print(f"[yellow]Note:[/] {escape(data.note)}", highlight=False)
    with progress_bar(console) as progress:
        results = run_comparison(
            data,
            entries,
            out,
            folds=request.folds,
            seeds=request.seeds,
            settings=settings,
            progress=ComparisonProgress(progress),
        )
    lines = summarise(data, results, reference)
    if not sweep:
        lines.sort(key=lambda line: line.scores["mae"].mean)
    _print_table(console, data, lines, reference)
    _write(request, data, lines, results, reference, settings, out)


def _load(request: CompareRequest, console: Console) -> ComparisonData:
    with progress_bar(console) as progress:
        task = progress.add_task("reading", total=None, loss="")
        return load_comparison_data(
            request.data,
            labels=None if request.labels is None else _parse_labels(request.labels),
            sigma=request.sigma,
            label_column=request.label_column,
            group_column=request.group_column,
            image_size=request.image_size,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def _parse_labels(text: str) -> Tensor:
    try:
        low, high, step = (float(number) for number in text.split(","))
        return label_grid(low, high, step)
    except ValueError as error:
        raise OptionError(f"--labels must be min,max,step, got {text!r} ({error})") from error


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _train_settings(request: CompareRequest, data: ComparisonData) -> TrainSettings:
    epochs, batch_size = FEATURE_BUDGET if data.images is None else IMAGE_BUDGET
    try:
        settings = TrainSettings(
            epochs=epochs if request.epochs is None else request.epochs,
            batch_size=batch_size if request.batch_size is None else request.batch_size,
            learning_rate=request.learning_rate,
            device=request.device,
            precision="float32",
        )
        settings.resolved_device()
    except ValueError as error:
        raise OptionError(str(error)) from error
    return settings


class ComparisonProgress(Progress):
    """A bar over all runs, and the one that is going on.

    Args:
        progress: where the bar is drawn.
    """

    def __init__(self, progress: rich.progress.Progress) -> None:
        self._progress = progress

    def on_start(self, runs: int) -> None:
        """Begin the bar."""
        self._task = self._progress.add_task("training", total=runs, loss="")

    def on_run(self, entry: Entry, seed: int, fold: int) -> None:
        """Say which run is going on."""
        self._progress.update(self._task, loss=f"{entry.name}, seed {seed}, fold {fold}")

    def on_result(self) -> None:
        """Move the bar."""
        self._progress.advance(self._task)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def _print_table(
    console: Console, data: ComparisonData, lines: Sequence[Line], reference: str
) -> None:
    # Narrow enough for the usual 80 columns.
    table = Table(
        title=escape(data.name), box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    for index, title in enumerate(table_titles()):
        table.add_column(title, justify="right" if index else "left", no_wrap=index > 0)
    for line in lines:
        cells = [escape(cell.replace(" ± ", "±")) for cell in table_cells(line)]
        table.add_row(*cells, style="bold" if line.name == reference else None)
    console.print(table)


def _write(
    request: CompareRequest,
    data: ComparisonData,
    lines: Sequence[Line],
    results: Results,
    reference: str,
    settings: TrainSettings,
    out: Path,
) -> None:
    stem = "sweep" if request.sweep else "table"
    unit = "row" if data.group is None else "group (its mean)"
    notes = [note.format(unit=unit, reference=reference, tests=len(lines) - 1) for note in _NOTES]
    if not request.sweep:
        notes.append(_BUDGET_NOTE)
    if data.note:
        notes.append(data.note)
    about: dict[str, Any] = {
        "data": data.name,
        "rows": len(data),
        "labels": f"{data.labels[0]:g} to {data.labels[-1]:g}, K = {len(data.labels)}",
        "mean sigma": round(float(data.sigma.mean()), 6),
        "folds": request.folds,
        "seeds": request.seeds,
        "epochs": settings.epochs,
        "batch size": settings.batch_size,
        "learning rate": settings.learning_rate,
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "command": request.command,
    }
    write_tables(out, stem, lines, reference, about, notes)
    title = f"{data.name}: {request.folds} folds, {_count(request.seeds, 'seed')}"
    replace_file(
        out / ("sweep.png" if request.sweep else "mae.png"),
        lambda path: plot_errors(path, title, lines, reference),
    )
    if not request.sweep:
        _write_predictions(out / "predictions.png", data, lines, results, reference)


def _write_predictions(
    path: Path, data: ComparisonData, lines: Sequence[Line], results: Results, reference: str
) -> None:
    """The best entry and the reference; beside the reference the second best, if it is the best."""
    beside = next((line.name for line in lines if line.name != reference), None)
    shown = [line for line in lines if line.name in (reference, beside)]
    panels = {
        f"{line.name}: MAE {line.scores['mae'].mean:.3g}": results.predictions[line.name][0]
        for line in shown
    }
    replace_file(path, lambda part: plot_predictions(part, data.target, panels))
