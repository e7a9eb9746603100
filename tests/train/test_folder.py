from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from dldl_fast.data import (
    DataError,
    LabelSpec,
    images,
    label_spec_of,
    load_data,
    picture_store,
    table_data,
)
from dldl_fast.data.images import read_image
from dldl_fast.data.official_augment import OfficialAugmentation

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

LABELS = LabelSpec(0, 10, 1, sigma=2.0, unit="label units")


def load(source: Path, **settings):
    return load_data(str(source), LABELS, image_size=32, **settings)


def test_pictures_labels_and_sigmas_stay_together(write_folder):
    sigma = [0.5, 0.25, 2.0, 0.0, 1.0]
    source = write_folder([1, 2.5, 0, 10, 7], extra={"sigma": sigma, "remark": list("abcde")})
    told = []
    data = load(source, test_fraction=0.4, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 5) for i in range(1, 6)]
    assert (len(data.train), len(data.test)) == (3, 2)
    seen = {}
    for part in (data.train, data.test):
        for row, (target, deviation) in enumerate(zip(part.target, part.sigma, strict=True)):
            assert (part.picture(row) == round(20 * target.item())).all()
            seen[target.item()] = deviation.item()
    assert seen == {1: 0.5, 2.5: 0.25, 0: 2.0, 10: 0.0, 7: 1.0}
    assert data.baseline in data.train.target
    assert data.name == "my faces"


def test_csv_path_and_no_sigma(write_folder):
    data = load(write_folder([1, 2, 3]) / "labels.csv", test_fraction=0.34)
    assert data.train.sigma is None
    assert data.name == "my faces"


def test_split_by_seed(write_folder):
    source = write_folder(list(range(10)))
    held_out = [tuple(load(source, seed=seed).test.target.tolist()) for seed in (0, 0, 1, 2, 3, 4)]
    assert held_out[0] == held_out[1]
    assert len(set(held_out)) > 1
    assert {len(rows) for rows in held_out} == {2}


def test_split_by_column(write_folder):
    source = write_folder([1, 2, 3], extra={"split": ["test", "train", "test"]})
    data = load(source)
    assert data.test.target.tolist() == [1, 3]
    assert data.train.target.tolist() == [2]


def test_validation_rows_are_whole_persons(write_folder):
    persons = [f"p{i // 3}" for i in range(30)]
    source = write_folder([i % 11 for i in range(30)], extra={"person": persons})
    data = load(source, validation_fraction=0.25, seed=3)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 6, 6)
    people = [
        {persons[row] for row in part.image_of.tolist()}
        for part in (data.train, data.validation, data.test)
    ]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    other = load(source, validation_fraction=0.25, seed=4)
    assert other.validation.image_of.tolist() != data.validation.image_of.tolist()


def test_a_validation_part_of_its_own(write_folder):
    extra = {"split": ["train", "validation", "test", "train"]}
    source = write_folder([1, 2, 3, 4], extra=extra)
    data = load(source)
    assert [part.target.tolist() for part in (data.train, data.validation, data.test)] == [
        [1, 4],
        [2],
        [3],
    ]
    with pytest.raises(DataError, match="has a validation part of its own; leave out"):
        load(source, validation_fraction=0.5)
    with pytest.raises(ValueError, match="validation_fraction must be between 0 and 1, got 1.5"):
        load(source, validation_fraction=1.5, protocol="random-80-20")


