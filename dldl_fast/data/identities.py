"""Pictures of known persons, for pre-training: a folder for every person."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch
from torch import Generator

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.label_spec import LabelSpec
from dldl_fast.data.protocols import Parts
from dldl_fast.data.sets.tree import Tree


def read_identities(root: Path, *, min_images: int = 2) -> FaceTable:
    """Pictures in folders whose names are the persons.

    ::

        persons/
            anna/
                1.jpg
                more/2.jpg
            ben/
                1.jpg

    Args:
        root: the folder around these.
        min_images: persons with fewer pictures are left out, >= 2, since one is held out.

    Returns:
        A table whose targets are the numbers of the persons, in the order of their names.

    Raises:
        DataError: if a picture is in no folder, or fewer than two persons remain.
        ValueError: if `min_images` is below 2.

    Source:
        Section 4.1: persons with few images are cut, so that their numbers are balanced.
    """
    if min_images < 2:
        raise ValueError(f"min_images must be at least 2, got {min_images}")
    tree = Tree(root, "a folder of persons", "a folder of pictures for every person")
    pictures: dict[str, list[str]] = defaultdict(list)
    for file in tree.pictures:
        person, slash, _ = file.partition("/")
        if not slash:
            raise DataError(f"{tree.root / file}: expected it in a folder named by its person")
        pictures[person].append(file)
    kept = sorted(person for person, files in pictures.items() if len(files) >= min_images)
    if len(kept) < 2:
        raise tree.wrong(f"fewer than 2 persons with at least {min_images} pictures")
    number = {person: index for index, person in enumerate(kept)}
    rows = [(file, person) for person in kept for file in pictures[person]]
    left_out = len(pictures) - len(kept)
    note = f"{left_out:,} persons with fewer than {min_images} pictures were left out."
    return FaceTable(
        name=tree.root.name,
        spec=LabelSpec(0, len(kept) - 1, 1, sigma=1.0, unit="persons"),
        root=tree.root,
        paths=tuple(file for file, _ in rows),
        target=torch.tensor([number[person] for _, person in rows], dtype=torch.float64),
        person=tuple(person for _, person in rows),
        note=note if left_out else "",
    )


def hold_out_images(table: FaceTable, fraction: float, seed: int) -> Parts:
    """Hold out a share of every person's pictures, at least one, and not all.

    Args:
        table: from `read_identities`.
        fraction: in (0, 1).
        seed: selects them.

    Raises:
        ValueError: if `fraction` is not in (0, 1).
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"test_fraction must be between 0 and 1, got {fraction}")
    order = torch.randperm(len(table), generator=Generator().manual_seed(seed))
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row in order.tolist():
        rows_of[int(table.target[row])].append(row)
    test = torch.zeros(len(table), dtype=torch.bool)
    for rows in rows_of.values():
        test[rows[: min(max(round(len(rows) * fraction), 1), len(rows) - 1)]] = True
    return Parts(~test, None, test)
