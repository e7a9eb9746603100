from __future__ import annotations

import csv
import json
import os
import re

import pytest
import torch

from dldl_fast.data import DataError
from dldl_fast.labels import label_grid
from dldl_fast.prediction import PictureResult, PredictionFile, read_predictions
from dldl_fast.prediction.result import predictions_of
from tests.prediction.conftest import face

LABELS = label_grid(1, 2, 0.1)


def results() -> list[PictureResult]:
    p = torch.rand(3, len(LABELS), dtype=torch.float64)
    faces = [face(10, 20, 30, 0.75), face(1.5, -2, 7), None]
    two, three = predictions_of(p[:2] / p[:2].sum(1, keepdim=True), LABELS, faces[:2]), None
    three = predictions_of(p[2:] / p[2:].sum(), LABELS, faces[2:])
    return [
        PictureResult('a, "b".jpg', tuple(two), "aligned"),
        PictureResult("c.jpg", tuple(three), "whole"),
        PictureResult("d.jpg", (), "error", "d.jpg: not a readable picture"),
    ]


@pytest.mark.parametrize("distribution", [False, True])
def test_csv_holds_every_number(tmp_path, distribution):
    all_results = results()
    with PredictionFile(tmp_path / "p.csv", LABELS if distribution else None) as file:
        file.write(all_results[:1])
        file.write(all_results[1:])
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["path"], row["face"], row["status"]) for row in rows] == [
        ('a, "b".jpg', "0", "aligned"),
        ('a, "b".jpg', "1", "aligned"),
        ("c.jpg", "0", "whole"),
        ("d.jpg", "", "error"),
    ]
    assert rows[3]["reason"] == "d.jpg: not a readable picture"
    predictions = [p for result in all_results for p in result.predictions]
    for row, prediction in zip(rows, predictions, strict=False):
        for name in ("value", "std", "q05", "q50", "q95"):
            assert float(row[name]) == pytest.approx(getattr(prediction, name), rel=1e-7)
    assert (rows[0]["left"], rows[0]["top"]) == ("10", "20")
    assert (rows[0]["right"], rows[0]["bottom"], rows[0]["score"]) == ("40", "50", "0.75")
    points = predictions[0].face.landmarks
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    for name, (x, y) in zip(names, points.tolist(), strict=True):
        assert float(rows[0][f"{name}_x"]) == pytest.approx(x)
        assert float(rows[0][f"{name}_y"]) == pytest.approx(y)
    assert rows[2]["left"] == rows[2]["nose_x"] == rows[3]["value"] == ""
    columns = [name for name in rows[0] if name.startswith("p_")]
    expected = [f"p_{number / 10:g}" for number in range(10, 21)] if distribution else []
    assert columns == expected
    for row, prediction in zip(rows, predictions, strict=False):
        found = [float(row[name]) for name in columns]
        wanted = prediction.distribution.tolist() if distribution else []
        assert found == pytest.approx(wanted, rel=1e-7)
    assert all(rows[3][name] == "" for name in columns)


def test_json_lines_hold_every_number(tmp_path):
    all_results = results()
    with PredictionFile(tmp_path / "p.jsonl", LABELS) as file:
        file.write(all_results)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    predictions = [p for result in all_results for p in result.predictions]
    for row, prediction in zip(rows, predictions, strict=False):
        assert row["value"] == prediction.value
        assert row["distribution"] == prediction.distribution.tolist()
        assert row["label_grid"] == {"min": 1.0, "max": 2.0, "step": 0.1}
    assert rows[0]["mouth_right_y"] == float(predictions[0].face.landmarks[4, 1])
    assert (rows[2]["left"], rows[3]["value"], rows[3]["distribution"]) == (None, None, None)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("distribution", [False, True])
