"""The user's own pictures: a CSV file, or folders named by their label."""

from __future__ import annotations

from pathlib import Path

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import SPLITS, FaceTable
from dldl_fast.data.folder import TABLE_NAME, finite_number, read_table
from dldl_fast.data.label_spec import AGES, LabelSpec
from dldl_fast.data.sets.rows import LabelRow, face_table, table_of
from dldl_fast.data.sets.tree import MAX_TABLE_BYTES, Tree

_COLUMNS = frozenset({"path", "label", "sigma", "split", "person"})


def read_csv(
    source: Path,
    spec: LabelSpec = AGES,
    *,
    allow_zero_sigma: bool = True,
    allow_outside: bool = False,
) -> FaceTable:
    """Pictures that a CSV file names.

    ::

        faces/
            labels.csv   path,label[,sigma][,split][,person][,...]
            a.jpg
            more/b.jpg

    The first row names the columns, in any order: ``path`` (relative to the folder of the file),
    ``label``, and optionally ``sigma`` (standard deviation of the label), ``split`` (train,
    validation or test) and ``person``. Every other column is a group.

    Args:
        source: the CSV file, UTF-8, or a folder with ``labels.csv``.
        spec: the labels; default: ages from 0 to 100.
        allow_zero_sigma: whether a sigma of 0 is accepted.
        allow_outside: whether pictures may lie outside the folder of the file; their paths in the
            table are absolute.

    Raises:
        DataError: naming the file and the row.
    """
    table = source / TABLE_NAME if source.is_dir() else source
    if table.is_file() and table.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(f"{table}: expected at most {MAX_TABLE_BYTES / 2**20:.0f} MB")
    found = read_table(
        table,
        spec.grid(),
        allow_zero_sigma=allow_zero_sigma,
        splits=SPLITS,
        allow_outside=allow_outside,
    )
    root = table.parent.resolve()
    rows, paths, missing = [], [], []
    for row in found:
        where = f"{table}, row {row.number}"
        person = row.fields.get("person")
        if person == "":
            raise DataError(f"{where}: person is empty")
        groups = {name: text for name, text in row.fields.items() if name not in _COLUMNS}
        rows.append(
            LabelRow(where, "", row.label, row.sigma, row.split, person=person, groups=groups)
        )
        paths.append(row.path.as_posix().removeprefix(f"{root.as_posix()}/"))
        if not row.path.is_file():
            missing.append(f"{where}: picture {row.fields['path']!r}: no such file")
    if missing:
        others = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise DataError(missing[0] + others)
    name = root.name if table.name == TABLE_NAME else table.stem
    return face_table(name, spec, root, paths, rows)


def read_folder(root: Path, spec: LabelSpec = AGES) -> FaceTable:
    """Pictures in folders whose names are the labels.

    ::

        faces/
            25/
                a.jpg
            31.5/
                b.jpg
                more/c.jpg

    Args:
        root: the folder around these.
        spec: the labels; default: ages from 0 to 100.

    Raises:
        DataError: naming the file, if a folder is not named by a number within the labels, or a
            picture is in none.
    """
    tree = Tree(root, "a folder of labelled pictures", "folders named by a label, such as 25/")
    rows = []
    for file in tree.pictures:
        folder, _, rest = file.partition("/")
        where = str(tree.root / file)
        if not rest:
            raise DataError(
                f"{where}: expected it in a folder that is named by its label, such as 25/, or a "
                f"table {TABLE_NAME}"
            )
        rows.append(LabelRow(where, file, finite_number(folder, "the name of the folder", where)))
    return table_of(tree.root.name, spec, tree, rows, {})
