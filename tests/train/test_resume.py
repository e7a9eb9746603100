"""Trainings that are killed and go on."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dldl_fast import DLDLv2Loss
from dldl_fast.data import DataError
from dldl_fast.models import TinyAgeNet
from dldl_fast.training import Callback, TrainSettings, run_training

pytest.importorskip("safetensors", reason="the extra faces is not installed")
pytest.importorskip("matplotlib", reason="the extra faces is not installed")
pytest.importorskip("typer", reason="the extra cli is not installed")


class Kill(Callback):
    """Ends the process in the middle of an epoch, as losing power would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch(self, record) -> None:
        self.epoch -= 1

    def on_step(self, loss: float) -> None:
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def command(source: Path, out: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "dldl_fast.train", "--data", str(source), "--out", str(out),
        "--epochs", "4", "--batch-size", "8", "--label-max", "10", "--image-size", "32",
        "--device", "cpu", "--precision", "float32", "--learning-rate", "0.003", *more,
    ]  # fmt: skip


def curve(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


def run(arguments: list[str], *, kill_in: int | None = None) -> subprocess.CompletedProcess[str]:
    if kill_in is not None:  # the same program, with a callback more
        arguments = [
            arguments[0],
            "-c",
            "import runpy, sys, dldl_fast.training.run as run\n"
            "from tests.train.test_resume import Kill\n"
            "original = run.Training.run\n"
            "def killed(self, callbacks=()):\n"
            f"    return original(self, [*callbacks, Kill({kill_in})])\n"
            "run.Training.run = killed\n"
            "runpy.run_module('dldl_fast.train', run_name='__main__', alter_sys=True)",
            *arguments[3:],
        ]
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=300, env={**os.environ, "COLUMNS": "200"}
    )


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_the_curve_after_sigkill_is_that_of_an_uninterrupted_training(write_folder, tmp_path):
    source = write_folder([i / 4 for i in range(40)])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(command(source, whole)).returncode == 0

    died = run(command(source, killed), kill_in=3)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(curve(killed)) == 2
    TinyAgeNet.from_pretrained(killed)  # usable as it is

    went_on = run(command(source, killed, "--resume"))
    assert went_on.returncode == 0, went_on.stdout + went_on.stderr
    assert "going on after epoch 2" in went_on.stdout
    assert curve(killed) == curve(whole)
    weights = [TinyAgeNet.from_pretrained(folder).state_dict() for folder in (whole, killed)]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name

    other = run(command(source, killed, "--resume", "--lambda", "0.5"))
    assert other.returncode == 1
    assert "of another training: lambda_ was 1.0, is 0.5; give the same options" in other.stderr


def test_what_cannot_be_resumed(stripes, tmp_path):
    criterion = DLDLv2Loss(labels=stripes.labels)
    settings = TrainSettings(epochs=1, device="cpu")
    with pytest.raises(DataError, match="no such file; start the training without --resume"):
        run_training(stripes, criterion, settings, tmp_path, resume=True)
    run_training(stripes, criterion, settings, tmp_path)
    longer = dataclasses.replace(settings, epochs=2)
    with pytest.raises(DataError, match="epochs was 1, is 2"):
        run_training(stripes, criterion, longer, tmp_path, resume=True)

    state = tmp_path / "last" / "training.pt"
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(DataError, match=re.escape(f"{state}: no state of a training")):
        run_training(stripes, criterion, settings, tmp_path, resume=True)


def test_a_state_is_never_unpickled(stripes, tmp_path):
    class Malicious:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    (tmp_path / "last").mkdir()
    torch.save({"state": Malicious(), "made_with": {}}, tmp_path / "last" / "training.pt")
    with pytest.raises(DataError, match="no state of a training"):
        run_training(
            stripes,
            DLDLv2Loss(labels=stripes.labels),
            TrainSettings(epochs=1, device="cpu"),
            tmp_path,
            resume=True,
        )
    assert not (tmp_path / "executed").exists()


def test_the_best_and_the_last_checkpoint(stripes, tmp_path):
    rows = {True: slice(0, 96), False: slice(96, 128)}
    parts = {
        is_train: dataclasses.replace(
            stripes.train,
            images=stripes.train.images[rows[is_train]],
            target=stripes.train.target[rows[is_train]],
            sigma=stripes.train.sigma[rows[is_train]],
        )
        for is_train in rows
    }
    data = dataclasses.replace(stripes, train=parts[True], validation=parts[False])
    criterion = DLDLv2Loss(labels=data.labels, sigma=1.5)
    # Too large a learning rate: the last epoch is not the best one.
    settings = TrainSettings(epochs=6, learning_rate=0.05, device="cpu", schedule="step")
    report = run_training(data, criterion, settings, tmp_path)
    errors = [record.scores["mae"] for record in report.history]
    assert report.metrics["best_epoch"] == errors.index(min(errors)) + 1 < 6
    assert report.metrics["n_validation"] == 32

    from dldl_fast.training import LabelObjective, predict

    for folder, expected in ((tmp_path, min(errors)), (tmp_path / "last", errors[-1])):
        model = TinyAgeNet.from_pretrained(folder)
        logits = predict(model, data.validation.images)
        found = LabelObjective(criterion).scores(logits, data.validation)["mae"]
        assert found == pytest.approx(expected, abs=1e-4)
    logits = predict(TinyAgeNet.from_pretrained(tmp_path), data.test.images)
    assert LabelObjective(criterion).scores(logits, data.test)["mae"] == pytest.approx(
        report.metrics["mae"], abs=1e-4
    )


def test_tensorboard_has_the_curves(stripes, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from dldl_fast.training.tensorboard import TensorBoardLog

    log = tmp_path / "tensorboard"
    report = run_training(
        stripes,
        DLDLv2Loss(labels=stripes.labels),
        TrainSettings(epochs=2, batch_size=64, device="cpu"),
        tmp_path / "out",
        callbacks=[TensorBoardLog(log)],
    )
    events = EventAccumulator(str(log)).Reload()
    assert [event.step for event in events.Scalars("loss/step")] == [1, 2, 3, 4]
    errors = [(event.step, event.value) for event in events.Scalars("held_out/mae")]
    assert errors == [
        (2 * record.epoch, pytest.approx(record.scores["mae"], rel=1e-6))
        for record in report.history
    ]
