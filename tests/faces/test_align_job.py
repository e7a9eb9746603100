"""Aligning many photos: what is written, and going on after an interruption."""

from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dldl_fast.data import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.label_spec import AGES
from dldl_fast.data.photos import Photo
from dldl_fast.faces import (
    AlignSummary,
    Face,
    align_face,
    align_job,
    align_photos,
    aligned_table,
    open_picture,
    read_manifest,
)
from dldl_fast.faces.align_job import _open
from dldl_fast.files import replace_file
from dldl_fast.resume import ResumeError
from tests.faces.marked_faces import find_marked, write_photo

pytest.importorskip("PIL", reason="the extra faces is not installed")

HEADER = (
    "source,crop,status,reason,face,faces,left,top,right,bottom,score,left_eye_x,left_eye_y,"
    "right_eye_x,right_eye_y,nose_x,nose_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y"
)


class CountingDetector:
    """Finds marked faces, and counts the photos that it is shown."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        self.seen += len(pictures)
        return find_marked(pictures)


def align(source: Path, out: Path, detector: Any = find_marked, **settings: Any) -> AlignSummary:
    return align_photos(source, out, detector, **{"size": 24, "workers": 2} | settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photos with 1, 1, 3, 0, 2, 1 faces and three that cannot be used."""
    folder = tmp_path / "photos"
    faces = {"a.jpg": 1, "a.png": 1, "b/c.PNG": 3, "b/d.tif": 0, "b/e/f.webp": 2, "g, h.bmp": 1}
    for seed, (name, count) in enumerate(faces.items()):
        write_photo(folder / name, seed, count)
    (folder / "b" / "text.jpg").write_text("hello")
    (folder / "b" / "empty.png").touch()
    (folder / "b" / "folder.jpg").mkdir()
    (folder / "notes.txt").write_text("not a photo")
    (folder / ".hidden.jpg").write_text("not a photo")
    (folder / "cut.png").write_bytes((folder / "a.jpg").read_bytes()[:500])
    return folder


ORDER = [
    *("a.jpg", "a.png", "cut.png", "g, h.bmp", "b/c.PNG", "b/d.tif", "b/empty.png", "b/text.jpg"),
    "b/e/f.webp",
]


