from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from dldl_fast.data.base import DataError, MissingExtraError
from dldl_fast.data.protocols import split_rows
from dldl_fast.data.sets import read_cfd, read_fbp5500, read_scut_fbp, sheets

FBP = ["Data_Collection/SCUT-FBP-1.jpg", "Data_Collection/SCUT-FBP-12.jpg"]
RATINGS = [["Image", "Attractiveness label", "Standard deviation"], [1, 2.614, 0.79], [12, 3, 0]]


def as_csv(rows: Sequence[Sequence[object]]) -> str:
    return "".join(
        ",".join("" if cell is None else str(cell) for cell in row) + "\n" for row in rows
    )


def write_workbook(path: Path, **sheets: Sequence[Sequence[object]]) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra sets is not installed")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def check_scut_fbp(root: Path) -> None:
    table = read_scut_fbp(root)
    assert table.paths == tuple(FBP)
    assert table.target.tolist() == [2.614, 3]
    assert table.sigma.tolist() == [0.79, 0]
    assert table.person == ("1", "12")
    assert len(table.spec.grid()) == 41
    assert table.note == "Not the official number of pictures: all 2 instead of 500."


def test_scut_fbp_from_csv(make_tree):
    copies = ["Crop/SCUT-FBP-1.jpg"]
    check_scut_fbp(
        make_tree({"Rating_Collection/Attractiveness label.csv": as_csv(RATINGS)}, FBP + copies)
    )


def test_scut_fbp_from_a_workbook(make_tree):
    root = make_tree(pictures=FBP)
    write_workbook(root / "Rating_Collection/Attractiveness label.xlsx", Sheet1=RATINGS)
    check_scut_fbp(root)


def test_a_csv_file_comes_before_the_workbook(make_tree):
    tables = {"AttractivenessLabel.csv": as_csv(RATINGS), "Attractiveness label.xlsx": "no zip"}
    check_scut_fbp(make_tree(tables, FBP))


def test_without_openpyxl(make_tree, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    root = make_tree({"Attractiveness label.xlsx": ""}, FBP)
    message = r"Attractiveness label\.xlsx: .*'openpyxl'.*pip install 'dldl_fast\[sets\]', or save"
    with pytest.raises(MissingExtraError, match=message):
        read_scut_fbp(root)


def test_damaged_and_huge_workbooks(make_tree, monkeypatch):
    pytest.importorskip("openpyxl", reason="the extra sets is not installed")
    root = make_tree({"Attractiveness label.xlsx": "no zip"}, FBP)
    book = root / "Attractiveness label.xlsx"
    with pytest.raises(DataError, match="xlsx: cannot be read as a workbook"):
        read_scut_fbp(root)
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match="xlsx: cannot be read as a workbook"):
        read_scut_fbp(root)
    write_workbook(book, Sheet1=RATINGS)
    monkeypatch.setattr(sheets, "MAX_WORKBOOK_BYTES", 100)
    with pytest.raises(DataError, match=r"xlsx: unpacks to .* GiB; expected at most"):
        read_scut_fbp(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2.6,0.8\n12,x,1\n", r"label\.csv, row 2: mean rating must be a finite number, got 'x'"),
        ("1,2.6,0.8\n12,3\n", r"row 2: expected number of the picture, .*, got '12,3'"),
        ("1,2.6,0.8\ntwo,3,1\n", r"row 2: expected number of the picture, .*, got 'two,3,1'"),
        ("1,2.6,-1\n", r"row 1: standard deviation must be >= 0, got -1"),
        ("1,5.1,1\n", r"row 1: label 5\.1 is outside the labels of scut-fbp, 1 to 5 points"),
        ("7,2,1\n", r"row 1: picture 'SCUT-FBP-7\.jpg' is not below"),
        ("", r"not a SCUT-FBP tree \(no labels\)"),
    ],
)
def test_bad_ratings(make_tree, text, message):
    with pytest.raises(DataError, match=message):
        read_scut_fbp(make_tree({"Attractiveness label.csv": text}, FBP))


