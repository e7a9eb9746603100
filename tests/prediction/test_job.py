from __future__ import annotations

import csv

import pytest

from dldl_fast.data import DataError
from dldl_fast.prediction import AgeEstimator
from dldl_fast.prediction.job import run_job
from tests.prediction.conftest import FakeDetector, face, picture

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

SETTINGS = {"model": "m", "flip": None}


class Stop(BaseException):
    """Stands in for Ctrl-C and for the end of the process."""


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for number in range(8):
        name = f"sub/{number}.png" if number % 3 == 0 else f"{number}.png"
        Image.fromarray(picture(number, 60, 60)).save(root / name)
    (root / "bad.jpg").write_bytes(b"nothing")
    return root


@pytest.fixture
def estimator(model):
    detector = FakeDetector(face(5, 5, 40), face(30, 20, 20))
    return AgeEstimator(model, detector=detector, several="all", no_face="skip", device="cpu")


def run(estimator, folder, out, *, stop_after=None, settings=SETTINGS, **options):
    done = 0

    def progress():
        nonlocal done
        done += 1
        if done == stop_after:
            raise Stop

    options = {"batch_size": 2, **options}
    return run_job(estimator, folder, out, settings=settings, progress=progress, **options)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_photo_has_its_rows(estimator, folder, tmp_path):
    out = tmp_path / "out.csv"
    summary = run(estimator, folder, out)
    found = rows(out)
    names = list(dict.fromkeys(row["path"] for row in found))
    assert len(names) == 9
    assert summary.statuses.total() == 9
    assert summary.statuses["error"] == 1
    assert summary.faces == sum(row["value"] != "" for row in found)
    assert summary.statuses["aligned"] == summary.faces / 2 > 0
    assert any("bad.jpg: not a readable picture" in reason for reason in summary.reasons)
    for row in found:
        if row["status"] == "aligned":
            prediction = estimator(folder / row["path"])[int(row["face"])]
            assert float(row["value"]) == pytest.approx(prediction.value, abs=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "photos"]


@pytest.mark.parametrize("stop_after", [1, 4, 8])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_an_interrupted_job_goes_on_where_it_was(estimator, folder, tmp_path, stop_after, suffix):
    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    run(estimator, folder, whole, distribution=True)
    with pytest.raises(Stop):
        run(estimator, folder, out, distribution=True, stop_after=stop_after)
    before = out.read_text()
    assert whole.read_text().startswith(before)  # a valid file
    summary = run(estimator, folder, out, distribution=True)
    assert summary.done_before == stop_after
    assert summary.statuses.total() == 9 - stop_after
    assert out.read_text().startswith(before)
    for one, other in zip(out.read_text().split("\n"), whole.read_text().split("\n"), strict=True):
        assert one[:30] == other[:30]  # the last digits may depend on the batches
    assert run(estimator, folder, out, distribution=True).done_before == 0


def test_other_settings_begin_anew(estimator, folder, tmp_path):
    out = tmp_path / "out.csv"
    with pytest.raises(Stop):
        run(estimator, folder, out, stop_after=3)
    summary = run(estimator, folder, out, settings={**SETTINGS, "flip": True})
    assert (summary.done_before, summary.statuses.total()) == (0, 9)
    assert len({row["path"] for row in rows(out)}) == 9


def test_photos_that_changed_since_are_noticed(estimator, folder, tmp_path):
    out = tmp_path / "out.csv"
    with pytest.raises(Stop):
        run(estimator, folder, out, stop_after=3)
    (folder / "1.png").rename(folder / "0.png")
    with pytest.raises(DataError, match="holds a row of '1.png' where .* would have '0.png'"):
        run(estimator, folder, out)


def test_a_photo_that_is_named_twice_is_predicted_twice(estimator, folder, tmp_path):
    (folder / "twice.csv").write_text("path\n1.png\n1.png\n2.png\n")
    out = tmp_path / "out.csv"
    with pytest.raises(Stop):
        run(estimator, folder / "twice.csv", out, stop_after=2)
    assert run(estimator, folder / "twice.csv", out).done_before == 2
    first = [row["path"] for row in rows(out) if row["face"] in ("", "0")]
    assert first == ["1.png", "1.png", "2.png"]


def test_annotated_pictures_stay_in_their_folder(estimator, folder, tmp_path):
    (tmp_path / "outside.png").write_bytes((folder / "1.png").read_bytes())
    (folder / "some.csv").write_text(f"path\n1.png\n../outside.png\n{folder}/sub/3.png\nbad.jpg\n")
    drawn = tmp_path / "drawn"
    summary = run(
        estimator, folder / "some.csv", tmp_path / "o.csv", annotate=drawn, allow_outside=True
    )
    assert summary.statuses["error"] == 1
    found = [path.relative_to(drawn).as_posix() for path in drawn.rglob("*") if path.is_file()]
    absolute = (folder / "sub/3.png.jpg").as_posix().lstrip("/")
    assert sorted(found) == sorted(["1.png.jpg", "outside.png.jpg", absolute])
    with Image.open(drawn / "1.png.jpg") as opened:
        assert (opened.size, opened.format) == ((480, 480), "JPEG")


def test_annotated_pictures_below_the_photos_are_no_photos(estimator, folder, tmp_path):
    out, drawn = tmp_path / "out.csv", folder / "drawn"
    first = run(estimator, folder, out, annotate=drawn)
    assert list(drawn.iterdir())
    again = run(estimator, folder, out, annotate=drawn)
    assert first.statuses == again.statuses
    with pytest.raises(Stop):
        run(estimator, folder, out, annotate=drawn, stop_after=3)
    assert run(estimator, folder, out, annotate=drawn).done_before == 3
