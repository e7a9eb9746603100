"""The command `dldl-fast compare`."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib", reason="the extra compare is not installed")
testing = pytest.importorskip("typer.testing", reason="the extra cli is not installed")

FAST = ["--epochs", 1, "--folds", 2, "--seeds", 2, "--labels", "20,350,30"]


def invoke(*arguments: object) -> Any:
    from dldl_fast.cli.app import app

    return testing.CliRunner().invoke(app, ["compare", *map(str, arguments)])


def flat(text: str) -> str:
    """Without the line breaks that the width of the terminal put in."""
    return re.sub(r"\s+", " ", text)


def test_all_that_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("--methods", "er-l1, median", *FAST)
    assert result.exit_code == 0, result.output
    out = Path("runs/compare-diabetes")
    assert "diabetes: 442 rows, labels 20 to 350 (K = 12)" in flat(result.output)

    table = json.loads((out / "table.json").read_text())
    names = [entry["name"] for entry in table["entries"]]
    assert sorted(names) == ["dldl-v2", "er-l1", "median"]
    errors = [entry["mae"]["mean"] for entry in table["entries"]]
    assert errors == sorted(errors)
    assert table["reference"] == "dldl-v2"
    assert table["command"].startswith("dldl-fast")
    assert (table["folds"], table["seeds"], table["epochs"], table["rows"]) == (2, 2, 1, 442)

    with (out / "table.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    markdown = (out / "table.md").read_text()
    for entry in table["entries"]:
        row = rows[entry["name"]]
        assert float(row["mae"]) == entry["mae"]["mean"]
        assert float(row["rmse_spread"]) == entry["rmse"]["spread"]
        assert len(entry["mae"]["folds"]) == 4
        assert f"| {entry['name']} | {entry['mae']['mean']:.1f} ± " in markdown
        assert (row["p_value"] == "") == (entry["name"] == "dldl-v2")
    assert table["entries"][names.index("median")]["pearson"]["mean"] is None
    for picture in ("mae.png", "predictions.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")

    # The table is that of the predictions on disk.
    files = sorted((out / "predictions" / "er-l1").iterdir())
    assert [path.name for path in files] == [
        f"seed{seed}-fold{fold}.csv" for seed in (0, 1) for fold in (0, 1)
    ]
    folds = []
    for path in files:
        with path.open() as file:
            predicted = list(csv.DictReader(file))
        errors = [abs(float(row["prediction"]) - float(row["target"])) for row in predicted]
        folds.append(sum(errors) / len(errors))
    assert table["entries"][names.index("er-l1")]["mae"]["folds"] == pytest.approx(folds)

    before = {path: path.stat().st_mtime_ns for path in files}
    assert invoke("--methods", "er-l1,median", *FAST).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.parametrize("second", [[], ["--sweep"]])
def test_sweep(tmp_path: Path, second: list[str]) -> None:
    result = invoke(
        "--sweep", "lambda=0.1,1", *second, "label_step=60", *FAST, "--out", tmp_path
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = json.loads((tmp_path / "sweep.json").read_text())
    assert [entry["name"] for entry in table["entries"]] == [
        "lambda=1, step=30, K=12",
        "lambda=0.1, step=30, K=12",
        "lambda=1, step=60, K=7",
    ]
    assert table["reference"] == "lambda=1, step=30, K=12"
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "table.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "svm"], "got 'svm'"),
        (["--labels", "0,1"], "--labels must be min,max,step, got '0,1'"),
        (["--labels", "20,300,1"], "got y ="),
        (["--sigma", "-1"], "--sigma must be finite and >= 0"),
        (["--sweep", "gamma=1"], "a sweep is lambda="),
        (["--learning-rate", "0"], "learning_rate must be finite and > 0"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--data", "nowhere.csv"], "no such file or folder"),
        (["--folds", "500"], "folds must be from 2 to the number of rows, 442"),
    ],
)
def test_errors_are_one_message(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = invoke(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert message in flat(result.output)
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = invoke("--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "pip install 'dldl_fast[compare]'" in flat(result.output)
    assert not (tmp_path / "out").exists()


def test_stray_argument(tmp_path: Path) -> None:
    result = invoke("lambda=1", "--out", tmp_path)
    assert result.exit_code == 2
    assert "unexpected argument lambda=1" in flat(result.output)


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "from dldl_fast.cli import main; main()"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "compare",
            "--methods",
            "dldl-v2",
            "--epochs",
            "30",
            "--out",
            str(out),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wanted = out / "predictions" / "dldl-v2" / "seed0-fold0.csv"
    deadline = time.monotonic() + 120
    while not wanted.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command goes on from there" in flat(output)
    assert wanted.exists()
    assert not list(out.rglob("*.part*"))