def test_crops_and_manifest_of_a_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told: list[str] = []
    summary = align(photos, out, on_photo=lambda rows: told.append(rows[0].source))
    assert told == ORDER
    assert summary.statuses == {"aligned": 5, "whole": 1, "skipped": 3}
    assert (summary.crops, summary.kept) == (6, 0)
    assert summary.reasons == {"not a readable picture": 3}
    assert summary.examples == {"not a readable picture": "cut.png"}

    lines = (out / "manifest.csv").read_text().splitlines()
    assert lines[0] == HEADER
    with (out / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == ORDER
    for row in rows:
        if row["status"] == "skipped":
            assert row["reason"].startswith("not a readable picture (")
            assert not row["crop"]
            continue
        # a.jpg and a.png have crops of their own.
        assert row["crop"] == row["source"] + ".png"
        pixels = np.asarray(open_picture(photos / row["source"]))
        faces = find_marked([pixels])[0]
        assert int(row["faces"]) == len(faces)
        crop = np.asarray(open_picture(out / row["crop"]))
        if row["status"] == "whole":
            assert row["source"] == "b/d.tif"
            assert row["left"] == row["score"] == row["nose_x"] == ""
            continue
        np.testing.assert_array_equal(crop, align_face(pixels, faces[0].landmarks, 24))
        box = [float(row[name]) for name in ("left", "top", "right", "bottom")]
        np.testing.assert_allclose(box, faces[0].box, atol=5.1e-4)
        landmarks = [float(row[name]) for name in HEADER.split(",")[-10:]]
        np.testing.assert_allclose(landmarks, faces[0].landmarks.reshape(-1), atol=5.1e-4)
        assert float(row["score"]) == pytest.approx(faces[0].score, abs=1e-6)
    assert set(contents(out)) == {
        *(row["crop"] for row in rows if row["crop"]),
        "manifest.csv",
        "align.json",
    }


def test_all_faces(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = align(photos, out, several="all")
    assert summary.crops == 1 + 1 + 1 + 3 + 1 + 2
    rows = read_manifest(out)
    assert [row.crop for row in rows["b/c.PNG"]] == [f"b/c.PNG.{i}.png" for i in range(3)]
    assert [row.number for row in rows["b/c.PNG"]] == [0, 1, 2]
    assert {row.faces for row in rows["b/c.PNG"]} == {3}
    assert [row.crop for row in rows["b/d.tif"]] == ["b/d.tif.0.png"]
    pixels = np.asarray(open_picture(photos / "b/c.PNG"))
    for face, row in zip(find_marked([pixels])[0], rows["b/c.PNG"], strict=True):
        crop = np.asarray(open_picture(out / str(row.crop)))
        np.testing.assert_array_equal(crop, align_face(pixels, face.landmarks, 24))
        assert row.face is not None
        torch.testing.assert_close(row.face.landmarks, face.landmarks, atol=5.1e-4, rtol=0)
        assert row.face.box == pytest.approx(face.box, abs=5.1e-4)


@pytest.mark.parametrize("no_face", ["skip", "error"])
def test_photos_without_a_face_are_skipped(photos: Path, tmp_path: Path, no_face: str) -> None:
    summary = align(photos, tmp_path / "out", no_face=no_face)
    assert summary.statuses == {"aligned": 5, "skipped": 4}
    assert summary.reasons == {"not a readable picture": 3, "no face found": 1}
    (row,) = read_manifest(tmp_path / "out")["b/d.tif"]
    assert (row.status, row.reason, row.faces, row.crop) == ("skipped", "no face found", 0, None)


def test_landmarks_that_fit_nothing_are_the_photo_s_own_error(photos: Path, tmp_path: Path) -> None:
    def detector(pictures: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        found = find_marked(pictures)
        for faces in found:
            if len(faces) == 3:
                faces[0] = Face(faces[0].box, torch.ones(5, 2), 1.0)
        return found

    summary = align(photos, tmp_path / "out", detector)
    assert summary.statuses["aligned"] == 4
    assert read_manifest(tmp_path / "out")["b/c.PNG"][0].reason.startswith("cannot be aligned (")


@pytest.mark.parametrize("settings", [{"several": "all"}, {"no_face": "skip"}])
def test_a_finished_job_is_not_done_again(
    photos: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    first = align(photos, tmp_path / "out", **settings)
    before = contents(tmp_path / "out")
    counting = CountingDetector()
    told: list[str] = []
    second = align(
        *(photos, tmp_path / "out", counting),
        on_photo=lambda rows: told.append(rows[0].source),
        **settings,
    )
    assert counting.seen == 0
    assert contents(tmp_path / "out") == before
    assert sorted(told) == sorted(ORDER)
    assert (second.kept, second.crops) == (6, first.crops)
    assert (second.statuses, second.reasons) == (first.statuses, first.reasons)


def test_only_what_is_missing_is_done(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    align(photos, out, several="all")
    (out / "b/c.PNG.1.png").unlink()  # one crop of three
    write_photo(photos / "b/text.jpg", 20, 2)  # repaired
    write_photo(photos / "b/a new one.png", 21, 0)
    (photos / "a.png").unlink()
    counting = CountingDetector()
    summary = align(photos, out, counting, several="all")
    assert counting.seen == 3
    assert summary.kept == 4
    align(photos, tmp_path / "anew", several="all")
    expected = contents(tmp_path / "anew")
    found = contents(out)
    assert found.pop("a.png.0.png")  # crops are never deleted
    assert found == expected


def test_torn_lines_and_groups_are_done_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    align(photos, out, several="all")
    expected = contents(out)
    manifest = out / "manifest.csv"
    text = manifest.read_bytes()
    # Cut within a line; after the first of three faces; within the first line; at its end.
    places = [text.index(b"c.PNG.1"), text.index(b"b/c.PNG,b/c.PNG.1"), text.index(b"\n") + 9]
    for place in (*places, text.index(b"\n") + 1):
        manifest.write_bytes(text[:place])
        counting = CountingDetector()
        align(photos, out, counting, several="all")
        assert counting.seen > 0
        assert contents(out) == expected


def test_other_settings_or_photos_are_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    align(photos, out)
    for settings, message in (
        ({"size": 32}, "size = 24, other than now, 32"),
        ({"several": "all"}, "several = largest, other than now, all"),
        ({"no_face": "skip"}, "no_face = whole"),
    ):
        with pytest.raises(ResumeError, match=message):
            align(photos, out, **settings)
    with pytest.raises(ResumeError, match="input = .*photos, other than now, .*photos/b"):
        align(photos / "b", out)
    with pytest.raises(ValueError, match="folder of their own"):
        align(photos, photos)
    with pytest.raises(ValueError, match="size and workers must be >= 1, got 24 and 0"):
        align(photos, tmp_path / "new", workers=0)


def test_a_foreign_manifest_is_not_touched(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.csv").write_text("my,own\ntable,of\nmany,things\n")
    with pytest.raises(DataError, match=r"manifest\.csv: not a manifest; expected as its first"):
        align(photos, out)
    assert (out / "manifest.csv").read_text() == "my,own\ntable,of\nmany,things\n"


def test_crops_inside_of_the_folder_are_no_photos(photos: Path) -> None:
    summary = align(photos, photos / "b" / "crops")
    assert summary.statuses.total() == 9
    assert align(photos, photos / "b" / "crops").statuses.total() == 9
    assert (photos / "b/crops/b/e/f.webp.png").is_file()


def test_tables_and_paths_outside(photos: Path, tmp_path: Path) -> None:
    table = photos / "b" / "list.csv"
    outside = photos / "a.jpg"
    names = ["c.PNG", "./e/f.webp", "../a.jpg", str(outside), "none.png", "c.PNG", "_outside/x.png"]
    table.write_text("age,path\n" + "".join(f"1,{name}\n" for name in names))
    write_photo(photos / "b/_outside/x.png", 9)

    summary = align(table, tmp_path / "inside")
    assert summary.statuses == {"aligned": 3, "skipped": 4}
    rows = read_manifest(tmp_path / "inside")
    assert list(rows) == ["c.PNG", "e/f.webp", "../a.jpg", str(outside), *names[4:5], names[6]]
    for name in ("../a.jpg", str(outside)):
        assert rows[name][0].reason.startswith("path must be relative to the folder of the table")
    assert rows["none.png"][0].reason == "no such file"
    assert rows["_outside/x.png"][0].reason.startswith("_outside is the folder of other crops")

    summary = align(table, tmp_path / "everywhere", allow_outside=True)
    assert summary.statuses == {"aligned": 5, "skipped": 2}
    rows = read_manifest(tmp_path / "everywhere")
    inner = "_outside/" + str(outside.resolve().relative_to("/")) + ".png"
    for name in ("../a.jpg", str(outside)):
        assert rows[name][0].crop == inner
    pixels = np.asarray(open_picture(outside))
    expected = align_face(pixels, find_marked([pixels])[0][0].landmarks, 24)
    crop = np.asarray(open_picture(tmp_path / "everywhere" / inner))
    np.testing.assert_array_equal(crop, expected)
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.png")} == {
        *("photos", "inside", "everywhere")
    }


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_links(photos: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "secret.png", 30)
    folder = photos / "b" / "e"
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inner.png").symlink_to("f.webp")
    (folder / "more").symlink_to(tmp_path)
    align(folder, tmp_path / "out")
    rows = read_manifest(tmp_path / "out")
    assert rows["link.png"][0].reason.startswith("path 'link.png' leads outside")
    assert rows["inner.png"][0].status == "aligned"
    assert set(rows) == {"f.webp", "inner.png", "link.png"}
    align(folder, tmp_path / "allowed", allow_outside=True)
    assert read_manifest(tmp_path / "allowed")["link.png"][0].crop == "link.png.png"


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for seed, name in enumerate(['"quoted", 1.png', "ünï.png", "two\nlines.png", "a\udcff.png"]):
        write_photo(folder / name, seed)
    align(folder, tmp_path / "out")
    rows = read_manifest(tmp_path / "out")
    assert list(rows) == ['"quoted", 1.png', r"a\udcff.png", r"two\nlines.png", "ünï.png"]
    assert rows["ünï.png"][0].crop == "ünï.png.png"
    for name in (r"two\nlines.png", r"a\udcff.png"):
        assert rows[name][0].reason.startswith("the name is not one line of UTF-8 text")
    assert align(folder, tmp_path / "out").kept == 2


SLOWLY = """
import sys, time
from pathlib import Path
from dldl_fast.faces import align_photos
from tests.faces.marked_faces import find_marked

def detector(pictures):
    time.sleep(0.1)
    return find_marked(pictures)

align_photos(Path(sys.argv[1]), Path(sys.argv[2]), detector, size=24, workers=2, several="all")
"""


def test_a_killed_job_goes_on(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number in range(200):
        write_photo(photos / str(number % 7) / f"{number}.png", number, faces=number % 4)
        (photos / str(number % 7) / f"{number % 10}.jpg").write_text("not a photo")
    align(photos, out, several="all")
    expected = contents(out)
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    out.rmdir()

    manifest = out / "manifest.csv"
    job = subprocess.Popen([sys.executable, "-c", SLOWLY, str(photos), str(out)])
    deadline = time.monotonic() + 60
    while not manifest.exists() or manifest.stat().st_size <= len(HEADER) + 1:
        assert job.poll() is None, "ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert manifest.stat().st_size < len(expected["manifest.csv"])

    counting = CountingDetector()
    summary = align(photos, out, counting, several="all")
    assert 0 < counting.seen < 200
    assert summary.kept == 200 - counting.seen
    found = contents(out)
    # A file that was being written when the job was killed has a name of its own.
    assert {name: found[name] for name in expected} == expected
    assert all(".part." in name for name in found.keys() - expected.keys())


def test_a_job_that_goes_on_forms_the_same_batches(tmp_path: Path) -> None:
    for number in range(150):
        write_photo(tmp_path / "photos" / f"{number:03}.png", number)
        if number % 5 == 0:
            (tmp_path / "photos" / f"{number:03}.jpg").write_text("not a photo")
    batches: list[bytes] = []

    def detector(pictures: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        batches.append(np.stack(pictures).tobytes())
        return find_marked(pictures)

    def interrupted(pictures: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        if len(batches) == 3:
            raise KeyboardInterrupt
        return detector(pictures)

    align(tmp_path / "photos", tmp_path / "out", detector)
    expected = batches.copy()
    batches.clear()
    with pytest.raises(KeyboardInterrupt):
        align(tmp_path / "photos", tmp_path / "again", interrupted)
    before = len(batches)
    align(tmp_path / "photos", tmp_path / "again", detector)
    assert before == 3
    assert batches[before:] in (expected[2:], expected[3:])
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_few_photos_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(150):
        write_photo(tmp_path / "photos" / f"{number}.png", number, faces=number % 3)
    opened: list[weakref.ref[NDArray[np.uint8]]] = []
    most = 0

    def watched(photo: Photo) -> Any:
        nonlocal most
        result = _open(photo)
        assert result.pixels is not None
        opened.append(weakref.ref(result.pixels))
        most = max(most, sum(ref() is not None for ref in opened))
        return result

    monkeypatch.setattr(align_job, "_open", watched)
    align(tmp_path / "photos", tmp_path / "out", workers=2)
    assert len(opened) == 150
    # A batch, what is read ahead of it, and what is being written.
    assert 32 <= most <= 32 + 4 + 4
    assert not any(ref() is not None for ref in opened)


def test_a_full_disk_ends_the_job(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    align(photos, tmp_path / "anew")

    def full(path: Path, write: Callable[[Path], object]) -> None:
        if path.name.startswith("c.PNG"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_file(path, write)

    with monkeypatch.context() as patch:
        patch.setattr(align_job, "replace_file", full)
        with pytest.raises(OSError, match="No space left"):
            align(photos, out)
    align(photos, out)
    assert contents(out) == contents(tmp_path / "anew")


def faces(root: Path, paths: Sequence[str]) -> FaceTable:
    ages = torch.arange(float(len(paths)), dtype=torch.float64)
    return FaceTable("mine", AGES, root, tuple(paths), ages, person=tuple(paths), note="A note.")


def test_table_of_crops(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    align(photos, out, several="all")
    table = faces(photos, ["b/d.tif", "b/text.jpg", "b/c.PNG", "elsewhere.png", "a.jpg"])
    crops = aligned_table(table, out)
    assert crops.root == out
    assert crops.paths == ("b/d.tif.0.png", "b/c.PNG.0.png", "a.jpg.0.png")
    assert crops.target.tolist() == [0, 2, 4]
    assert crops.person == ("b/d.tif", "b/c.PNG", "a.jpg")
    assert crops.note.startswith("A note. 1 of 3 pictures are whole photos, without a face found.")
    assert "2 of 5 photos have no crop (not a readable picture" in crops.note
    assert "not in the manifest: 1" in crops.note
    assert aligned_table(faces(photos, ["a.jpg"]), out).note == "A note."
    with pytest.raises(DataError, match=r"no photo of mine has a crop there, such as 'x\.png'"):
        aligned_table(faces(photos, ["x.png"]), out)
    with pytest.raises(DataError, match=r"manifest\.csv: no such file; dldl-fast align makes it"):
        aligned_table(table, photos)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row[:-1], r"row 2: expected 21 fields and the end of the line, got 20"),
        (lambda row: [*row[:2], "done", *row[3:]], "row 2: status must be aligned, .* got 'done'"),
        (lambda row: [row[0], "", *row[2:]], "row 2: crop must be a path below .* got ''"),
        (lambda row: [row[0], "../a.png", *row[2:]], r"row 2: crop must be .* got '\.\./a.png'"),
        (lambda row: [row[0], "/a.png", *row[2:]], r"row 2: crop must be .* got '/a.png'"),
        (lambda row: [*row[:7], "nan", *row[8:]], "row 2: top must be a finite number, got 'nan'"),
        (lambda row: [*row[:4], "x", *row[5:]], "row 2: face must be a finite number, got 'x'"),
    ],
)
def test_damaged_manifests(
    photos: Path, tmp_path: Path, change: Callable[[list[str]], list[str]], message: str
) -> None:
    align(photos, tmp_path)
    manifest = tmp_path / "manifest.csv"
    lines = manifest.read_text().splitlines(keepends=True)
    lines[1] = ",".join(change(lines[1].rstrip("\n").split(","))) + "\n"
    manifest.write_text("".join(lines))
    with pytest.raises(DataError, match=rf"manifest\.csv, {message}"):
        read_manifest(tmp_path)
    manifest.write_text("".join(lines[:1]) + "a.jpg,a.jpg.png")
    with pytest.raises(DataError, match="run it again: it goes on from there"):
        read_manifest(tmp_path)
