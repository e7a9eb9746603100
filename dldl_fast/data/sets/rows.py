"""From rows that a reader found to the table of a data set, with the checks that all share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import finite_number
from dldl_fast.data.label_spec import LabelSpec
from dldl_fast.data.sets.tree import Tree


class LabelRow(NamedTuple):
    """A picture as the labels of a data set name it.

    All rows of a data set have the same of the optional fields.
    """

    where: str
    """File and row, for the errors."""
    picture: str
    """Name, or path of which only the name need be right."""
    label: float
    sigma: float | None = None
    split: str | None = None
    person: str | None = None
    fold: int | None = None
    groups: Mapping[str, str] = {}
    folder: str = ""
    """Regular expression of the folder to prefer among several pictures of the name."""


def deviation(text: str, where: str) -> float:
    """The field of a standard deviation; a DataError says where it is none."""
    sigma = finite_number(text, "standard deviation", where)
    if sigma < 0:
        raise DataError(f"{where}: standard deviation must be >= 0, got {sigma:g}")
    return sigma


def table_of(
    name: str,
    spec: LabelSpec,
    tree: Tree,
    rows: Sequence[LabelRow],
    official: Mapping[str, int],
    note: str = "",
) -> FaceTable:
    """The table of a data set whose pictures are all there, once each.

    Args:
        name: of the data set.
        spec: its labels.
        tree: its files.
        rows: what the labels say.
        official: number of pictures by split or, under ``"all"``, of all; others are noted, since
            people often work with a part.
        note: what else a reader of results must know.

    Raises:
        DataError: naming the file and row, for a label outside the grid, a picture that is not
            there or is named twice.
    """
    if not rows:
        raise tree.wrong("no labels")
    paths, missing = [], []
    first_row: dict[str, str] = {}
    for row in rows:
        if not spec.label_min <= row.label <= spec.label_max:
            raise DataError(
                f"{row.where}: label {row.label:g} is outside the labels of {name}, "
                f"{spec.label_min:g} to {spec.label_max:g} {spec.unit}"
            )
        path = tree.named(row.picture, row.where, row.folder)
        if path is None:
            missing.append(row)
            continue
        if path in first_row:
            raise DataError(
                f"{row.where}: picture {path} has a label already, in {first_row[path]}"
            )
        first_row[path] = row.where
        paths.append(path)
    if missing:
        others = f", nor are {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise DataError(
            f"{missing[0].where}: picture {missing[0].picture!r} is not below {tree.root}{others} "
            f"(of {len(rows):,} that the labels name)"
        )
    return face_table(name, spec, tree.root, paths, rows, _notes(rows, official, note))


def face_table(
    name: str,
    spec: LabelSpec,
    root: Path,
    paths: Sequence[str],
    rows: Sequence[LabelRow],
    note: str = "",
) -> FaceTable:
    """Rows as columns; ``paths[i]`` is the picture of ``rows[i]``."""
    sigma = [row.sigma for row in rows if row.sigma is not None]
    split = [row.split for row in rows if row.split is not None]
    person = [row.person for row in rows if row.person is not None]
    fold = [row.fold for row in rows if row.fold is not None]
    return FaceTable(
        name=name,
        spec=spec,
        root=root,
        paths=tuple(paths),
        target=torch.tensor([row.label for row in rows], dtype=torch.float64),
        sigma=torch.tensor(sigma, dtype=torch.float64) if sigma else None,
        split=tuple(split) or None,
        person=tuple(person) or None,
        fold=tuple(fold) or None,
        groups={key: tuple(row.groups[key] for row in rows) for key in rows[0].groups},
        note=note,
        where=tuple(row.where for row in rows),
    )


def _notes(rows: Sequence[LabelRow], official: Mapping[str, int], note: str) -> str:
    found = Counter("all" if "all" in official else row.split for row in rows)
    different = [
        f"{part} {found[part]:,} instead of {count:,}"
        for part, count in official.items()
        if found[part] != count
    ]
    notes = [note] if note else []
    if different:
        notes.append(f"Not the official number of pictures: {', '.join(different)}.")
    return " ".join(notes)
