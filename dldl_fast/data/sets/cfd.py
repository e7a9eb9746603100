"""CFD, the Chicago Face Database: attractiveness as people rated it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import finite_number
from dldl_fast.data.label_spec import LabelSpec
from dldl_fast.data.sets.rows import LabelRow, table_of
from dldl_fast.data.sets.sheets import sheet_rows
from dldl_fast.data.sets.tree import Tree

POINTS_TO_7 = LabelSpec(1, 7, 0.1, sigma=0.5, unit="points")
"""The paper's labels and sigma for the CFD, 61 labels."""

_COLUMNS = {
    "model": ("Model", "Target"),
    "gender": ("GenderSelf", "Gender"),
    "race": ("EthnicitySelf", "Race"),
    "label": ("Attractive",),
}
"""Names of the columns in version 3 and in version 2."""


def read_cfd(root: Path) -> FaceTable:
    """Chicago Face Database: 597 persons with a neutral look, rated from 1 to 7 by many people.

    The label is the mean of ``Attractive``, for which the raters were asked to compare a face with
    others *of the same race and gender*: differences between groups are taken out by the question.

    ::

        CFD Version 3.0/
            CFD 3.0 Norming Data and Codebook.xlsx
                sheet "CFD U.S. Norming Data": Model, EthnicitySelf, GenderSelf, ..., Attractive
            Images/CFD/
                AF-200/CFD-AF-200-228-N.jpg   model AF-200, picture 228, neutral

    Version 2.0.3 (``CFD 2.0.3 Norming Data``: Target, Race, Gender, ..., Attractive, ...) is read
    too. The sheet may be saved as a CSV file with ``Norming Data`` in its name, which is then read
    instead; a workbook needs openpyxl (the extra ``sets``). The extension sets CFD-MR and CFD-INDIA
    and pictures with other expressions are left out, as in the paper. Groups: ``gender`` and
    ``race``, as the models described themselves.

    There is no official split; the paper takes 80 % for training: the protocol ``random-80-20``.
    Every person has one picture.

    Where to get it: https://www.chicagofaces.org (registration; research only, no redistribution).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file and the row.
        MissingExtraError: if the workbook is the only table and openpyxl is not installed.

    Source:
        Ma, Correll and Wittenbrink, The Chicago face database: a free stimulus set of faces and
        norming data, Behavior Research Methods 2015; labels and sigma: section 4.1.
    """
    tree = Tree(
        root,
        "a CFD tree",
        "CFD ... Norming Data and Codebook.xlsx (or its sheet as .csv) and CFD-*-N.jpg",
    )
    path = tree.one_table(r"(.*/)?[^/]*norming data[^/]*\.(csv|xlsx)")
    pictures = {
        match["model"].upper(): match.string
        for match in tree.matching(r"(.*/)?CFD-(?P<model>[A-Z]{2}-\d+)-\d+-N\.jpg")
    }
    rows = []
    for where, model, label, groups in _norms(path):
        picture = pictures.get(model.upper(), f"CFD-{model}-*-N.jpg")
        rows.append(LabelRow(where, picture, label, person=model, groups=groups))
    note = "Attractiveness is relative to others of the same race and gender."
    return table_of("cfd", POINTS_TO_7, tree, rows, {"all": 597}, note)


def _norms(path: Path) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    """Where, model, mean rating and groups of every row below the header, wherever that is."""
    expected = "a header with Model (or Target) and Attractive"
    at: dict[str, int] = {}
    for number, fields in sheet_rows(path, r"CFD (U\.S\.|[\d.]+) Norming Data", expected):
        if not at:
            found = {
                column: fields.index(name)
                for column, names in _COLUMNS.items()
                for name in names
                if name in fields
            }
            at = found if len(found) == len(_COLUMNS) else {}
            continue
        # Empty cells at the end of a row may be missing.
        fields = fields + [""] * (max(at.values()) + 1 - len(fields))
        # Below the names of the columns, version 3 has a row without a model.
        if not fields[at["model"]]:
            continue
        where = f"{path}, row {number}"
        label = finite_number(fields[at["label"]], "Attractive", where)
        groups = {name: fields[at[name]] for name in ("gender", "race")}
        yield where, fields[at["model"]], label, groups
    if not at:
        raise DataError(f"{path}: expected {expected}, gender and race; found no such row")