IMAGES = ["Images/AF1.jpg", "Images/CM10.jpg", "Images/AM3.jpg", "Images/CF7.jpg", "Images/CF8.jpg"]
LABELS = "AF1.jpg 2.5\nCM10.jpg 3.333333\nAM3.jpg 1\nCF7.jpg 4\nCF8.jpg 5\n"
LINE = dict(zip(("AF1", "CM10", "AM3", "CF7", "CF8"), LABELS.splitlines(True), strict=True))
SPLIT = "train_test_files/split_of_60%training and 40%testing"
FOLDS = "train_test_files/5_folders_cross_validations_files"
FBP5500 = {
    "train_test_files/All_labels.txt": LABELS,
    f"{SPLIT}/train.txt": LINE["CM10"] + LINE["AF1"] + LINE["CF8"],
    f"{SPLIT}/test.txt": LINE["AM3"] + LINE["CF7"],
    **{
        f"{FOLDS}/cross_validation_{k}/test_{k}.txt": LINE[name]
        for k, name in enumerate(("AM3", "CF7", "AF1", "CF8", "CM10"), start=1)
    },
    f"{FOLDS}/cross_validation_1/train_1.txt": LINE["AF1"],
}
ALL_RATINGS = [
    ["Rater", "Filename", "Rating", "original Rating"],
    [1, "AF1.jpg", 2, None],
    [2, "AF1.jpg", 3, None],
    [1, "CM10.jpg", 2, 5],
    [2, "CM10.jpg", 4, None],
    [3, "CM10.jpg", 4, None],
    [1, "AM3.jpg", 1, None],
    [1, "CF7.jpg", 3, None],
    [2, "CF7.jpg", 5, None],
    [1, "CF8.jpg", 5, None],
]


def check_fbp5500(root: Path) -> None:
    table = read_fbp5500(root)
    assert table.paths == tuple(IMAGES)
    assert table.target.tolist() == [2.5, 3.333333, 1, 4, 5]
    assert table.sigma.tolist() == pytest.approx([0.5, (8 / 9) ** 0.5, 0, 1, 0], abs=1e-12)
    assert table.split == ("train", "train", "test", "test", "train")
    assert table.fold == (2, 4, 0, 1, 3)
    assert table.groups == {
        "gender": ("female", "male", "male", "female", "female"),
        "race": ("Asian", "Caucasian", "Asian", "Caucasian", "Caucasian"),
    }
    note = "Not the official number of pictures: train 3 instead of 3,300, test 2 instead of 2,200."
    assert table.note == note
    assert split_rows(table, "official").test.tolist() == [False, False, True, True, False]
    third = split_rows(table, "five-fold", fold=2)
    assert third.test.tolist() == [True, False, False, False, False]


def test_fbp5500_with_ratings_in_csv(make_tree):
    check_fbp5500(make_tree({**FBP5500, "All_Ratings.csv": as_csv(ALL_RATINGS)}, IMAGES))


def test_fbp5500_with_ratings_in_a_workbook(make_tree):
    root = make_tree(FBP5500, IMAGES)
    write_workbook(root / "All_Ratings.xlsx", Asian_Female=[["Filename"]], ALL=ALL_RATINGS)
    check_fbp5500(root)


def test_fbp5500_with_labels_alone_and_the_first_releases_names(make_tree):
    labels = "ftw1.jpg 2.5\nmty12.jpg 3\n"
    root = make_tree({"All_labels.txt": labels}, ["Images/ftw1.jpg", "Images/mty12.jpg"])
    table = read_fbp5500(root)
    assert table.sigma is None and table.split is None and table.fold is None
    assert table.groups == {"gender": ("female", "male"), "race": ("Caucasian", "Asian")}
    assert table.note == (
        "The tree has no ratings (sigma is 0.5 for all), no split, no folds. "
        "Not the official number of pictures: all 2 instead of 5,500."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{SPLIT}/test.txt": LINE["AM3"]}, r"row 4: picture 'CF7\.jpg' is in none of the lists"),
        (
            {f"{SPLIT}/test.txt": LINE["AM3"] + LINE["CF7"] + LINE["AF1"]},
            r"picture 'AF1\.jpg' is in another part, too",
        ),
        (
            {"train_test_files/All_labels.txt": LABELS + "AF9.jpg\n"},
            r"All_labels\.txt, row 6: expected picture and label, got 'AF9\.jpg'",
        ),
        (
            {"train_test_files/All_labels.txt": "x.jpg 3\n", f"{SPLIT}/test.txt": "x.jpg 3\n"},
            r"is in none of the lists|expected a name like AF1\.jpg, got 'x\.jpg'",
        ),
        (
            {"All_Ratings.csv": as_csv(ALL_RATINGS[:-1])},
            r"row 5: picture 'CF8\.jpg' has no ratings in .*All_Ratings\.csv",
        ),
        (
            {"All_Ratings.csv": as_csv([*ALL_RATINGS, [9, "AM3.jpg", 2, None]])},
            r"row 3: label 1 of AM3\.jpg is not the mean of its ratings in .*, 1\.5; the files are",
        ),
        (
            {"All_Ratings.csv": as_csv([*ALL_RATINGS, [9, "AM3.jpg", "", None]])},
            r"All_Ratings\.csv, row 11: Rating must be a finite number",
        ),
        (
            {"All_Ratings.csv": "Rater,Name\n"},
            r"row 1: expected columns Rater,Filename,Rating, got",
        ),
        (
            {"other/All_labels.txt": LABELS},
            r"not a SCUT-FBP5500 tree \(.* could both be the labels",
        ),
    ],
)
def test_bad_fbp5500(make_tree, change, message):
    with pytest.raises(DataError, match=message):
        read_fbp5500(make_tree({**FBP5500, **change}, IMAGES))


