"""A data set before its pictures are decoded: where they are, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from dldl_fast.data.label_spec import LabelSpec

SPLITS = ("train", "validation", "test")

T = TypeVar("T")


@dataclass(frozen=True)
class FaceTable:
    """Pictures of faces and their labels, one row each.

    Attributes:
        name: short name, for file names and titles.
        spec: grid, unit and default sigma of the labels.
        root: folder that all pictures are in.
        paths: of the pictures, relative to `root`, with forward slashes.
        target: float64 [N], in the unit of the labels.
        sigma: float64 [N], the standard deviation of every target, or None: ``spec.sigma``.
        split: official part of every row, one of `SPLITS`, or None: there is no official split.
        person: who is in the picture, or None: not known.
        fold: fold of the official cross-validation that tests every row, from 0, or None.
        groups: more columns, such as ``"gender"``, for tables of errors per group.
        note: what a reader of results must know about the labels; may be empty.
        where: file and row that name each picture, for errors, or None.
    """

    name: str
    spec: LabelSpec
    root: Path
    paths: tuple[str, ...]
    target: Tensor
    sigma: Tensor | None = None
    split: tuple[str, ...] | None = None
    person: tuple[str, ...] | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""
    fold: tuple[int, ...] | None = None
    where: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, mask: Tensor) -> FaceTable:
        """The table of some rows alone.

        Args:
            mask: bool [N], the rows to keep.

        Example:
            >>> import torch
            >>> from dldl_fast.data.label_spec import AGES
            >>> ages = torch.tensor([1.0, 2.0])
            >>> table = FaceTable("two", AGES, Path("."), ("a.jpg", "b.jpg"), ages)
            >>> table.rows(torch.tensor([False, True])).paths
            ('b.jpg',)
        """
        kept = mask.nonzero()[:, 0].tolist()

        def of(column: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(column[row] for row in kept)

        return replace(
            self,
            paths=of(self.paths),
            target=self.target[mask],
            sigma=None if self.sigma is None else self.sigma[mask],
            split=None if self.split is None else of(self.split),
            person=None if self.person is None else of(self.person),
            fold=None if self.fold is None else of(self.fold),
            where=None if self.where is None else of(self.where),
            groups={name: of(column) for name, column in self.groups.items()},
        )