def test_public_data_sets_have_labels_of_their_own(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    for name in ("001A02", "001A30", "002A14", "003A50", "003A51"):
        Image.fromarray(np.full((40, 40), 100, np.uint8)).save(root / f"{name}.JPG")
    source = f"fg-net:{tmp_path}"
    assert label_spec_of(source) == LabelSpec(0, 100, 1, sigma=2.0, unit="years")
    data = load_data(source, label_spec_of(source), image_size=32, fold=1)
    assert (data.test.target.tolist(), data.unit, data.mirror) == ([14], "years", True)
    assert data.train.target.tolist() == [2, 30, 50, 51]
    narrow = LabelSpec(0, 50, 1, sigma=2.0, unit="years")
    with pytest.raises(DataError, match=r"label 51 of images/003A51.JPG is outside the label grid"):
        load_data(source, narrow, image_size=32)


def test_the_official_augmentation_and_mirroring(write_folder):
    source = write_folder([1, 2, 3])
    for mirror in (False, True):
        data = load(source, augmentation="official", mirror=mirror)
        assert data.augment_picture == OfficialAugmentation(flip=mirror)
        assert data.mirror == mirror
    assert load(source).augment_picture is None
    assert not load(source).mirror  # a label may have a side


def test_large_data_sets_are_decoded_into_the_cache(write_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = write_folder([1, 2, 3])
    load(source)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(table_data, "CACHED_BYTES", 3 * 3 * 32 * 32 - 1)
    cached = load(source)
    assert list((tmp_path / "cache" / "dldl_fast" / "pictures").iterdir())
    assert (cached.train.picture(0) == round(20 * cached.train.target[0].item())).all()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"aligned": Path(".")}, "--aligned"),
        ({"protocol": "official"}, "--protocol"),
        ({"validation_fraction": 0.1}, "--validation-fraction"),
        ({"augmentation": "official"}, "the official augmentation"),
    ],
)
def test_what_the_built_in_data_do_not_take(settings, name):
    with pytest.raises(ValueError, match=f"makes its own images and parts; leave out {name}"):
        load_data("head-roll", label_spec_of("head-roll"), image_size=32, **settings)


