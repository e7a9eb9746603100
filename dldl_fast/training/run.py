"""One training from data to files."""

from __future__ import annotations

import dataclasses
import importlib
import math
import platform
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dldl_fast
from dldl_fast import DLDLv2Loss, backends
from dldl_fast.data.base import FaceData, MissingExtraError
from dldl_fast.data.images import MEAN, STD
from dldl_fast.files import replace_file, write_json
from dldl_fast.metrics import e_error, mae
from dldl_fast.models import LabelDistributionNet, TinyAgeNet
from dldl_fast.training.checkpoint import run_written, write_history
from dldl_fast.training.engine import Callback, EpochRecord, Training
from dldl_fast.training.objective import LabelObjective
from dldl_fast.training.processes import Processes
from dldl_fast.training.settings import TrainSettings

METRICS_NAME = "metrics.json"
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
    model: LabelDistributionNet | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    processes: Processes | None = None,
    command: str = "",
) -> RunReport:
    """Train a network and write what came of it.

    ``out`` receives ``model.safetensors`` and ``config.json`` (see `TinyAgeNet.from_pretrained`),
    ``metrics.json``, ``history.csv`` and ``training.png``; those of an earlier run are replaced.
    The checkpoint is written after every epoch: with validation images if it is the best one so
    far. ``out/last`` holds the checkpoint of the last epoch and the state from which the training
    goes on.

    A KeyboardInterrupt after the first step ends the training, and the same files are written for
    the model as it is then (with validation images, for the best one); before the first step it is
    raised again.

    Args:
        data: what to learn and what to test on.
        criterion: the loss, over the label grid of the data.
        settings: how to train.
        out: folder for the results; made if missing.
        model: the network, with the label grid of the data; default: a new TinyAgeNet.
        callbacks: told about every step and epoch.
        resume: go on after the last epoch that ``out`` has, instead of beginning anew. The curve is
            that of a training without interruption.
        processes: this process among those that train together; the first one writes.
        command: what the user typed, for the record.

    Raises:
        DataError: if there is nothing to resume, or it is another training.
        OSError: if the folder cannot be written.
        MissingExtraError: if a package for the results is not installed.
        TrainingDivergedError: if a loss is not finite.
    """
    require_output_packages()
    processes = processes or Processes()
    device = settings.resolved_device()
    precision = settings.resolved_precision(device)
    if model is None:
        model = new_model(TinyAgeNet, settings, data.labels)
    model.config = _config(data, criterion, settings, precision, command)
    training = Training(model, data, LabelObjective(criterion), settings, processes=processes)
    same = made_with(data, settings, precision, model, processes)
    same |= {name: getattr(criterion.options, name) for name in _LOSS_SETTINGS}
    same["sigma"] = criterion.sigma
    result = run_written(
        training, out, same, _network, callbacks=callbacks, resume=resume, processes=processes
    )

    logits = training.outputs(data.test)
    scores = LabelObjective(criterion).scores(logits, data.test)
    baseline_mae, baseline_e_error = baseline_metrics(data, criterion)
    metrics = {
        "data": data.name,
        "unit": data.unit,
        "note": data.note,
        "mae": scores["mae"],
        "baseline_mae": baseline_mae,
        "e_error": scores["e_error"],
        "baseline_e_error": baseline_e_error,
        "baseline_constant": data.baseline,
        "test_loss": scores["loss"] if math.isfinite(scores["loss"]) else None,
        "seconds": round(result.seconds, 3),
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "steps": result.steps,
        "interrupted": result.interrupted,
        "n_train": len(data.train),
        "n_validation": 0 if data.validation is None else len(data.validation),
        "n_test": len(data.test),
        "model": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": settings.seed,
        "device": str(device),
        "precision": precision,
        "processes": processes.count,
        "backend": backends.resolve(criterion.backend, device.type),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "command": command,
    }
    if processes.is_first:
        # First what took long to make; a second Ctrl-C may cut short the rest.
        _network(training).save_pretrained(out)
        write_history(out, result.history)
        write_json(out / METRICS_NAME, metrics)

        from dldl_fast.training.plot import plot_training

        replace_file(
            out / PLOT_NAME,
            lambda path: plot_training(path, data, criterion, result.history, logits, baseline_mae),
        )
    return RunReport(metrics, result.history)


def new_model(
    network: type[LabelDistributionNet],
    settings: TrainSettings,
    labels: Tensor | None = None,
    **architecture: Any,
) -> LabelDistributionNet:
    """A network with new weights that the seed decides; the caller's random state stays.

    Args:
        network: ThinAgeNet or a class derived from it.
        settings: of the training.
        labels: label grid, [K]; None: the network's own.
        architecture: more arguments of the network, such as ``pooling``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return network(labels=labels, **architecture)  # type: ignore[arg-type]


def _network(training: Training) -> LabelDistributionNet:
    model = training.model
    assert isinstance(model, LabelDistributionNet)  # for the type checker: run_training made it
    return model


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
        "data": {
            "name": data.name,
            "unit": data.unit,
            "note": data.note,
            "mirror": data.mirror,
        },
        "versions": versions(),
        "command": command,
    }


def made_with(
    data: FaceData,
    settings: TrainSettings,
    precision: str,
    model: LabelDistributionNet,
    processes: Processes,
) -> dict[str, object]:
    """What must be the same for a training to go on exactly as it would have done."""
    same = {
        "data": data.name,
        "images": [len(data.train), 0 if data.validation is None else len(data.validation)],
        "targets": zlib.crc32(data.train.target.numpy().tobytes()),
        "image size": data.train.images.shape[-1],
        "labels": [float(data.labels[0]), float(data.labels[-1]), len(data.labels)],
        "model": [type(model).__name__, *model.architecture().items()],
        "processes": processes.count,
        **dataclasses.asdict(settings),
        "precision": precision,
    }
    for name in ("device", "workers"):  # where it is computed does not matter
        del same[name]
    return same
