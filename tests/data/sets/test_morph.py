from __future__ import annotations

import pytest

from dldl_fast.data.base import DataError
from dldl_fast.data.sets import read_morph

HEADER = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo\n"
TABLE = HEADER + (
    "000001,0,01/01/1980,02/03/2000,B,M,,20,0,,Album2/000001_00M20.JPG\n"
    "000001,1,01/01/1980,02/03/2003,B,M,,23,3,,Album2/000001_01M23.JPG\n"
    "311,0,01/01/1950,02/03/2004,W,F,,54,0,,Album2/000311_00F54.JPG\n"
)
PICTURES = ["Album2/000001_00M20.JPG", "Album2/000001_01M23.JPG", "Album2/000311_00F54.JPG"]


@pytest.mark.parametrize("name", ["morph_2008_nonCommercial.csv", "CD2/MORPH_Album2_comp.csv"])
def test_with_a_table(make_tree, name):
    eyes = {"MORPH_Album2_EYECOORDS.csv": "photo,leye\n000001_00M20.JPG,3\n"}
    wide = {"MORPH_Album2_comp with height and weight.csv": TABLE.replace(",20,", ",99,")}
    copies = ["aligned/" + PICTURES[0], "other/000311_00F54.JPG"]
    table = read_morph(make_tree({name: TABLE, **eyes, **wide}, [*PICTURES, *copies]))
    assert table.paths == tuple(PICTURES)
    assert table.target.tolist() == [20, 23, 54]
    assert table.sigma is None and table.spec.sigma == 2
    assert table.person == ("000001", "000001", "311")
    assert table.groups == {"gender": ("M", "M", "F"), "race": ("B", "B", "W")}
    assert table.split is None
    assert table.note == "Not the official number of pictures: all 3 instead of 55,134."


def test_from_names(make_tree):
    root = make_tree(pictures=PICTURES)
    for folder in (root, root / "Album2"):
        table = read_morph(folder)
        assert table.target.tolist() == [20, 23, 54]
        assert table.person == ("000001", "000001", "000311")
        assert table.groups == {"gender": ("M", "M", "F")}
        assert table.note.startswith("The labels are those in the file names")
    assert table.paths == tuple(path.removeprefix("Album2/") for path in PICTURES)


@pytest.mark.parametrize(
    ("tables", "pictures", "message"),
    [
        ({}, ["x/a.jpg"], r"not a MORPH tree: expected Album2/\*\.JPG and .*; found x/$"),
        ({}, ["Album2/a.jpg"], r"Album2/a\.jpg: expected a name like 000001_00M20\.JPG"),
        ({"morph.csv": TABLE}, PICTURES[:1], r"row 3: picture 'Album2/000001_01M23\.JPG' is not"),
        ({"morph.csv": TABLE.replace(",23,", ",,")}, PICTURES, r"row 3: age must be .*, got ''"),
        ({"morph.csv": TABLE.replace("311,", ",")}, PICTURES, r"row 4: id_num is empty"),
        (
            {"morph.csv": TABLE},
            ["a/000001_00M20.jpg", "x/Album2/000001_00M20.jpg", "y/Album2/000001_00M20.JPG"],
            r"row 2: picture 'Album2/000001_00M20\.JPG' could be x/Album2/.* or y/Album2/",
        ),
    ],
)
def test_bad_trees(make_tree, tables, pictures, message):
    with pytest.raises(DataError, match=message):
        read_morph(make_tree(tables, pictures))