def test_what_is_written_is_read(tmp_path, suffix, distribution):
    all_results = results()
    path = tmp_path / f"p.{suffix}"
    with PredictionFile(path, LABELS if distribution else None) as file:
        file.write(all_results)
    rows = list(read_predictions(path))
    assert [row.name for row in rows] == ['a, "b".jpg', 'a, "b".jpg', "c.jpg", "d.jpg"]
    assert [row.face for row in rows] == [0, 1, 0, None]
    assert (rows[3].value, rows[3].interval, rows[3].distribution) == (None, None, None)
    predictions = [p for result in all_results for p in result.predictions]
    for row, prediction in zip(rows, predictions, strict=False):
        assert row.value == pytest.approx(prediction.value, rel=1e-7)
        assert row.interval == pytest.approx((prediction.q05, prediction.q95))
        if distribution:
            torch.testing.assert_close(row.labels, LABELS, rtol=1e-11, atol=0)
            assert torch.allclose(row.distribution, prediction.distribution, rtol=1e-7)
        else:
            assert row.distribution is None


def test_append_goes_on(tmp_path):
    path = tmp_path / "deep" / "p.csv"
    first, second, third = results()
    for append, result in ((False, third), (False, first), (True, second)):
        with PredictionFile(path, append=append) as file:
            file.write([result])
    assert [row.name for row in read_predictions(path)] == ['a, "b".jpg'] * 2 + ["c.jpg"]
    assert path.read_text().count("path,status") == 1


def test_names_that_are_not_unicode(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    for suffix in ("csv", "jsonl"):
        path = tmp_path / f"p.{suffix}"
        with PredictionFile(path) as file:
            file.write([PictureResult(name, (), "skipped", "no face found")])
        path.read_text(encoding="utf-8")
        assert len(list(read_predictions(path))) == 1


def test_a_write_that_fails_leaves_whole_rows(tmp_path):
    class FullDisk:
        """Takes ten bytes of the second text and then no more."""

        def __init__(self, file):
            self.file, self.calls = file, 0

        def write(self, data):
            self.calls += 1
            if self.calls == 2:
                return self.file.write(data[:10])
            if self.calls > 2:
                raise OSError("No space left on device")
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    first, second, _ = results()
    with PredictionFile(tmp_path / "p.csv") as file:
        file._file = FullDisk(file._file)
        file.write([first])
        with pytest.raises(OSError, match="No space left"):
            file.write([second])
    assert [row.name for row in read_predictions(tmp_path / "p.csv")] == ['a, "b".jpg'] * 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "path,value\na,x\n", "p.csv, row 2: value must be a finite number, got 'x'"),
        ("p.csv", "path\na\n", "p.csv, row 1: no column 'value'"),
        ("p.csv", "path,value,p_1,p_2\na,1,.5,\n", "p.csv, row 2: ValueError: could not convert"),
        ("p.csv", "path,value,p_2,p_1\na,1,.5,.5\n", "labels must be strictly increasing"),
        ("p.jsonl", '{"path": "a"}\n[]\n', "p.jsonl, line 2: not JSON .expected an object"),
        ("p.jsonl", '{"path": "a",\n', "p.jsonl, line 1: not JSON"),
        ("p.jsonl", '{"value": 1}\n', "p.jsonl, line 1: KeyError: 'path'"),
        ("p.jsonl", '{"path": "a", "distribution": [1]}\n', "line 1: KeyError: 'label_grid'"),
        (
            "p.jsonl",
            '{"path": "a", "distribution": [1], "label_grid": {"values": [1, 2]}}\n',
            "expected a probability per label, got 1",
        ),
        ("p.jsonl", '{"path": "a", "value": [1]}\n', "line 1: "),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_predictions(tmp_path / name))


def test_other_kinds_of_files_are_refused(tmp_path):
    for make in (PredictionFile, lambda path: list(read_predictions(path))):
        with pytest.raises(ValueError, match=re.escape("ends in .csv or .jsonl")):
            make(tmp_path / "p.txt")
