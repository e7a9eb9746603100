"""MORPH album 2: ages of people in police photographs."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import finite_number, read_fields, read_rows
from dldl_fast.data.label_spec import AGES
from dldl_fast.data.sets.rows import LabelRow, table_of
from dldl_fast.data.sets.tree import Tree

COUNT = 55_134
_COLUMNS = ("id_num", "age", "gender", "race", "photo")
_NAME = re.compile(r"(\d+)_\d+([MF])(\d{1,3})\.jpe?g", re.IGNORECASE)


def read_morph(root: Path) -> FaceTable:
    """MORPH album 2, the non-commercial release of 2008: 55,134 pictures of 13,617 persons.

    ::

        morph/
            morph_2008_nonCommercial.csv   id_num,picture_num,dob,doa,race,gender,...,age,...,photo
            Album2/
                000001_00M20.JPG           person 000001, picture 00, male, 20 years

    The table may have any name with MORPH in it, such as ``MORPH_Album2_comp.csv``. Without a
    table, person, gender and age are those in the names of the pictures, and ``race`` is missing.
    Groups are ``gender`` (M, F) and ``race`` (A, B, H, O, W), as the table has them; both were
    noted down by the police.

    There is no official split. The paper takes a random 80 % of the pictures for training, so that
    the same persons are in both parts: the protocol ``random-80-20``. ``subject-exclusive`` keeps
    persons apart and gives larger, more honest errors.

    Where to get it: https://uncw.edu/oic/tech/morph.html (academic licence, for a fee; research
    only, no redistribution).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file and the row.

    Source:
        Ricanek and Tesafaye, MORPH: a longitudinal image database of normal adult age-progression,
        FG 2006; sigma = 2: section 4.1.
    """
    tree = Tree(root, "a MORPH tree", "Album2/*.JPG and MORPH_Album2*.csv")
    tables = [
        match.string
        for match in tree.matching(r"(.*/)?[^/]*morph[^/]*\.csv")
        if set(_COLUMNS) <= set(_header(tree.table(match.string)))
    ]
    if not tables:
        rows = [_row_of_name(tree, file) for file in tree.pictures_in("Album2")]
        note = (
            "The labels are those in the file names, since there is no MORPH table with the "
            f"columns {', '.join(_COLUMNS)}."
        )
        return table_of("morph", AGES, tree, rows, {"all": COUNT}, note)
    # The release has the same table with more columns, too.
    table = tree.table(min(tables, key=lambda file: (len(file), file)))
    rows = []
    for number, fields in read_fields(table, _COLUMNS, ",".join(_COLUMNS)):
        where = f"{table}, row {number}"
        if not fields["id_num"]:
            raise DataError(f"{where}: id_num is empty")
        rows.append(
            LabelRow(
                where,
                fields["photo"],
                finite_number(fields["age"], "age", where),
                person=fields["id_num"],
                groups={"gender": fields["gender"], "race": fields["race"]},
                folder="Album2",
            )
        )
    return table_of("morph", AGES, tree, rows, {"all": COUNT})


def _header(path: Path) -> list[str]:
    return next(read_rows(path, "a MORPH table"), (1, []))[1]


def _row_of_name(tree: Tree, file: str) -> LabelRow:
    where = str(tree.root / file)
    match = _NAME.fullmatch(PurePosixPath(file).name)
    if match is None:
        raise DataError(f"{where}: expected a name like 000001_00M20.JPG, and there is no table")
    person, gender, age = match.groups()
    return LabelRow(where, file, float(age), person=person, groups={"gender": gender.upper()})