CFD = [
    "Images/CFD/AF-200/CFD-AF-200-228-N.jpg",
    "Images/CFD/BM-001/CFD-BM-001-014-N.jpg",
    "Images/CFD/WF-020/CFD-WF-020-003-N.jpg",
]
CFD_OTHERS = [
    "Images/CFD/BM-001/CFD-BM-001-015-HO.jpg",
    "Images/CFD-MR/MF-300/CFD-MF-300-001-N.jpg",
    "Images/CFD-INDIA/IF-601/CFD-IF-601-517-N.jpg",
]
NORMS_3 = [
    ["CFD 3.0", None, None, None, None, None],
    [None] * 6,
    ["Model", "EthnicitySelf", "GenderSelf", "AgeSelf", "Angry", "Attractive"],
    [None, None, None, None, "Angry", "Attractive"],
    ["AF-200", "A", "F", None, 2.1, 4.11],
    ["BM-001", "B", "M", 30, 2.2, 3],
    ["WF-020", "W", "F", 31, 2.3, 2.7931],
    [None] * 6,
]
NORMS_2 = [
    ["Target", "Race", "Gender", "Age", "Attractive"],
    *[[row[0], row[1], row[2], 3, row[5]] for row in NORMS_3[4:7]],
]


def check_cfd(root: Path) -> None:
    table = read_cfd(root)
    assert table.paths == tuple(CFD)
    assert table.target.tolist() == [4.11, 3, 2.7931]
    assert table.sigma is None and table.spec.sigma == 0.5
    assert table.person == ("AF-200", "BM-001", "WF-020")
    assert table.groups == {"gender": ("F", "M", "F"), "race": ("A", "B", "W")}
    assert len(table.spec.grid()) == 61
    assert table.note == (
        "Attractiveness is relative to others of the same race and gender. "
        "Not the official number of pictures: all 3 instead of 597."
    )


@pytest.mark.parametrize("norms", [NORMS_3, NORMS_2])
def test_cfd_from_csv(make_tree, norms):
    tables = {"CFD Norming Data.csv": as_csv(norms), "~$CFD Norming Data.csv": "a lock"}
    check_cfd(make_tree(tables, CFD + CFD_OTHERS))


@pytest.mark.parametrize(
    ("name", "sheet", "norms"),
    [("3.0", "CFD U.S. Norming Data", NORMS_3), ("2.0.3", "CFD 2.0.3 Norming Data", NORMS_2)],
)
def test_cfd_from_a_workbook(make_tree, name, sheet, norms):
    root = make_tree(pictures=CFD + CFD_OTHERS)
    others = {"Read me": [["text"]], "CFD-MR U.S. Norming Data": [["Model"], ["MF-300"]]}
    path = root / f"CFD {name} Norming Data and Codebook.xlsx"
    write_workbook(path, **others, **{sheet: norms})
    check_cfd(root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("4.11", "", r"Norming Data\.csv, row 2: Attractive must be a finite number, got ''"),
        ("4.11", "7.5", r"row 2: label 7\.5 is outside the labels of cfd, 1 to 7 points"),
        ("AF-200", "AF-201", r"row 2: picture 'CFD-AF-201-\*-N\.jpg' is not below"),
        ("Attractive", "Nice", r"expected a header with Model \(or Target\) and Attractive"),
    ],
)
def test_bad_cfd(make_tree, old, new, message):
    with pytest.raises(DataError, match=message):
        read_cfd(make_tree({"Norming Data.csv": as_csv(NORMS_2).replace(old, new)}, CFD))


def test_cfd_in_another_layout(make_tree):
    root = make_tree(pictures=CFD)
    message = f"{root}: not a CFD tree (no labels): expected CFD ... Norming Data and Codebook.xlsx"
    with pytest.raises(DataError, match=re.escape(message) + r".*; found Images/$"):
        read_cfd(root)
