"""One training from data to files."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dldl_fast
from dldl_fast import DLDLv2Loss, backends
from dldl_fast.data.base import FaceData, MissingExtraError
from dldl_fast.data.images import MEAN, STD
from dldl_fast.files import replace_file, write_json
from dldl_fast.metrics import e_error, mae
from dldl_fast.models import TinyAgeNet
from dldl_fast.training.engine import (
    Callback,
    EpochRecord,
    TrainSettings,
    evaluate,
    predict,
    train,
)

METRICS_NAME = "metrics.json"
HISTORY_NAME = "history.csv"
PLOT_NAME = "training.png"

_LOSS_SETTINGS = (
    "lambda_",
    "ld_weight",
    "variance_weight",
    "kind",
    "divergence",
    "regression",
    "smooth_l1_beta",
)


@dataclass(frozen=True)
class RunReport:
    """The outcome of `run_training`.

    Attributes:
        metrics: what ``metrics.json`` holds.
        history: one record per finished epoch.
    """

    metrics: dict[str, Any]
    history: list[EpochRecord]


def baseline_metrics(data: FaceData, criterion: DLDLv2Loss) -> tuple[float, float]:
    """Mean absolute error and epsilon-error of the constant prediction on the test images."""
    constant = torch.full_like(data.test.target, data.baseline)
    sigma = criterion.sigma if data.test.sigma is None else data.test.sigma
    return (
        float(mae(constant, data.test.target)),
        float(e_error(constant, data.test.target, sigma)),
    )


def require_output_packages() -> None:
    """Raise MissingExtraError now if the results could not be written at the end."""
    for package in ("PIL", "safetensors", "matplotlib"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtraError(
                f"training needs the package {package!r}; run: pip install 'dldl_fast[faces]'"
            ) from error


def run_training(
    data: FaceData,
    criterion: DLDLv2Loss,
    settings: TrainSettings,
    out: Path,
    *,
    callback: Callback | None = None,
    command: str = "",
) -> RunReport:
    """Train a new TinyAgeNet and write what came of it.

    ``out`` receives ``model.safetensors`` and ``config.json`` (see `TinyAgeNet.from_pretrained`),
    ``metrics.json``, ``history.csv`` and ``training.png``; those of an earlier run are replaced.
    A KeyboardInterrupt after the first step ends the training, and the same files are written for
    the model as it is then; before the first step it is raised again.

    Args:
        data: what to learn and what to test on.
        criterion: the loss, over the label grid of the data.
        settings: how to train.
        out: folder for the results; made if missing.
        callback: told about every step and epoch.
        command: what the user typed, for the record.

    Raises:
        OSError: if the folder cannot be written.
        MissingExtraError: if a package for the results is not installed.
        TrainingDivergedError: if a loss is not finite.
    """
    require_output_packages()
    out.mkdir(parents=True, exist_ok=True)
    device = settings.resolved_device()
    precision = settings.resolved_precision(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = TinyAgeNet(data.labels)
    result = train(model, data, criterion, settings, callback)
    if result.interrupted and result.steps == 0:
        raise KeyboardInterrupt

    # First what took long to make; a second Ctrl-C may cut short the rest.
    model.config = _config(data, criterion, settings, precision, command)
    model.save_pretrained(out)
    _write_history(out / HISTORY_NAME, result.history)
    if result.interrupted:
        test_loss, error, epsilon = evaluate(model, data, criterion, device, precision)
    else:
        last = result.history[-1]
        test_loss, error, epsilon = last.test_loss, last.mae, last.e_error
    baseline_mae, baseline_e_error = baseline_metrics(data, criterion)
    metrics = {
        "data": data.name,
        "unit": data.unit,
        "note": data.note,
        "mae": error,
        "baseline_mae": baseline_mae,
        "e_error": epsilon,
        "baseline_e_error": baseline_e_error,
        "baseline_constant": data.baseline,
        "test_loss": test_loss if math.isfinite(test_loss) else None,
        "seconds": round(result.seconds, 3),
        "epochs": len(result.history),
        "steps": result.steps,
        "interrupted": result.interrupted,
        "n_train": len(data.train),
        "n_test": len(data.test),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": settings.seed,
        "device": str(device),
        "precision": precision,
        "backend": backends.resolve(criterion.backend, device.type),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "command": command,
    }
    write_json(out / METRICS_NAME, metrics)

    from dldl_fast.training.plot import plot_training

    logits = predict(model, data.test.images, device, precision)
    replace_file(
        out / PLOT_NAME,
        lambda path: plot_training(path, data, criterion, result.history, logits, baseline_mae),
    )
    return RunReport(metrics, result.history)


def versions() -> dict[str, str]:
    """Versions of what the results of a training depend on."""
    return {
        "dldl_fast": dldl_fast.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def _config(
    data: FaceData, criterion: DLDLv2Loss, settings: TrainSettings, precision: str, command: str
) -> dict[str, Any]:
    return {
        "image": {"size": data.test.images.shape[-1], "mean": MEAN, "std": STD},
        "loss": {
            **{name: getattr(criterion.options, name) for name in _LOSS_SETTINGS},
            "sigma": None if data.train.sigma is not None else criterion.sigma,
            "backend": criterion.backend,
        },
        "training": {**dataclasses.asdict(settings), "precision": precision},
        "data": {"name": data.name, "unit": data.unit, "note": data.note},
        "versions": versions(),
        "command": command,
    }


def _write_history(path: Path, history: list[EpochRecord]) -> None:
    columns = [column.name for column in dataclasses.fields(EpochRecord)]

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(dataclasses.asdict(record) for record in history)

    replace_file(path, write)
