"""Which rows of a data set are evaluated."""

from __future__ import annotations

import torch

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.protocols import split_rows


def rows_of_split(table: FaceTable, split: str | None) -> tuple[FaceTable, str]:
    """The rows of a part of the data, and what they are in words.

    Args:
        table: all rows.
        split: one of ``SPLITS``, ``"all"``, or None: the test part where there is one, else all.

    Raises:
        DataError: if the data have no such part.
    """
    if split == "all" or (split is None and "test" not in (table.split or ())):
        return table, "all rows"
    wanted = split or "test"
    mask = torch.tensor([part == wanted for part in table.split or ()], dtype=torch.bool)
    if not bool(mask.any()):
        raise DataError(
            f"{table.name}: no row is of the part {wanted!r}; the data have "
            f"{', '.join(sorted(set(table.split or ()))) or 'no parts'}"
        )
    return table.rows(mask), f"{wanted} part"


def rows_of_protocol(
    table: FaceTable, protocol: str, *, fold: int, seed: int, fraction: float
) -> tuple[FaceTable, str]:
    """The rows that a protocol tests on, see `split_rows`, and what they are in words."""
    parts = split_rows(table, protocol, fold=fold, seed=seed, fraction=fraction)
    words = f"test part of {protocol}, fold {fold}, seed {seed}, fraction {fraction:g}"
    return table.rows(parts.test), words
