"""Adience: faces of everyday photos, labelled with one of eight age groups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import read_rows
from dldl_fast.data.label_spec import GROUPS, LabelSpec
from dldl_fast.data.sets.rows import LabelRow, table_of
from dldl_fast.data.sets.tree import Tree

AGE_GROUPS = ((0, 2), (4, 6), (8, 13), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))
"""First and last year of the groups 0 to 7; the last one is "60 and more"."""

EIGHT_GROUPS = LabelSpec(0, 7, 1, sigma=0.5, unit=GROUPS)
"""The labels are the numbers of the groups. No publication names a sigma; 0.5 gives the true group
79 % of the target distribution."""

_HEADER = ("user_id", "original_image", "face_id", "age", "gender")
_GENDERS = {"m": "male", "f": "female"}
_AGES = re.compile(r"\((\d{1,3}), ?(\d{1,3})\)|(\d{1,3})")


def read_adience(root: Path) -> FaceTable:
    """Adience: 19,370 faces in five folds, labelled with one of eight age groups.

    ::

        adience/
            fold_0_data.txt     tab-separated: user_id, original_image, face_id, age, gender, x, ...
            ...
            fold_4_data.txt
            aligned/30601258@N03/landmark_aligned_face.1.10424815813_e94629b1ec_o.jpg
            faces/30601258@N03/coarse_tilt_aligned_face.1.10424815813_e94629b1ec_o.jpg

    One of the two folders of pictures is enough; ``aligned`` counts where both are there. The label
    is the number of a group, 0 to 7: 0-2, 4-6, 8-13, 15-20, 25-32, 38-43, 48-53 and 60 years or
    more. Some rows name another interval or a single age: the group that holds the middle of it
    counts, or else the nearest one, of two that are equally near the younger. Rows without an age
    ("None") are left out. The note says how many there are of both. Groups: ``gender``. Persons
    are the owners of the albums, whom the folds keep apart; the folds of ``five-fold`` are the
    authors'. The paper does not use this data set.

    Where to get it: https://talhassner.github.io/home/projects/Adience/Adience-data.html
    (registration; research only).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file and the row.

    Source:
        Eidinger, Enbar and Hassner, Age and gender estimation of unfiltered faces, IEEE
        Transactions on Information Forensics and Security 2014.
    """
    tree = Tree(
        root, "an Adience tree", "fold_0_data.txt to fold_4_data.txt, and faces/ or aligned/"
    )
    aligned = bool(tree.matching(r"(.*/)?aligned/.*"))
    rows, without_age, moved = [], 0, 0
    for fold in range(5):
        for face in _faces(tree.one_table(rf"(.*/)?fold_{fold}_data\.txt")):
            if face.age == "None":
                without_age += 1
                continue
            group, named = _group(face)
            moved += not named
            name = f"{face.face_id}.{face.original_image}"
            rows.append(
                LabelRow(
                    face.where,
                    f"aligned/{face.user_id}/landmark_aligned_face.{name}"
                    if aligned
                    else f"faces/{face.user_id}/coarse_tilt_aligned_face.{name}",
                    float(group),
                    person=face.user_id,
                    fold=fold,
                    groups={"gender": _GENDERS.get(face.gender, "unknown")},
                )
            )
    notes = [
        f"{without_age:,} rows without an age are left out." if without_age else "",
        f"{moved:,} ages that are no group were moved to the nearest one." if moved else "",
    ]
    official = {"all": 19_370 - without_age}
    return table_of("adience", EIGHT_GROUPS, tree, rows, official, " ".join(filter(None, notes)))


class _Face(NamedTuple):
    where: str
    user_id: str
    original_image: str
    face_id: str
    age: str
    gender: str


def _faces(path: Path) -> Iterator[_Face]:
    expected = "tab-separated columns " + ",".join(_HEADER)
    rows = read_rows(path, expected, delimiter="\t")
    _, header = next(rows, (1, []))
    if tuple(header[: len(_HEADER)]) != _HEADER:
        raise DataError(f"{path}, row 1: expected {expected}, got {','.join(header)}")
    for number, fields in rows:
        if not any(fields):
            continue
        where = f"{path}, row {number}"
        if len(fields) < len(_HEADER):
            raise DataError(f"{where}: expected {len(header)} fields, got {len(fields)}")
        yield _Face(where, *fields[: len(_HEADER)])


def _group(face: _Face) -> tuple[int, bool]:
    """Number of the group, and whether it is the one that the row names."""
    match = _AGES.fullmatch(face.age)
    if match is None:
        raise DataError(
            f"{face.where}: expected an age like (25, 32), 35 or None, got {face.age!r}"
        )
    first, last = (int(year) for year in (match[1] or match[3], match[2] or match[3]))
    middle = (first + last) / 2

    def away(group: int) -> float:
        start, end = AGE_GROUPS[group]
        return max(start - middle, middle - end, 0)

    nearest = min(range(len(AGE_GROUPS)), key=away)
    # The tables call the third group (8, 12), the publications 8-13.
    return nearest, (first, last) in (*AGE_GROUPS, (8, 12))