def test_spreadsheet_habits(write_folder):
    source = write_folder([1, 2])
    table = source / "labels.csv"
    table.write_bytes(b"\xef\xbb\xbfpath, label\r\n0.png, 1\r\n\r\n1.png ,2\r\n")
    assert sorted(load(source, test_fraction=0.5).train.target.tolist() + [1, 2]) in (
        [1, 1, 2],
        [1, 2, 2],
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", r"labels\.csv: the file is empty; expected columns path,label"),
        ("path,label\n", r"labels\.csv: the table has no rows"),
        ("file,label\n0.png,1\n", r"labels\.csv, row 1: no column 'path'.*got file,label"),
        ("path,age\n0.png,1\n", r"labels\.csv, row 1: no column 'label'.*got path,age"),
        ("path,label\n0.png,1\n1.png\n", r"labels\.csv, row 3: expected 2 fields, got 1"),
        ("path,label\n0.png,old\n", r"row 2: label must be a finite number, got 'old'"),
        ("path,label\n0.png,\n", r"row 2: label must be a finite number, got ''"),
        ("path,label\n0.png,1\n\n1.png,nan\n", r"row 4: label must be a finite number, got 'nan'"),
        ("path,label\n0.png,inf\n", r"row 2: label must be a finite number"),
        ("path,label\n0.png,10.5\n", r"row 2: label 10\.5 is outside the label grid \[0, 10\]"),
        ("path,label,sigma\n0.png,1,-2\n", r"row 2: sigma must be >= 0, got -2"),
        ("path,label,sigma\n0.png,1,x\n", r"row 2: sigma must be a finite number, got 'x'"),
        (
            "path,label,split\n0.png,1,val\n",
            r"row 2: split must be 'train' or 'validation' or 'test', got 'val'",
        ),
        ("path,label,split\n0.png,1,test\n", r"'official' leaves no rows to learn from"),
        ("path,label\n0.png,1\n", r"at least 2 items, got 1"),
        ("path,label\n0.png,1\nnone.png,2\n", r"labels\.csv, row 3: .*none\.png.*: no such file"),
        ("path,label\n0.png,1\n.,2\n", r"row 3: .*no such file"),
        ("path,label\n0.png,1\nlabels.csv,2\n", r"row 3: .*labels\.csv: not a readable picture"),
        ("path,label\n,1\n", r"row 2: path must be relative"),
        ("path,label\n../0.png,1\n", r"row 2: path must be relative .* without '\.\.'"),
        ("path,label\na/../../0.png,1\n", r"row 2: path must be relative"),
        ("path,label\n/etc/passwd,1\n", r"row 2: path must be relative"),
        ("path,label\nC:\\x.png,1\n", r"row 2: path must be relative"),
        ('path,label\n"0.png,1\n', r"labels\.csv: cannot be read"),
    ],
)
def test_bad_tables(write_folder, table, message):
    source = write_folder([1, 2])
    (source / "labels.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load(source)


def test_a_table_that_is_not_text(write_folder):
    source = write_folder([1, 2])
    (source / "labels.csv").write_bytes(b"path,label\n\xff\xfe.png,1\n")
    with pytest.raises(DataError, match=r"labels\.csv: not UTF-8 text"):
        load(source)


def test_zero_sigma_where_the_target_has_no_limit(write_folder):
    source = write_folder([1, 2], extra={"sigma": [1, 0]})
    with pytest.raises(DataError, match=r"row 3: sigma must be > 0 for this kind"):
        load(source, allow_zero_sigma=False)


def test_no_such_folder(tmp_path):
    with pytest.raises(
        DataError, match="no such file or folder; expected one, or NAME:PATH, where"
    ):
        load(tmp_path / "nothing")
    with pytest.raises(
        DataError, match=r"not a folder of labelled pictures .*: expected folders named by a label"
    ):
        load(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_links_must_not_lead_outside(write_folder, tmp_path):
    source = write_folder([1, 2])
    (tmp_path / "secret.png").write_bytes((source / "0.png").read_bytes())
    (source / "link.png").symlink_to(tmp_path / "secret.png")
    (source / "inner.png").symlink_to("0.png")
    table = source / "labels.csv"
    table.write_text("path,label\n0.png,1\ninner.png,1\n")
    assert len(load(source).train) == 1
    table.write_text("path,label\n0.png,1\nlink.png,2\n")
    with pytest.raises(DataError, match=r"row 3: path 'link\.png' leads outside"):
        load(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_opened(write_folder):
    source = write_folder([1, 2])
    (source / "1.png").unlink()
    os.mkfifo(source / "1.png")
    with pytest.raises(DataError, match=r"row 3: .*no such file"):
        load(source)


def test_damaged_picture(write_folder):
    source = write_folder([1, 2])
    path = source / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"labels\.csv, row 3: .*1\.png: not a readable picture"):
        load(source)


def test_memory_is_bounded_before_reading(write_folder, monkeypatch):
    source = write_folder([1, 2])
    monkeypatch.setattr(picture_store, "memory_limit", lambda: 2 * 3 * 32 * 32 - 1)
    monkeypatch.setattr(picture_store, "read_image", lambda *_: pytest.fail("was read"))
    with pytest.raises(DataError, match="2 pictures of 32 x 32 pixels take"):
        load(source)


def test_formats_that_start_programs_are_refused(tmp_path):
    path = tmp_path / "drawing.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n")
    with pytest.raises(DataError, match="not a readable picture"):
        read_image(path, 32)


def test_exif_orientation_middle_square_and_channels(tmp_path):
    pixels = np.zeros((80, 40, 3), np.uint8)
    pixels[:40, :, 0] = 200  # upper half red
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: the upper half becomes the right half
    path = tmp_path / "phone.png"
    Image.fromarray(pixels).save(path, exif=exif)
    picture = read_image(path, 40)
    assert picture.shape == (3, 40, 40)
    assert (picture[0, :, 22:] == 200).all()
    assert (picture[0, :, :18] == 0).all()
    assert (picture[1:] == 0).all()
    grey = read_image(path, 40, grey=True)
    assert grey.shape == (1, 40, 40)
    assert (grey[0, :, 22:] == round(0.299 * 200)).all()


def test_scaling_averages(tmp_path):
    path = tmp_path / "checker.png"
    board = np.indices((256, 256)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(path)
    assert (np.abs(read_image(path, 32)[0].astype(int) - 127) <= 1).all()


def test_normalise_is_per_channel():
    picture = torch.tensor([[0.0, 1.0]]).reshape(1, 1, 1, 2)
    actual = images.normalise(picture)
    for channel in range(3):
        expected = (torch.tensor([0.0, 1.0]) - images.MEAN[channel]) / images.STD[channel]
        torch.testing.assert_close(actual[0, channel, 0], expected)


def test_training_images_of_a_folder_are_never_mirrored(write_folder):
    data = load(write_folder([1, 2, 3]))
    ramp = torch.linspace(0, 1, 32).expand(64, 3, 32, 32)
    changed, target = data.augment(ramp, torch.arange(64.0), Generator().manual_seed(0))
    assert torch.equal(target, torch.arange(64.0))
    assert (changed[..., -1] > changed[..., 0]).all()
    assert not torch.equal(changed[0], changed[1])
    # Less than the shift, the zoom and the brightness can do together.
    assert (changed - ramp).abs().max() < 0.4
