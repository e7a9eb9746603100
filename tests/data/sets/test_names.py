from __future__ import annotations

import pytest

from dldl_fast.data.base import DataError
from dldl_fast.data.sets import read_agedb, read_fg_net, read_utkface


def test_fg_net(make_tree):
    pictures = ["images/001A02.JPG", "images/001A43a.JPG", "images/082a16.jpg"]
    others = {"points/001a02.pts": "", "Data_files/readme.txt": "", "images/Thumbs.db": ""}
    root = make_tree(others, [*pictures, "images/._001A02.JPG"])
    table = read_fg_net(root)
    assert table.paths == tuple(pictures)
    assert table.target.tolist() == [2, 43, 16]
    assert table.person == ("001", "001", "082")
    assert table.split is None and table.sigma is None
    assert table.note == "Not the official number of pictures: all 3 instead of 1,002."
    assert read_fg_net(root / "images").paths == ("001A02.JPG", "001A43a.JPG", "082a16.jpg")


def test_agedb(make_tree):
    pictures = ["0_MariaCallas_35_f.jpg", "10_A_B_101_m.jpg", "2_MariaCallas_28_f.jpg"]
    table = read_agedb(make_tree(pictures=[f"AgeDB/{name}" for name in pictures]))
    assert table.paths == tuple(f"AgeDB/{name}" for name in pictures)
    assert table.target.tolist() == [35, 101, 28]
    assert table.person == ("MariaCallas", "A_B", "MariaCallas")
    assert table.groups == {"gender": ("female", "male", "female")}
    assert len(table.spec.grid()) == 102
    assert "all 3 instead of 16,488" in table.note


def test_utkface(make_tree):
    pictures = [
        "UTKFace/116_1_0_20170120134921760.jpg.chip.jpg",
        "UTKFace/24_0_1_20170116220224657 .jpg.chip.jpg",
        "UTKFace/26_0_4_20170116174525125.jpg.chip.jpg",
        "UTKFace/39_1_20170116174525125.jpg.chip.jpg",
        "UTKFace/55_0_0_20170116232725357jpg.chip.jpg",
    ]
    # The archive that many people use has copies of a part.
    copies = ["crop_part1/26_0_4_20170116174525125.jpg.chip.jpg", "x/" + pictures[0]]
    table = read_utkface(make_tree(pictures=[*pictures, *copies]))
    assert table.paths == tuple(pictures)
    assert table.target.tolist() == [116, 24, 26, 39, 55]
    assert table.groups == {
        "gender": ("female", "male", "male", "unknown", "male"),
        "race": ("White", "Black", "Others", "unknown", "White"),
    }
    assert table.person is None
    assert len(table.spec.grid()) == 117
    assert table.note == (
        "Gender and race are unknown in 1 incomplete names. "
        "Not the official number of pictures: all 5 instead of 23,708."
    )


@pytest.mark.parametrize(
    ("read", "picture", "message"),
    [
        (read_fg_net, "images/face.jpg", r"images/face\.jpg: expected a name like 001A02\.JPG"),
        (read_fg_net, "images/001A101.JPG", r"001A101\.JPG: label 101 is outside .* 0 to 100"),
        (read_fg_net, "faces/001A02.JPG", r"not an FG-NET tree: expected images/.*; found faces/$"),
        (read_agedb, "AgeDB/0_X_35.jpg", r"expected a name like 0_MariaCallas_35_f\.jpg"),
        (read_agedb, "AgeDB/0_X_102_f.jpg", r"label 102 is outside the labels of agedb, 0 to 101"),
        (read_agedb, "x/0_X_35_f.jpg", r"not an AgeDB tree"),
        (read_utkface, "UTKFace/x_1_0_2017.jpg", r"expected a name like 26_1_2_"),
        (read_utkface, "UTKFace/117_1_0_20170116.jpg", r"label 117 is outside .* 0 to 116 years"),
        (read_utkface, "y/26_1_2_20170116.jpg", r"not a UTKFace tree: expected UTKFace/\*\.jpg"),
    ],
)
def test_bad_trees(make_tree, read, picture, message):
    with pytest.raises(DataError, match=message):
        read(make_tree(pictures=[picture]))
