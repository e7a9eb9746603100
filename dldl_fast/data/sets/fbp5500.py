"""SCUT-FBP5500: attractiveness of women and men, as 60 people rated it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import NamedTuple

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import finite_number, read_rows
from dldl_fast.data.sets.rows import LabelRow, table_of
from dldl_fast.data.sets.scut_fbp import POINTS_TO_5
from dldl_fast.data.sets.sheets import sheet_rows
from dldl_fast.data.sets.tree import Tree

_RATINGS = r"(.*/)?all_ratings\.(csv|xlsx)"
_LABEL_ERROR = 0.01  # All_labels.txt has the mean ratings, to six digits.
_SUBSETS = {
    "AF": ("female", "Asian"),
    "AM": ("male", "Asian"),
    "CF": ("female", "Caucasian"),
    "CM": ("male", "Caucasian"),
    # The first release named them so.
    "FTY": ("female", "Asian"),
    "MTY": ("male", "Asian"),
    "FTW": ("female", "Caucasian"),
    "MTW": ("male", "Caucasian"),
}


class _Labelled(NamedTuple):
    where: str
    picture: str
    label: float


def read_fbp5500(root: Path) -> FaceTable:
    """SCUT-FBP5500: 5,500 faces, each rated from 1 to 5 by 60 people.

    The label is the mean rating. Sigma is the standard deviation of a picture's ratings (the root
    of their mean squared distance from the mean), where ``All_Ratings.xlsx`` or the CSV file saved
    from it is there; without, it is 0.5 for all, and the table has a note of that.

    ::

        SCUT-FBP5500_v2/
            Images/
                AF1.jpg           Asian female; AM, CF and CM: male, Caucasian
            All_Ratings.xlsx      Rater, Filename, Rating, original Rating: 330,000 rows
            train_test_files/
                All_labels.txt    AF1.jpg 2.833333
                split_of_60%training and 40%testing/
                    train.txt, test.txt                3,300 and 2,200 pictures
                5_folders_cross_validations_files/
                    cross_validation_1/test_1.txt      1,100 pictures, and so for 2 to 5

    A workbook needs openpyxl (the extra ``sets``). Groups: ``gender`` and ``race``. The split is
    the authors' 60 % and 40 %, the folds of ``five-fold`` are theirs too; without their files the
    table has no split or no folds. Persons are not known. The paper does not use this data set;
    labels are those of SCUT-FBP.

    Where to get it: https://github.com/HCIILAB/SCUT-FBP5500-Database-Release (non-commercial
    research only).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file and the row.
        MissingExtraError: if the ratings are in a workbook and openpyxl is not installed.

    Source:
        Liang et al., SCUT-FBP5500: a diverse benchmark dataset for multi-paradigm facial beauty
        prediction, ICPR 2018.
    """
    tree = Tree(root, "a SCUT-FBP5500 tree", "Images/*.jpg and train_test_files/All_labels.txt")
    labels = list(_labelled(tree.one_table(r"(.*/)?all_labels\.txt")))
    splits = _parts(tree, r".*split_of_60[^/]*/(?P<part>train|test)\.txt", labels)
    folds = _parts(tree, r".*cross_validation_\d/test_(?P<part>[1-5])\.txt", labels)
    deviations = _deviations(tree, labels)
    rows = []
    for index, (where, picture, label) in enumerate(labels):
        prefix = re.match(r"[A-Z]*", picture.upper())
        subset = _SUBSETS.get(prefix[0]) if prefix else None
        if subset is None:
            raise DataError(f"{where}: expected a name like AF1.jpg, got {picture!r}")
        rows.append(
            LabelRow(
                where,
                picture,
                label,
                deviations[index] if deviations else None,
                split=splits[index] if splits else None,
                fold=int(folds[index]) - 1 if folds else None,
                groups={"gender": subset[0], "race": subset[1]},
                folder="Images",
            )
        )
    official = {"train": 3300, "test": 2200} if splits else {"all": 5500}
    parts = {"ratings (sigma is 0.5 for all)": deviations, "split": splits, "folds": folds}
    absent = [what for what, found in parts.items() if not found]
    note = f"The tree has no {', no '.join(absent)}." if absent else ""
    return table_of("fbp5500", POINTS_TO_5, tree, rows, official, note)


def _labelled(path: Path) -> Iterator[_Labelled]:
    for number, fields in read_rows(path, "rows of picture and label", delimiter=" "):
        where = f"{path}, row {number}"
        values = [field for field in fields if field]
        if not values:
            continue
        if len(values) != 2:
            raise DataError(f"{where}: expected picture and label, got {' '.join(values)!r}")
        yield _Labelled(where, values[0], finite_number(values[1], "label", where))


def _parts(tree: Tree, pattern: str, labels: Sequence[_Labelled]) -> list[str]:
    """The part of every labelled picture, from one list for each part; empty without any list."""
    part_of: dict[str, str] = {}
    for match in tree.matching(pattern):
        for where, picture, _ in _labelled(tree.table(match.string)):
            if picture in part_of:
                raise DataError(f"{where}: picture {picture!r} is in another part, too")
            part_of[picture] = match["part"].lower()
    if not part_of:
        return []
    for where, picture, _ in labels:
        if picture not in part_of:
            raise DataError(f"{where}: picture {picture!r} is in none of the lists {pattern}")
    return [part_of[row.picture] for row in labels]


def _deviations(tree: Tree, labels: Sequence[_Labelled]) -> list[float]:
    """The standard deviation of every picture's ratings; empty without ratings."""
    if not tree.matching(_RATINGS):
        return []
    path = tree.one_table(_RATINGS)
    expected = "columns Rater,Filename,Rating"
    rows = sheet_rows(path, "ALL", expected)
    _, header = next(rows, (1, []))
    if not {"Filename", "Rating"} <= set(header):
        raise DataError(f"{path}, row 1: expected {expected}, got {','.join(header)}")
    name_at, rating_at = header.index("Filename"), header.index("Rating")
    ratings: dict[str, list[float]] = defaultdict(list)
    for number, fields in rows:
        if not any(fields):
            continue
        where = f"{path}, row {number}"
        if len(fields) <= max(name_at, rating_at):
            raise DataError(f"{where}: expected {len(header)} fields, got {len(fields)}")
        ratings[fields[name_at]].append(finite_number(fields[rating_at], "Rating", where))
    deviations = []
    for where, picture, label in labels:
        if picture not in ratings:
            raise DataError(f"{where}: picture {picture!r} has no ratings in {path}")
        if abs(fmean(ratings[picture]) - label) > _LABEL_ERROR:
            raise DataError(
                f"{where}: label {label:g} of {picture} is not the mean of its ratings in {path}, "
                f"{fmean(ratings[picture]):g}; the files are of different releases"
            )
        deviations.append(pstdev(ratings[picture]))
    return deviations
