"""SCUT-FBP: attractiveness of 500 women, as people rated it."""

from __future__ import annotations

from pathlib import Path

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import finite_number
from dldl_fast.data.label_spec import LabelSpec
from dldl_fast.data.sets.rows import LabelRow, deviation, table_of
from dldl_fast.data.sets.sheets import sheet_rows
from dldl_fast.data.sets.tree import Tree

POINTS_TO_5 = LabelSpec(1, 5, 0.1, sigma=0.5, unit="points")
"""The paper's labels for SCUT-FBP, 41 of them; every picture has its own sigma."""


def read_scut_fbp(root: Path) -> FaceTable:
    """SCUT-FBP: 500 pictures of 500 Asian women, each rated from 1 to 5 by about 70 people.

    The label is the mean rating, sigma the standard deviation that is given with it.

    ::

        SCUT-FBP/
            Data_Collection/
                SCUT-FBP-1.jpg
            Rating_Collection/
                Attractiveness label.xlsx   number of the picture, mean, standard deviation

    The sheet may be saved as a CSV file beside the workbook, which is then read instead; a workbook
    needs openpyxl (the extra ``sets``). Where copies of the pictures are in several folders, those
    in ``Data_Collection`` count.

    There is no official split; the paper takes a random 80 % of the pictures for training: the
    protocol ``random-80-20``. Every person has one picture.

    Where to get it: http://www.hcii-lab.net/data/SCUT-FBP/EN/introduce.html (non-commercial
    research only).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file and the row.
        MissingExtraError: if the workbook is the only table and openpyxl is not installed.

    Source:
        Xie et al., SCUT-FBP: a benchmark dataset for facial beauty perception, SMC 2015; labels:
        section 4.1.
    """
    tree = Tree(
        root,
        "a SCUT-FBP tree",
        "Data_Collection/SCUT-FBP-*.jpg and Rating_Collection/Attractiveness label.xlsx or .csv",
    )
    path = tree.one_table(r"(.*/)?attractiveness[ _]?label\.(csv|xlsx)")
    rows = []
    for number, fields in sheet_rows(path, "Sheet1", "picture, mean rating, standard deviation"):
        where = f"{path}, row {number}"
        if not any(fields) or (number == 1 and not fields[0].isdecimal()):
            continue
        if len(fields) < 3 or not fields[0].isdecimal():
            raise DataError(
                f"{where}: expected number of the picture, mean rating and standard deviation, "
                f"got {','.join(fields)!r}"
            )
        rows.append(
            LabelRow(
                where,
                f"SCUT-FBP-{int(fields[0])}.jpg",
                finite_number(fields[1], "mean rating", where),
                deviation(fields[2], where),
                person=fields[0],
                folder="Data_Collection",
            )
        )
    return table_of("scut-fbp", POINTS_TO_5, tree, rows, {"all": 500})
