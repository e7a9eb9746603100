"""The files of a data set: found once, then looked up by name."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from dldl_fast.data.base import DataError

MAX_FILES = 1_000_000
"""A folder with more files is no data set that is read here, but perhaps a whole disk."""

MAX_TABLE_BYTES = 200 << 20
"""Larger tables of labels are refused; the largest official one has about 10 MB."""

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_NOT_DATA = (".", "~$", "__MACOSX")
"""Beginnings of names: hidden files, Excel's locks, and what macOS puts into archives."""

_NAMES_SHOWN = 8


class Tree:
    """All files below a folder.

    Hidden files and the like are left out, links to folders are not followed, and a link to a file
    counts only if the file is below the folder too.

    Args:
        root: the folder.
        kind: what it should be, such as ``"a MORPH tree"``, for the errors.
        expected: what should be in it, for the errors.

    Attributes:
        root: the folder, without symbolic links.
        files: relative to it, with forward slashes, sorted.
        pictures: those of the files that are pictures by their name.

    Raises:
        DataError: if it is no folder, cannot be read, or has more than a million files.
    """

    def __init__(self, root: Path, kind: str, expected: str) -> None:
        self.root = root.resolve()
        self._kind = kind
        self._expected = expected
        self._left_out: list[str] = []
        if not self.root.is_dir():
            raise DataError(f"{root}: no such folder; expected {kind} with {expected}")
        self.files = tuple(sorted(self._scan()))
        self.pictures = [file for file in self.files if file.lower().endswith(_PICTURES)]
        self._paths = frozenset(self.files)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            self._by_name[PurePosixPath(file).name.lower()].append(file)

    def _scan(self) -> list[str]:
        files: list[str] = []
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in entries:
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.name.startswith(_NOT_DATA):
                            continue
                        if entry.is_symlink() and not self._is_file_below(path):
                            self._left_out.append(path)
                        elif entry.is_dir(follow_symlinks=False):
                            folders.append(path)
                        elif entry.is_file():
                            files.append(path)
            except OSError as error:
                raise DataError(f"{self.root / folder}: cannot be read ({error})") from error
            if len(files) > MAX_FILES:
                raise DataError(
                    f"{self.root}: more than {MAX_FILES:,} files; give the folder of the data set"
                )
        return files

    def _is_file_below(self, path: str) -> bool:
        try:
            target = (self.root / path).resolve()
        except (OSError, RuntimeError):
            return False
        return target.is_file() and target.is_relative_to(self.root)

    def matching(self, pattern: str) -> list[re.Match[str]]:
        """Matches of a regular expression with whole paths of files, upper or lower case."""
        regex = re.compile(pattern, re.IGNORECASE)
        return [match for match in map(regex.fullmatch, self.files) if match]

    def table(self, file: str) -> Path:
        """The full path of a table of labels.

        Raises:
            DataError: if it is larger than 200 MB.
        """
        path = self.root / file
        size = path.stat().st_size
        if size > MAX_TABLE_BYTES:
            raise DataError(
                f"{path}: a table of {size / 2**20:,.0f} MB; expected at most "
                f"{MAX_TABLE_BYTES / 2**20:.0f} MB"
            )
        return path

    def one_table(self, pattern: str) -> Path:
        """The only table of labels that matches; a CSV file comes before a workbook.

        Raises:
            DataError: if there is none, or more than one, or if it is larger than 200 MB.
        """
        files = [match.string for match in self.matching(pattern)]
        files = [file for file in files if file.lower().endswith(".csv")] or files
        if not files:
            raise self.wrong("no labels")
        if len(files) > 1:
            raise self.wrong(f"{files[0]} and {files[1]} could both be the labels")
        return self.table(files[0])

    def pictures_in(self, folder: str) -> list[str]:
        """Pictures right below the root or, where it has none, below the folder of this name.

        So both a data set's folder and the one around it may be given. The folder nearest to the
        root counts where several have the name.

        Raises:
            DataError: if there are none, saying what was expected.
        """
        direct = [file for file in self.pictures if "/" not in file]
        if direct:
            return direct
        inside: dict[str, list[str]] = defaultdict(list)
        for file in self.pictures:
            parts = file.split("/")[:-1]
            names = [part.lower() for part in parts]
            if folder.lower() in names:
                inside["/".join(parts[: names.index(folder.lower()) + 1])].append(file)
        if not inside:
            raise self.wrong()
        return inside[min(inside, key=lambda path: (path.count("/"), path))]

    def named(self, picture: str, where: str, folder: str = "") -> str | None:
        """The file that a table of labels calls so, or None if there is none.

        Args:
            picture: a file name, or a path of which only the name need be right.
            where: the file and row that names it, for the errors.
            folder: regular expression; among several of the name, the one in such a folder counts.

        Raises:
            DataError: if several files have the name, or a link to outside of the tree.
        """
        if picture in self._paths:
            return picture
        ending = PurePosixPath(picture.replace("\\", "/")).as_posix().lower().strip("/")
        found = self._by_name.get(ending.rpartition("/")[2], [])
        if len(found) > 1:
            found = [file for file in found if f"/{file.lower()}".endswith(f"/{ending}")] or found
        if len(found) > 1 and folder:
            regex = re.compile(rf"(.*/)?{folder}/.*", re.IGNORECASE)
            found = [file for file in found if regex.fullmatch(file)] or found
        if len(found) > 1:
            raise DataError(
                f"{where}: picture {picture!r} could be {found[0]} or {found[1]} in {self.root}; "
                "leave one of them"
            )
        if not found:
            for link in self._left_out:
                if f"/{link.lower()}".endswith(f"/{ending}"):
                    raise DataError(
                        f"{where}: picture {picture!r} is a link that leads outside {self.root} "
                        "or nowhere"
                    )
            return None
        return found[0]

    def wrong(self, reason: str = "") -> DataError:
        """The error of a tree that is not what was expected; it lists what is there."""
        found = sorted(
            {file.split("/")[0] + ("/" if "/" in file else "") for file in self.files}
            | {f"{link} (a link that is not followed)" for link in self._left_out}
        )
        shown = ", ".join(found[:_NAMES_SHOWN]) or "nothing"
        if len(found) > _NAMES_SHOWN:
            shown += f" and {len(found) - _NAMES_SHOWN:,} more"
        because = f" ({reason})" if reason else ""
        return DataError(
            f"{self.root}: not {self._kind}{because}: expected {self._expected}; found {shown}"
        )
