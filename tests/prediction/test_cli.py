from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
import time
import zlib

import pytest
import torch

from dldl_fast.faces import FaceDetector
from dldl_fast.prediction import AgeEstimator
from tests.command_line import invoke
from tests.prediction.conftest import FakeDetector, face, picture

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
pytest.importorskip("typer.testing", reason="the extra cli is not installed")

COMMAND = [sys.executable, "-c", "from dldl_fast.cli import main; main()"]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """No line breaks."""
    monkeypatch.setenv("COLUMNS", "2000")


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def detector(monkeypatch):
    fake = FakeDetector(face(5, 5, 40), face(30, 20, 20))
    monkeypatch.setattr(FaceDetector, "from_cache", lambda **options: fake)
    return fake


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for number in (1, 2, 3):
        Image.fromarray(picture(number, 60, 60)).save(root / f"{number}.png")
    Image.new("RGB", (60, 60)).save(root / "dark.png")
    return root


def png(width: int, height: int, comment: bytes = b"") -> bytes:
    """A PNG that claims a size and is black, with a compressed comment."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(comment, 9))
    rows = zlib.compress(bytes((3 * 60 + 1) * 60))
    return b"\x89PNG\r\n\x1a\n" + header + text + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_folder(model, model_folder, folder, detector, tmp_path):
    out = tmp_path / "out.csv"
    result = invoke("predict", folder, "--model", model_folder, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "4 photos: 3 with a face, 1 taken whole" in result.output
    assert "4 predictions in years" in result.output
    estimator = AgeEstimator(model, detector=detector, device="cpu")
    found = rows(out)
    assert [row["status"] for row in found] == ["aligned", "aligned", "aligned", "whole"]
    for row in found:
        (prediction,) = estimator(folder / row["path"])
        assert float(row["value"]) == pytest.approx(prediction.value, abs=1e-4)
    assert [row["left"] for row in found] == ["5", "5", "5", ""]


def test_every_option(model, model_folder, folder, detector, tmp_path):
    out = tmp_path / "out.jsonl"
    result = invoke(
        "predict", folder, "--model", model_folder, "--out", out, "--distribution",
        "--annotate", tmp_path / "drawn", "--no-face", "skip", "--several", "all", "--no-flip",
        "--batch-size", 1, "--workers", 2, "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 skipped" in result.output
    assert "dark.png: no face found" in result.output
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["path"], row["face"]) for row in found[:3]] == [
        ("1.png", 0), ("1.png", 1), ("2.png", 0)
    ]  # fmt: skip
    estimator = AgeEstimator(model, detector=detector, several="all", flip=False, device="cpu")
    expected = estimator(folder / "1.png")[1].distribution
    assert found[1]["distribution"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert found[-1]["distribution"] is None
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == ["1.png.jpg", "2.png.jpg", "3.png.jpg"]


def test_no_align(model, model_folder, folder, tmp_path):
    out = tmp_path / "out.csv"
    arguments = ["predict", folder / "1.png", "--model", model_folder, "--out", out, "--no-align"]
    assert invoke(*arguments, "--flip").exit_code == 0
    expected = AgeEstimator(model, align=False, flip=True, device="cpu")(folder / "1.png")
    assert float(rows(out)[0]["value"]) == pytest.approx(expected[0].value, abs=1e-4)


def test_bad_files_have_rows_and_the_job_goes_on(model_folder, folder, detector, tmp_path):
    (folder / "a_bomb.png").write_bytes(png(50_000, 50_000))
    (folder / "b_text.jpg").write_text("no picture")
    (folder / "c_zip.png").write_bytes(png(60, 60, comment=bytes(200_000_000)))
    (folder / "c_harmless.png").write_bytes(png(60, 60, comment=b"hello"))
    whole = (folder / "1.png").read_bytes()
    (folder / "d_cut.png").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out.csv"
    result = invoke("predict", folder, "--model", model_folder, "--out", out)
    assert result.exit_code == 0, result.output
    assert "9 photos: 3 with a face, 2 taken whole, 4 not usable" in result.output
    reasons = {row["path"]: row["reason"] for row in rows(out) if row["status"] == "error"}
    assert "more pixels than the limit of 50,000,000" in reasons["a_bomb.png"]
    for name in ("b_text.jpg", "c_zip.png", "d_cut.png"):
        assert f"{name}: not a readable picture" in reasons[name]
    assert len(rows(out)) == 9


def test_paths_outside_of_a_tables_folder(model_folder, folder, detector, tmp_path):
    Image.fromarray(picture(9, 60, 60)).save(tmp_path / "outside.png")
    (folder / "some.csv").write_text("path\n../outside.png\n1.png\n")
    out = tmp_path / "out.csv"
    arguments = ["predict", folder / "some.csv", "--model", model_folder, "--out", out]
    assert invoke(*arguments).exit_code == 0
    first, second = rows(out)
    assert (first["status"], second["status"]) == ("error", "aligned")
    assert "some.csv, row 2: path must be relative" in first["reason"]
    assert invoke(*arguments, "--allow-outside").exit_code == 0
    assert [row["status"] for row in rows(out)] == ["aligned", "aligned"]


def test_exit_status_1_if_no_photo_could_be_used(model_folder, folder, detector, tmp_path):
    out = tmp_path / "out.csv"
    arguments = ["--model", model_folder, "--out", out, "--no-face", "error"]
    result = invoke("predict", folder / "dark.png", *arguments)
    assert result.exit_code == 1
    assert "dark.png: no face found" in result.output
    assert rows(out)[0]["status"] == "error"
    assert invoke("predict", folder, *arguments).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}", "--out", "p.xlsx"], "--out p.xlsx: expected a name that ends in .csv"),
        (["{folder}/nothing"], "no such file or folder"),
        (["{folder}/empty"], "empty: holds no photos"),
        (["{folder}", "--device", "toaster"], "device 'toaster' cannot be used"),
        (["{folder}", "--model", "{folder}"], "config.json: not the configuration"),
        (["{folder}", "--model", "{folder}/1.png"], "1.png: a file; expected the folder"),
        (["{folder}", "--model", "{folder}/none"], "none: no such folder"),
    ],
)
def test_errors_are_one_message(model_folder, folder, detector, tmp_path, arguments, message):
    (folder / "empty").mkdir()
    arguments = [argument.format(folder=folder) for argument in arguments]
    defaults = ["--model", model_folder, "--out", tmp_path / "out.csv"]
    result = invoke("predict", *defaults, *arguments)
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert result.output.startswith("Error:")
    assert "Traceback" not in result.output
    assert not (tmp_path / "out.csv").exists()


def test_missing_weights_of_the_detector(model_folder, folder, tmp_path):
    result = invoke("predict", folder, "--model", model_folder, "--weights", tmp_path)
    assert result.exit_code == 1
    assert "pnet.pt" in result.output


def test_ctrl_c_ends_with_130_and_whole_rows(model_folder, folder, detector, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    arguments = ["predict", folder, "--model", model_folder, "--out", out]
    arguments += ["--workers", 0, "--batch-size", 1]

    class Interrupted(FakeDetector):
        def __call__(self, pictures):
            if len(rows(out)) == 2:
                raise KeyboardInterrupt
            return super().__call__(pictures)

    with monkeypatch.context() as patch:
        patch.setattr(FaceDetector, "from_cache", lambda **_: Interrupted(*detector.faces))
        result = invoke(*arguments)
    assert (result.exit_code, result.output) == (130, "Interrupted.\n")
    assert [row["path"] for row in rows(out)] == ["1.png", "2.png"]
    assert "4 photos: 1 with a face, 1 taken whole, 2 done before" in invoke(*arguments).output


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_command_goes_on(model_folder, folder, tmp_path):
    (folder / "many.csv").write_text("path\n" + "1.png\n2.png\n3.png\n" * 20_000)
    out = tmp_path / "out.csv"
    arguments = ["predict", folder / "many.csv", "--model", model_folder, "--out", out]
    arguments += ["--no-align", "--batch-size", "4"]
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL)
    try:
        while not (out.exists() and out.stat().st_size > 2000):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    before = rows(out)
    assert [row["path"] for row in before] == [f"{i % 3 + 1}.png" for i in range(len(before))]
    assert all(row["value"] and row["reason"] == "" for row in before)
    # So that the rest is short.
    (folder / "many.csv").write_text("path\n" + "1.png\n2.png\n3.png\n" * (len(before) // 3 + 1))
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert f"{len(before)} done before" in result.output
    assert rows(out)[: len(before)] == before
    assert len(rows(out)) == 3 * (len(before) // 3 + 1)


def test_export(model, model_folder, tmp_path):
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = model(images)
    out = tmp_path / "deep" / "net.pt2"
    result = invoke("export", out, "--model", model_folder)
    assert result.exit_code == 0, result.output
    assert "images [N, 3, 32, 32], RGB in [0, 1], minus (0.5, 0.4, 0.3)" in result.output
    assert "divided by (0.2, 0.25, 0.3)" in result.output
    assert "labels 20 to 50" in result.output
    found = torch.export.load(out).module()(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_export_to_an_unknown_format(model_folder, tmp_path):
    result = invoke("export", tmp_path / "net.h5", "--model", model_folder)
    assert result.exit_code == 1
    assert "expected a name that ends in .onnx or .pt2" in result.output
