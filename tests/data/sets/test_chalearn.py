from __future__ import annotations

import re

import pytest

from dldl_fast.data.base import DataError
from dldl_fast.data.sets import read_appa_real, read_chalearn15, read_chalearn16

TREE_2015 = {
    "Train.csv": "image_1.jpg;20;1.96\nimage_2.jpg;35.5;0\n",
    "Validation.csv": "image_1.jpg;7;2.25\n",
    "Test.csv": "image_9.jpg;85;6\n",
}
PICTURES_2015 = [
    "Train/image_1.jpg",
    "Train/image_2.jpg",
    "Validation/image_1.jpg",
    "Test/image_9.jpg",
]


def test_chalearn15(make_tree):
    table = read_chalearn15(make_tree(TREE_2015, PICTURES_2015))
    assert table.name == "chalearn15"
    assert table.paths == tuple(PICTURES_2015)
    assert table.target.tolist() == [20, 35.5, 7, 85]
    assert table.sigma.tolist() == [1.96, 0, 2.25, 6]
    assert table.split == ("train", "train", "validation", "test")
    assert table.person is None and table.groups == {}
    assert len(table.spec.grid()) == 101
    assert table.note == (
        "Not the official number of pictures: train 2 instead of 2,476, "
        "validation 1 instead of 1,136, test 1 instead of 1,079."
    )


def test_chalearn15_without_a_test_part_in_the_released_codes_names(make_tree):
    tables = {
        "lists/train15_gt.csv": "a.jpg,20,3\n",
        "lists/valid15_gt.csv": "name,age,std\n\nb.jpg,30,4\n",
    }
    table = read_chalearn15(make_tree(tables, ["Train/a.jpg", "Valid/b.jpg"]))
    assert table.paths == ("Train/a.jpg", "Valid/b.jpg")
    assert table.target.tolist() == [20, 30]
    assert table.split == ("train", "validation")


def test_chalearn16(make_tree):
    tables = {
        "gt/train_gt.csv": "image,mean,stdv\n000001.jpg,18.2,3.1\n000003.jpg,4,1\n",
        "gt/valid_gt.csv": "image,mean,stdv\n000002.jpg,44,5\n",
        "gt/test_gt.csv": "image,mean,stdv\n000004.jpg,90,7\n",
    }
    pictures = [
        "images/train_1/000001.jpg",
        "images/train_2/000003.jpg",
        "images/valid/000002.jpg",
        "images/test_1/000004.jpg",
    ]
    table = read_chalearn16(make_tree(tables, pictures))
    assert table.paths == tuple(pictures)
    assert table.target.tolist() == [18.2, 4, 44, 90]
    assert table.sigma.tolist() == [3.1, 1, 5, 7]
    assert table.split == ("train", "train", "validation", "test")
    assert "train 2 instead of 4,113" in table.note
    assert "validation 1 instead of 1,500, test 1 instead of 1,978" in table.note


HEADER = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age\n"
APPA_REAL = {
    "gt_avg_train.csv": HEADER + "000000.jpg,36,5.0278,1.7,4\n",
    "gt_avg_valid.csv": HEADER + "000000.jpg,38,20.5,2.5,18\n",
    "gt_avg_test.csv": HEADER + "000002.jpg,40,69,4,71\n",
}
APPA_PICTURES = ["train/000000.jpg", "valid/000000.jpg", "test/000002.jpg"]


@pytest.mark.parametrize(
    ("read", "name"), [(read_appa_real, "appa-real"), (read_chalearn16, "chalearn16")]
)
def test_appa_real(make_tree, read, name):
    crops = [f"{picture}_face.jpg" for picture in APPA_PICTURES]
    table = read(make_tree(APPA_REAL, [*APPA_PICTURES, *crops]))
    assert table.name == name
    assert table.paths == tuple(APPA_PICTURES)
    assert table.target.tolist() == [5.0278, 20.5, 69]
    assert table.sigma.tolist() == [1.7, 2.5, 4]
    assert table.split == ("train", "validation", "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"Train.csv": "image_1.jpg;20\n"},
            r"Train\.csv, row 1: expected image, mean and stdv, got 2 fields",
        ),
        ({"Train.csv": "image_1.jpg;old;1\n"}, r"row 1: age must be a finite number, got 'old'"),
        (
            {"Train.csv": "image_1.jpg;20;-1\n"},
            r"row 1: standard deviation must be >= 0, got -1",
        ),
        (
            {"Train.csv": "image_1.jpg;101;1\n"},
            r"Train\.csv, row 1: label 101 is outside the labels of chalearn15, 0 to 100 years",
        ),
        (
            {"Train.csv": "image_1.jpg;1;1\nno.jpg;1;1\nnor.jpg;1;1\n"},
            r"Train\.csv, row 2: picture 'no\.jpg' is not below .*, nor are 1 others \(of 5",
        ),
        (
            {"Train.csv": "image_1.jpg;1;1\nimage_1.jpg;2;1\n"},
            r"Train\.csv, row 2: picture Train/image_1\.jpg has a label already, in .*, row 1",
        ),
        (
            {"more/train.csv": "image_2.jpg;1;1\n"},
            r"Train\.csv and more/train\.csv both have labels of the train part",
        ),
    ],
)
def test_bad_rows(make_tree, change, message):
    with pytest.raises(DataError, match=message):
        read_chalearn15(make_tree({**TREE_2015, **change}, PICTURES_2015))


def test_other_layouts(make_tree):
    root = make_tree({"readme.txt": ""}, ["faces/a.jpg", "faces/b.jpg"])
    message = (
        f"{root}: not a ChaLearn 2015 tree (no labels of the train part): expected Train.csv, "
        "Validation.csv, and the pictures in Train/ and Validation/; found faces/, readme.txt"
    )
    with pytest.raises(DataError, match=re.escape(message) + "$"):
        read_chalearn15(root)
    with pytest.raises(DataError, match="not an APPA-REAL tree.*gt_avg_train.csv.*found faces/"):
        read_appa_real(root)
    with pytest.raises(DataError, match=r"not a ChaLearn 2016 tree.*gt_avg_\*\.csv of APPA-REAL"):
        read_chalearn16(root)
    root = make_tree({"gt_avg_train.csv": "file,age\n"}, name="columns")
    make_tree({"gt_avg_valid.csv": HEADER, "gt_avg_test.csv": HEADER}, name="columns")
    with pytest.raises(DataError, match=r"gt_avg_train\.csv, row 1: no column 'file_name'"):
        read_appa_real(root)
    with pytest.raises(DataError, match="nothing: no such folder; expected an APPA-REAL tree with"):
        read_appa_real(root / "nothing")
