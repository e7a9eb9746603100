"""Which photos a job is about: one, those below a folder, or those that a table names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dldl_fast.data.base import DataError
from dldl_fast.data.folder import read_fields, resolved_path

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".pnm", ".tif", ".tiff")
)
"""Files below a folder that are photos, by the end of their names, whatever the case."""


class Photo(NamedTuple):
    """A photo that has not been opened.

    Attributes:
        name: as the table gives it, or its path relative to the folder, with forward slashes.
        root: folder that the name is relative to.
        allow_outside: whether it may lie elsewhere.
        where: file and row that name it, for errors.
    """

    name: str
    root: Path
    allow_outside: bool
    where: str

    def path(self) -> Path:
        """Where the photo is.

        Raises:
            DataError: if that is not below the root, also after symbolic links.
        """
        return resolved_path(self.root, self.name, self.where, allow_outside=self.allow_outside)


def photos(source: Path, *, allow_outside: bool = False) -> Iterator[Photo]:
    """Photos in an order that is always the same, one by one.

    Args:
        source: a photo; a folder, whose photos in all folders below are found by the ends of their
            names (of one folder at a time the names are in memory, to sort them); or a CSV file
            with a column ``path``, relative to its folder.
        allow_outside: whether names in a table, and links in a folder, may lead elsewhere.

    Raises:
        DataError: if there is no such file, or the table cannot be read.
    """
    if source.is_dir():
        for name in _names_below(source):
            yield Photo(name, source.resolve(), allow_outside, f"{source}")
    elif source.suffix.lower() == ".csv":
        root = source.parent.resolve()
        for number, fields in read_fields(source, ["path"], "path[,...]"):
            yield Photo(fields["path"], root, allow_outside, f"{source}, row {number}")
    elif source.exists():
        yield Photo(source.name, source.parent.resolve(), True, f"{source}")
    else:
        raise DataError(f"{source}: no such file or folder; expected a photo, a folder or a CSV")


def _names_below(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders.sort()  # walk goes on in this order
        for file in sorted(files):
            path = Path(folder, file)
            if path.suffix.lower() in SUFFIXES:
                yield path.relative_to(root).as_posix()
