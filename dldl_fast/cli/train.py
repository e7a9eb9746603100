"""The command `dldl-fast train`: options to objects, and the progress on the terminal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dldl_fast import DLDLv2Loss, backends
from dldl_fast.cli.common import OptionError, file_name, progress_bar
from dldl_fast.cli.training_progress import TrainingProgress
from dldl_fast.data import (
    DataError,
    FaceData,
    LabelSpec,
    MissingExtraError,
    label_spec_of,
    load_data,
)
from dldl_fast.models import CheckpointError, LabelDistributionNet
from dldl_fast.training import (
    Callback,
    Processes,
    RunReport,
    TrainingDivergedError,
    TrainSettings,
    WorkerLostError,
    joined_processes,
    run_training,
)
from dldl_fast.training.processes import process_device
from dldl_fast.training.recipe import NETWORKS, Recipe, load_recipe, training_settings
from dldl_fast.training.run import baseline_metrics, new_model, require_output_packages
from dldl_fast.training.tensorboard import TensorBoardLog

USER_ERRORS = (
    OptionError,
    DataError,
    CheckpointError,
    MissingExtraError,
    TrainingDivergedError,
    WorkerLostError,
    OSError,
)
"""Errors whose message is all that the user needs."""

_SETTINGS = (
    "epochs", "batch_size", "micro_batches", "learning_rate", "schedule", "ema", "patience",
    "workers", "seed", "device", "precision",
)  # fmt: skip


@dataclass(frozen=True)
class TrainRequest:
    """The options of the command, as typed; None where the recipe or the data decide."""

    data: str
    aligned: Path | None
    protocol: str | None
    fold: int
    out: Path | None
    label_min: float | None
    label_max: float | None
    label_step: float | None
    image_size: int | None
    test_fraction: float
    validation_fraction: float
    recipe: str
    network: str | None
    init: Path | None
    epochs: int | None
    batch_size: int | None
    micro_batches: int | None
    learning_rate: float | None
    schedule: str | None
    ema: float | None
    patience: int | None
    workers: int | None
    resume: bool
    tensorboard: bool
    seed: int
    device: str
    precision: str
    sigma: float | None
    lambda_: float | None
    ld_weight: float | None
    variance_weight: float | None
    kind: str | None
    divergence: str | None
    regression: str | None
    backend: str
    command: str


def run_request(request: TrainRequest, console: Console) -> bool:
    """Load the data, train, and print what came of it; whether Ctrl-C ended it early.

    Raises:
        KeyboardInterrupt: if that was before the first step.
        Exception: any of USER_ERRORS, with a message for the user.
    """
    require_output_packages()
    try:
        recipe = load_recipe(request.recipe)
        settings = training_settings(recipe, **{name: getattr(request, name) for name in _SETTINGS})
        device = process_device(settings.resolved_device())
        settings = dataclasses.replace(settings, device=str(device))
        with joined_processes(device) as processes:
            if not processes.is_first:
                console = Console(quiet=True)
            return _train(request, recipe, settings, processes, console)
    except USER_ERRORS:
        raise
    except (ValueError, RuntimeError) as error:
        raise OptionError(str(error)) from error


def _train(
    request: TrainRequest,
    recipe: Recipe,
    settings: TrainSettings,
    processes: Processes,
    console: Console,
) -> bool:
    spec = _label_spec(request)
    criterion = _criterion(request, recipe, spec)
    labels = criterion.labels
    backend = backends.resolve(request.backend, settings.resolved_device().type)
    data = _load(request, recipe, criterion, spec, console)
    if data.train.sigma is not None and request.sigma is not None:
        raise OptionError(f"{data.name} gives a sigma for every image; leave out --sigma")
    model = _model(request, recipe, data, settings)
    out = request.out if request.out is not None else Path("runs") / file_name(data.name)
    baseline = baseline_metrics(data, criterion)
    validation = "" if data.validation is None else f"{len(data.validation)} to choose the epoch, "
    together = "" if processes.count == 1 else f", {processes.count} processes"
    console.print(
        f"[bold]{escape(data.name)}[/]: {len(data.train)} images to learn from, {validation}"
        f"{len(data.test)} held out; labels {labels[0]:g} to {labels[-1]:g} {data.unit}\n"
        f"{type(model).__name__}, {settings.device}, "
        f"{settings.resolved_precision(settings.resolved_device())}, loss backend {backend}"
        f"{together}\n"
        f"constant prediction {data.baseline:.4g}: "
        f"MAE {baseline[0]:.2f}, e-error {baseline[1]:.3f}",
        highlight=False,
    )
    if data.note:
        console.print(f"[yellow]Note:[/] {escape(data.note)}", highlight=False)
    part = "held-out" if data.validation is None else "validation"
    console.print(f"per epoch: {part} images, in brackets the constant prediction")
    with progress_bar(console) as progress:
        callbacks: list[Callback] = [
            TrainingProgress(
                progress,
                lambda record: (
                    f"MAE {record.scores['mae']:.2f} ({baseline[0]:.2f})  "
                    f"e-error {record.scores['e_error']:.3f} ({baseline[1]:.3f})"
                ),
            )
        ]
        if request.tensorboard and processes.is_first:
            callbacks.append(TensorBoardLog(out / "tensorboard"))
        report = run_training(
            data,
            criterion,
            settings,
            out,
            model=model,
            callbacks=callbacks,
            resume=request.resume,
            processes=processes,
            command=request.command,
        )
    _print_summary(console, report, out)
    return bool(report.metrics["interrupted"])


def _label_spec(request: TrainRequest) -> LabelSpec:
    given = {
        name: value
        for name in ("label_min", "label_max", "label_step")
        if (value := getattr(request, name)) is not None
    }
    return dataclasses.replace(label_spec_of(request.data), **given)


def _criterion(request: TrainRequest, recipe: Recipe, spec: LabelSpec) -> DLDLv2Loss:
    labels = spec.grid()
    loss: dict[str, Any] = {"sigma": spec.sigma, **recipe.loss}
    if loss.pop("mean_over_labels", False):
        loss["ld_weight"] = 1.0 / len(labels)
    for name in (
        "sigma", "lambda_", "ld_weight", "variance_weight", "kind", "divergence", "regression",
    ):  # fmt: skip
        if (value := getattr(request, name)) is not None:
            loss[name] = value
    return DLDLv2Loss(labels=labels, backend=request.backend, **loss)


def _model(
    request: TrainRequest, recipe: Recipe, data: FaceData, settings: TrainSettings
) -> LabelDistributionNet:
    model = new_model(NETWORKS[request.network or recipe.network], settings, data.labels)
    if request.init is not None:
        model.load_features(LabelDistributionNet.from_pretrained(request.init), request.init)
    return model


def _load(
    request: TrainRequest,
    recipe: Recipe,
    criterion: DLDLv2Loss,
    spec: LabelSpec,
    console: Console,
) -> FaceData:
    with progress_bar(console) as progress:
        task = progress.add_task("reading images", total=None, loss="")
        return load_data(
            request.data,
            spec,
            image_size=request.image_size or recipe.image_size,
            aligned=request.aligned,
            protocol=request.protocol,
            fold=request.fold,
            test_fraction=request.test_fraction,
            validation_fraction=request.validation_fraction,
            seed=request.seed,
            augmentation=recipe.augmentation,
            mirror=recipe.mirror,
            allow_zero_sigma=criterion.options.kind != "gaussian_pdf",
            workers=request.workers,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
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
    table.add_row(metrics["model"], f"{metrics['mae']:.2f}", f"{metrics['e_error']:.3f}")
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
