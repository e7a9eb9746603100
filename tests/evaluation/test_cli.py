from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dldl_fast import metrics
from dldl_fast.data.base import hold_out
from dldl_fast.data.images import MEAN, STD
from dldl_fast.faces.manifest import HEADER, ManifestRow
from dldl_fast.labels import label_grid
from dldl_fast.models import TinyAgeNet
from dldl_fast.prediction import AgeEstimator
from tests.command_line import invoke

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
pytest.importorskip("typer.testing", reason="the extra cli is not installed")
pytest.importorskip("safetensors", reason="the extra hub is not installed")

LABELS = label_grid(-10, 10, 0.5)
ROWS = 24


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tmp_path):
    net = TinyAgeNet(LABELS, rate=0.05).eval()
    with torch.no_grad():
        net.head.weight.mul_(20)
    net.config = {
        "image": {"size": 32, "mean": MEAN, "std": STD},
        "data": {"unit": "degrees"},
        "loss": {"sigma": 1.5},
    }
    net.save_pretrained(tmp_path / "model")
    return net


@pytest.fixture
def data(tmp_path):
    """A table of pictures, some of them for training, with a group."""
    folder = tmp_path / "people"
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = ["path,label,split,camera"]
    for number in range(ROWS):
        pixels = generator.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(folder / f"{number}.png")
        split = "train" if number < 2 else "test"
        camera = "old" if number % 2 else "new"
        lines.append(f"{number}.png,{generator.uniform(-10, 10):.3f},{split},{camera}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def columns(data):
    fields = [line.split(",") for line in (data / "labels.csv").read_text().splitlines()[1:]]
    return torch.tensor([float(row[1]) for row in fields], dtype=torch.float64)


def report(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_a_model(model, data, tmp_path):
    result = invoke(
        "evaluate", data, "--model", tmp_path / "model", "--no-align", "--group-column", "camera",
        "--device", "cpu", "--batch-size", 5,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "runs" / "evaluate-people")
    estimator = AgeEstimator(model, align=False, device="cpu")
    pictures = [data / f"{number}.png" for number in range(2, ROWS)]
    predictions = [one.predictions[0] for one in estimator.predict_many(pictures)]
    value = torch.tensor([one.value for one in predictions], dtype=torch.float64)
    p = torch.stack([one.distribution for one in predictions])
    target = columns(data)[2:]
    assert found["count"] == ROWS - 2
    assert found["metrics"]["mae"] == pytest.approx(float(metrics.mae(value, target)), abs=1e-4)
    expected = float(metrics.e_error(value, target, 1.5))
    assert found["metrics"]["e_error"] == pytest.approx(expected, abs=1e-4)
    expected = float(metrics.crps(p, target, LABELS))
    assert found["metrics"]["crps"] == pytest.approx(expected, abs=1e-4)
    assert set(found["metrics"]) > {"cs_0.2", "cs_0.6", "cs_1", "cs_2"}
    error = (value - target).abs()
    old = torch.arange(2, ROWS) % 2 == 1
    by_group = {row["group"]: row for row in found["groups"]["camera"]}
    assert by_group["old"]["mae"] == pytest.approx(float(error[old].mean()), abs=1e-4)
    assert by_group["new"]["count"] == 11
    assert found["gaps"]["camera"]["low"] <= found["gaps"]["camera"]["difference"]
    mae = found["metrics"]["mae"]
    assert f"mean absolute error {mae:.4g}" in " ".join(result.output.split())
    assert "22 rows (test part); degrees" in result.output
    assert "largest gap: " in result.output
    assert "95 % interval" in result.output


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_predictions_of_a_file_give_what_the_model_gives(model, data, tmp_path, suffix):
    (data / "1.png").write_bytes(b"damaged since")
    shared = ["--model", tmp_path / "model", "--no-align", "--device", "cpu"]
    out = tmp_path / f"predictions.{suffix}"
    first = invoke("predict", data, *shared, "--out", out, "--distribution")
    assert first.exit_code == 0, first.output
    options = [data, "--split", "all", "--group-column", "camera"]
    assert invoke("evaluate", *options, *shared, "--out", tmp_path / "a").exit_code == 0
    result = invoke(
        "evaluate", *options, "--predictions", out, "--model", tmp_path / "model",
        "--out", tmp_path / "b",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    of_model, of_file = report(tmp_path / "a"), report(tmp_path / "b")
    for name, number in of_model["metrics"].items():
        assert of_file["metrics"][name] == pytest.approx(number, abs=1e-5), name
    assert (of_model["left_out"], of_file["left_out"]) == (1, 1)
    assert of_file["count"] == ROWS - 1
    assert "1.png: no prediction in the file" in result.output
    assert "1.png: not a readable picture" in of_model["reasons"][0]
    assert of_file["groups"]["camera"][0]["mae"] == pytest.approx(
        of_model["groups"]["camera"][0]["mae"], abs=1e-5
    )


def test_values_of_another_program(tmp_path):
    folder = tmp_path / "ages"
    folder.mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    (folder / "labels.csv").write_text("path,label\na.png,30\nb.png,41\nc.png,52\n")
    (tmp_path / "p.csv").write_text("path,value\n./b.png,40\na.png,33\na.png,99\nother.png,1\n")
    result = invoke("evaluate", folder, "--predictions", tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "runs" / "evaluate-ages")
    assert (found["count"], found["left_out"], found["unit"]) == (2, 1, "years")
    assert found["metrics"]["mae"] == 2.0
    assert found["metrics"]["coverage_90"] is None
    assert found["reasons"] == ["c.png: no row in the file of predictions"]
    assert [row["group"] for row in found["groups"]["label"]] == ["30 to 40", "40 to 50"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --model, or --predictions"),
        (["--model", "model", "--split", "validation"], "no row is of the part 'validation'"),
        (["--model", "model", "--group-column", "gender"], "no group column 'gender'"),
        (["--model", "nowhere"], "nowhere: no such folder"),
        (["--model", "model", "--protocol", "none"], "no protocol 'none'"),
        (["--model", "model", "--protocol", "five-fold", "--fold", 5], "fold must be from 0 to 4"),
        (["--model", "model", "--protocol", "official", "--split", "all"], "--protocol or --split"),
        (["--model", "model", "--aligned", "people"], "manifest.csv: no such file"),
        (["--model", "model", "--predictions", "none.csv"], "none.csv: no such file"),
    ],
)
def test_errors_are_one_message(model, data, tmp_path, arguments, message):
    result = invoke("evaluate", data, "--no-align", *arguments)
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error:")
    assert message in result.output
    assert not (tmp_path / "runs").exists()


def test_a_table_must_not_name_pictures_outside(model, data, tmp_path):
    (data / "0.png").rename(tmp_path / "0.png")
    table = data / "labels.csv"
    table.write_text(table.read_text().replace("\n0.png", "\n../0.png"))
    arguments = ["evaluate", data, "--model", tmp_path / "model", "--no-align", "--split", "all"]
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert "labels.csv, row 2: path must be relative" in result.output
    assert invoke(*arguments, "--allow-outside").exit_code == 0
    assert report(tmp_path / "runs" / "evaluate-people")["count"] == ROWS


def test_the_rows_that_a_training_held_out(model, data, tmp_path):
    shared = ["evaluate", data, "--model", tmp_path / "model", "--no-align", "--out", tmp_path]
    result = invoke(*shared, "--protocol", "random-80-20", "--seed", 3, "--test-fraction", 0.25)
    assert result.exit_code == 0, result.output
    found = report(tmp_path)
    held_out = hold_out(ROWS, 0.25, seed=3)
    estimator = AgeEstimator(model, align=False, device="cpu")
    rows = held_out.nonzero()[:, 0].tolist()
    values = [estimator(data / f"{row}.png")[0].value for row in rows]
    error = torch.tensor(values, dtype=torch.float64) - columns(data)[held_out]
    assert found["metrics"]["mae"] == pytest.approx(float(error.abs().mean()), abs=1e-4)
    assert found["rows"] == "test part of random-80-20, fold 0, seed 3, fraction 0.25"


def test_crops_stand_for_the_photos(model, data, tmp_path):
    crops = tmp_path / "crops"
    crops.mkdir()
    lines = []
    for number in range(ROWS):
        # Whatever the photos show, the crops decide.
        Image.new("RGB", (32, 32), (10 * number, 0, 0)).save(crops / f"{number}.png.png")
        row = ManifestRow(f"{number}.png", f"{number}.png.png", "whole", faces=0)
        lines.append(row.line())
    (crops / "manifest.csv").write_text(HEADER + "".join(lines))
    result = invoke(
        "evaluate", data, "--model", tmp_path / "model", "--aligned", crops, "--split", "all",
        "--out", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    estimator = AgeEstimator(model, align=False, device="cpu")
    values = [estimator(crops / f"{row}.png.png")[0].value for row in range(ROWS)]
    error = torch.tensor(values, dtype=torch.float64) - columns(data)
    assert report(tmp_path)["metrics"]["bias"] == pytest.approx(float(error.mean()), abs=1e-4)
