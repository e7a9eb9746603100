"""Pre-training on face recognition, from data to files."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dldl_fast.data.base import FaceData
from dldl_fast.data.images import MEAN, STD
from dldl_fast.files import write_json
from dldl_fast.models import FaceIdentityNet, LabelDistributionNet
from dldl_fast.training.checkpoint import run_written, write_history
from dldl_fast.training.engine import Callback, Training
from dldl_fast.training.objective import IdentityObjective
from dldl_fast.training.processes import Processes
from dldl_fast.training.run import METRICS_NAME, RunReport, made_with, versions
from dldl_fast.training.settings import TrainSettings


def run_pretraining(
    data: FaceData,
    net: LabelDistributionNet,
    settings: TrainSettings,
    out: Path,
    *,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    processes: Processes | None = None,
    command: str = "",
) -> RunReport:
    """Train the features of a network to tell persons apart, and write what came of it.

    ``out`` receives a checkpoint of the network, whose head is as it was, ``metrics.json`` and
    ``history.csv``; ``out/last`` as in `run_training`. The layer that tells the persons apart is
    left out of the checkpoints: what is wanted are the features
    (`LabelDistributionNet.load_features`).

    Args:
        data: images, whose targets are the numbers of their persons, 0 to P - 1.
        net: the network to pre-train; its features are trained in place.
        settings: how to train.
        out: folder for the results; made if missing.
        callbacks: as for `run_training`.
        resume: as for `run_training`.
        processes: as for `run_training`.
        command: what the user typed, for the record.

    Raises:
        DataError: if there is nothing to resume, or it is another training.
        KeyboardInterrupt: if Ctrl-C came before the first step.
        TrainingDivergedError: if a loss is not finite.

    Source:
        Section 4.1.
    """
    processes = processes or Processes()
    device = settings.resolved_device()
    precision = settings.resolved_precision(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = FaceIdentityNet(net, len(data.labels))
    net.config = _config(data, settings, precision, command)
    net.to(device)
    training = Training(model, data, IdentityObjective(), settings, processes=processes)

    # A copy, since the features of an average of weights are not those that are being trained.
    saved = copy.deepcopy(net)

    def network(training: Training) -> LabelDistributionNet:
        model = training.model
        assert isinstance(model, FaceIdentityNet)  # for the type checker
        saved.features.load_state_dict(model.features.state_dict())
        return saved

    same = made_with(data, settings, precision, net, processes)
    result = run_written(
        training, out, same, network, callbacks=callbacks, resume=resume, processes=processes
    )
    net.load_features(network(training), out)
    scores = training.evaluate(data.test)
    metrics = {
        "data": data.name,
        **scores,
        "seconds": round(result.seconds, 3),
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "steps": result.steps,
        "interrupted": result.interrupted,
        "n_train": len(data.train),
        "n_test": len(data.test),
        "n_identities": len(data.labels),
        "model": type(net).__name__,
        "seed": settings.seed,
        "device": str(device),
        "precision": precision,
        "processes": processes.count,
        "versions": versions(),
        "command": command,
    }
    if processes.is_first:
        net.save_pretrained(out)
        write_history(out, result.history)
        write_json(out / METRICS_NAME, metrics)
    return RunReport(metrics, result.history)


def _config(
    data: FaceData, settings: TrainSettings, precision: str, command: str
) -> dict[str, Any]:
    return {
        "image": {"size": data.train.images.shape[-1], "mean": MEAN, "std": STD},
        "pretraining": {**dataclasses.asdict(settings), "precision": precision},
        "data": {"name": data.name, "identities": len(data.labels)},
        "versions": versions(),
        "command": command,
    }
