"""The command `dldl-fast train`: options to objects, and the progress on the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from dldl_fast import DLDLv2Loss, backends
from dldl_fast.cli.common import OptionError, file_name, progress_bar
from dldl_fast.data import DataError, FaceData, MissingExtraError, load_data
from dldl_fast.labels import label_grid
from dldl_fast.training import (
    Callback,
    EpochRecord,
    RunReport,
    TrainingDivergedError,
    TrainSettings,
    run_training,
)
from dldl_fast.training.run import baseline_metrics, require_output_packages

USER_ERRORS = (OptionError, DataError, MissingExtraError, TrainingDivergedError, OSError)
"""Errors whose message is all that the user needs."""


@dataclass(frozen=True)
class TrainRequest:
    """The options of the command, as typed."""

    data: str
    out: Path | None
    label_min: float | None
    label_max: float | None
    label_step: float
    image_size: int
    test_fraction: float
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    device: str
    precision: str
    sigma: float | None
    lambda_: float
    ld_weight: float
    variance_weight: float
    kind: str
    divergence: str
    regression: str
    backend: str
    command: str


def run_request(request: TrainRequest, console: Console) -> bool:
    """Load the data, train, and print what came of it; whether Ctrl-C ended it early.

    Raises:
        KeyboardInterrupt: if that was before the first step.
        Exception: any of USER_ERRORS, with a message for the user.
    """
    require_output_packages()
    is_head_roll = request.data == "head-roll"
    label_min = request.label_min if request.label_min is not None else -45.0 * is_head_roll
    default_max = 45.0 if is_head_roll else 100.0
    label_max = request.label_max if request.label_max is not None else default_max
    default_sigma = 3.0 if is_head_roll else 2.0
    try:
        labels = label_grid(label_min, label_max, request.label_step)
        criterion = DLDLv2Loss(
            labels=labels,
            sigma=default_sigma if request.sigma is None else request.sigma,
            lambda_=request.lambda_,
            ld_weight=request.ld_weight,
            variance_weight=request.variance_weight,
            kind=request.kind,
            divergence=request.divergence,
            regression=request.regression,
            backend=request.backend,
        )
        settings = TrainSettings(
            epochs=request.epochs,
            batch_size=request.batch_size,
            learning_rate=request.learning_rate,
            seed=request.seed,
            device=request.device,
            precision=request.precision,
        )
        device = settings.resolved_device()
        backend = backends.resolve(request.backend, device.type)
        data = _load(request, labels, console)
    except USER_ERRORS:
        raise
    except (ValueError, RuntimeError) as error:
        raise OptionError(str(error)) from error
    if data.train.sigma is not None and request.sigma is not None:
        raise OptionError(f"{data.name} gives a sigma for every image; leave out --sigma")

    out = request.out if request.out is not None else Path("runs") / file_name(data.name)
    baseline = baseline_metrics(data, criterion)
    console.print(
        f"[bold]{escape(data.name)}[/]: {len(data.train)} images to learn from, "
        f"{len(data.test)} held out; labels {labels[0]:g} to {labels[-1]:g} {data.unit}\n"
        f"{device}, {settings.resolved_precision(device)}, loss backend {backend}\n"
        f"constant prediction {data.baseline:.4g}: "
        f"MAE {baseline[0]:.2f}, e-error {baseline[1]:.3f}",
        highlight=False,
    )
    if data.note:
        console.print(f"[yellow]Note:[/] {data.note}", highlight=False)
    console.print("per epoch: held-out images, in brackets the constant prediction")
    with progress_bar(console) as progress:
        report = run_training(
            data,
            criterion,
            settings,
            out,
            callback=_ProgressCallback(progress, baseline),
            command=request.command,
        )
    _print_summary(console, report, out)
    return bool(report.metrics["interrupted"])


def _load(request: TrainRequest, labels: Tensor, console: Console) -> FaceData:
    with progress_bar(console) as progress:
        task = progress.add_task("reading images", total=None, loss="")
        return load_data(
            request.data,
            labels,
            image_size=request.image_size,
            test_fraction=request.test_fraction,
            seed=request.seed,
            allow_zero_sigma=request.kind != "gaussian_pdf",
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


class _ProgressCallback(Callback):
    """A bar over all steps, and a line for every finished epoch."""

    def __init__(self, progress: Progress, baseline: tuple[float, float]) -> None:
        self._progress = progress
        self._baseline = baseline

    def on_start(self, epochs: int, steps_per_epoch: int) -> None:
        self._epochs = epochs
        self._task = self._progress.add_task("training", total=epochs * steps_per_epoch, loss="")

    def on_step(self, loss: float) -> None:
        self._progress.update(self._task, advance=1, loss=f"loss {loss:.3f}")

    def on_epoch(self, record: EpochRecord) -> None:
        mae, epsilon = self._baseline
        width = len(str(self._epochs))
        self._progress.console.print(
            f"epoch {record.epoch:>{width}}/{self._epochs}  loss {record.train_loss:.3f}  "
            f"MAE {record.mae:.2f} ({mae:.2f})  e-error {record.e_error:.3f} ({epsilon:.3f})  "
            f"{record.seconds:.0f} s",
            highlight=False,
        )


def _print_summary(console: Console, report: RunReport, out: Path) -> None:
    metrics = report.metrics
    title = f"{metrics['data']}: {metrics['n_test']} held-out images"
    if metrics["interrupted"]:
        title += ", training interrupted"
    table = Table(title=escape(title))
    table.add_column("")
    for column in (f"MAE ({metrics['unit']})", "e-error"):
        table.add_column(column, justify="right")
    table.add_row("TinyAgeNet", f"{metrics['mae']:.2f}", f"{metrics['e_error']:.3f}")
    table.add_row(
        f"constant {metrics['baseline_constant']:.4g}",
        f"{metrics['baseline_mae']:.2f}",
        f"{metrics['baseline_e_error']:.3f}",
    )
    console.print(table)
    console.print(
        f"{metrics['epochs']} epochs, {metrics['steps']} steps in {metrics['seconds']:.0f} s; "
        f"results in {escape(str(out))}",
        highlight=False,
    )
