from __future__ import annotations

import os

import pytest

from dldl_fast.data.base import DataError
from dldl_fast.data.label_spec import LabelSpec
from dldl_fast.data.sets import DATA_SETS, open_source, read_csv, read_data_set, read_folder

CSV = (
    "split,path,label,sigma,person,gender,camera\n"
    "train,a.jpg,20,1.5,ann,F,x\n"
    "validation,more/b.jpg,30.5,0,bob,M,y\n"
    "test,./c.jpg,100,2,ann,F,x\n"
)
PICTURES = ["a.jpg", "more/b.jpg", "c.jpg"]


@pytest.mark.parametrize("file", ["", "labels.csv"])
def test_csv(make_tree, file):
    root = make_tree({"labels.csv": CSV}, PICTURES)
    table = read_csv(root / file)
    assert table.name == "tree"
    assert table.root == root
    assert table.paths == ("a.jpg", "more/b.jpg", "c.jpg")
    assert table.target.tolist() == [20, 30.5, 100]
    assert table.sigma.tolist() == [1.5, 0, 2]
    assert table.split == ("train", "validation", "test")
    assert table.person == ("ann", "bob", "ann")
    assert table.groups == {"gender": ("F", "M", "F"), "camera": ("x", "y", "x")}


def test_csv_with_the_least(make_tree):
    spec = LabelSpec(-5, 5, 0.5, sigma=1, unit="points")
    table = read_csv(
        make_tree({"points.csv": "path,label\na.jpg,-5\n"}, ["a.jpg"]) / "points.csv", spec
    )
    assert table.name == "points" and table.spec is spec
    assert table.target.tolist() == [-5]
    assert (table.sigma, table.split, table.person, table.groups) == (None, None, None, {})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "train,no.jpg,1,1,ann,F,x\n" * 2,
            r"row 5: picture 'no\.jpg': no such file \(and 1 more\)",
        ),
        ("train,more,1,1,ann,F,x\n", r"row 5: picture 'more': no such file$"),
        ("val,a.jpg,1,1,ann,F,x\n", r"row 5: split must be 'train' or 'validation' or 'test', got"),
        ("train,a.jpg,1,1,,F,x\n", r"row 5: person is empty"),
        ("train,a.jpg,101,1,ann,F,x\n", r"row 5: label 101 is outside the label grid \[0, 100\]"),
        ("train,../a.jpg,1,1,ann,F,x\n", r"row 5: path must be relative"),
        ("train,a.jpg,1,-1,ann,F,x\n", r"row 5: sigma must be >= 0, got -1"),
    ],
)
def test_bad_rows(make_tree, row, message):
    root = make_tree({"labels.csv": CSV + row}, PICTURES)
    with pytest.raises(DataError, match=message):
        read_csv(root)


def test_a_sigma_of_zero_may_be_refused(make_tree):
    root = make_tree({"labels.csv": CSV}, PICTURES)
    with pytest.raises(DataError, match="row 3: sigma must be > 0"):
        open_source(str(root), allow_zero_sigma=False)


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_pictures_outside_only_where_allowed(make_tree):
    outside = make_tree(pictures=["x.jpg"], name="outside")
    rows = f"path,label\na.jpg,1\nlink.jpg,2\n../outside/x.jpg,3\n{outside}/x.jpg,4\n"
    root = make_tree({"labels.csv": rows}, ["a.jpg"])
    (root / "link.jpg").symlink_to(outside / "x.jpg")
    with pytest.raises(DataError, match=r"row 3: path 'link\.jpg' leads outside"):
        open_source(f"csv:{root}/labels.csv")
    table = open_source(f"csv:{root}/labels.csv", allow_outside=True)
    assert table.paths == ("a.jpg", *[f"{outside}/x.jpg"] * 3)
    assert all((table.root / path).is_file() for path in table.paths)


def test_folder(make_tree):
    root = make_tree({"notes.txt": ""}, ["25/a.jpg", "25/more/b.png", "31.5/a.jpg", "4/z.JPEG"])
    table = read_folder(root)
    assert table.name == "tree"
    assert table.paths == ("25/a.jpg", "25/more/b.png", "31.5/a.jpg", "4/z.JPEG")
    assert table.target.tolist() == [25, 25, 31.5, 4]
    assert table.note == ""


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("old/a.jpg", r"old/a\.jpg: the name of the folder must be a finite number, got 'old'"),
        ("a.jpg", r"a\.jpg: expected it in a folder that is named by its label, such as 25/, or a"),
        ("101/a.jpg", r"101/a\.jpg: label 101 is outside the labels of tree, 0 to 100 years"),
    ],
)
def test_bad_folders(make_tree, picture, message):
    with pytest.raises(DataError, match=message):
        read_folder(make_tree(pictures=["1/x.jpg", picture]))


def test_open_source(make_tree):
    points = LabelSpec(0, 40, 0.5, sigma=1, unit="points")
    folder = make_tree(pictures=["25/a.jpg"], name="folders")
    table = make_tree({"labels.csv": "path,label\na.jpg,3\n"}, ["a.jpg"], name="table")
    fg_net = make_tree(pictures=["images/001A02.JPG"], name="fg")
    for text, name, spec in (
        (f"{folder}", "folders", points),
        (f"folder:{folder}", "folders", points),
        (f"{table}", "table", points),
        (f"{table}/labels.csv", "table", points),
        (f"csv:{table}/labels.csv", "table", points),
        (f"fg-net:{fg_net}", "fg-net", DATA_SETS["fg-net"].spec),
    ):
        opened = open_source(text, spec=points)
        assert (opened.name, opened.spec) == (name, spec), text
    message = (
        "mroph:/data/x: no such file or folder; expected one, or NAME:PATH, where NAME is one of "
        "chalearn15, chalearn16, morph, scut-fbp, fbp5500, cfd, utkface, fg-net, agedb, appa-real, "
        "adience, "
        "csv, folder"
    )
    with pytest.raises(DataError, match=message):
        open_source("mroph:/data/x")


def test_read_data_set_by_name(make_tree):
    assert read_data_set("fg-net", make_tree(pictures=["001A02.JPG"])).target.tolist() == [2]
    with pytest.raises(
        ValueError, match="no data set 'fgnet'; expected one of chalearn15, .*fg-net"
    ):
        read_data_set("fgnet", make_tree())
