"""The table of what became of every photo: which crops there are, and where they come from."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, cast

import torch

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import finite_number
from dldl_fast.faces.face import Face

MANIFEST_NAME = "manifest.csv"

Status = Literal["aligned", "whole", "skipped"]

BOX = ("left", "top", "right", "bottom")
LANDMARKS = tuple(
    f"{point}_{axis}"
    for point in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    for axis in "xy"
)
"""Columns of a face, in every file that has faces."""

COLUMNS = (
    *("source", "crop", "status", "reason", "face", "faces"),
    *BOX,
    "score",
    *LANDMARKS,
)


@dataclass(frozen=True)
class ManifestRow:
    """A crop, or a photo without one.

    Attributes:
        source: the photo: its path in the table, or relative to the folder, with forward slashes.
        crop: its crop, relative to the folder of the manifest; None if it has none.
        status: ``"aligned"``; ``"whole"``, the whole photo for lack of a face; or ``"skipped"``.
        reason: why it was skipped; else empty.
        number: of the face among those of the photo that have a crop, from 0, the largest first.
        faces: how many were found in the photo; None: it could not be read.
        face: where the face is in the photo, in its pixels to a thousandth; None: no face.
    """

    source: str
    crop: str | None
    status: Status
    reason: str = ""
    number: int = 0
    faces: int | None = None
    face: Face | None = None

    def line(self) -> str:
        """The row as a line of the file."""
        numbers = [""] * len((*BOX, "score", *LANDMARKS))
        if self.face is not None:
            landmarks = self.face.landmarks.reshape(-1).tolist()
            numbers = [f"{value:.3f}" for value in self.face.box]
            numbers += [f"{self.face.score:.6f}", *(f"{value:.3f}" for value in landmarks)]
        face = "" if self.crop is None else self.number
        faces = "" if self.faces is None else self.faces
        fields = [self.source, self.crop or "", self.status, self.reason, face, faces, *numbers]
        return _csv_line(fields)


def _csv_line(fields: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue()


HEADER = _csv_line(COLUMNS)


def read_groups(path: Path) -> Iterator[tuple[int, list[ManifestRow]]]:
    """The rows of one photo after the other, and at which byte of the file they begin.

    Raises:
        DataError: naming the file and the row.
    """
    expected = HEADER.encode()
    try:
        with path.open("rb") as file:
            if file.readline() != expected:
                raise DataError(f"{path}: not a manifest; expected as its first row {HEADER!r}")
            start = offset = len(expected)
            group: list[ManifestRow] = []
            for number, line in enumerate(file, start=2):
                row = _row(line, f"{path}, row {number}")
                if group and row.number == 0:
                    yield start, group
                    start, group = offset, []
                group.append(row)
                offset += len(line)
            if group:
                yield start, group
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; dldl-fast align makes it") from error


def read_group(file: BinaryIO, start: int) -> tuple[bytes, list[ManifestRow]]:
    """The rows of the photo that begin at a byte of a manifest, as they are there and as values."""
    file.seek(start)
    lines = [file.readline()]
    group = [_row(lines[0], f"byte {start}")]
    for line in file:
        row = _row(line, f"byte {start}")
        if row.number == 0:
            break
        lines.append(line)
        group.append(row)
    return b"".join(lines), group


def read_manifest(folder: Path) -> dict[str, tuple[ManifestRow, ...]]:
    """Read what `align_photos` wrote.

    Args:
        folder: with ``manifest.csv`` and the crops.

    Returns:
        The rows of every photo by `source`, those of the largest face first.

    Raises:
        DataError: naming the file and the row.
    """
    # A photo that was tried again has its new rows below the old ones.
    return {group[0].source: tuple(group) for _, group in read_groups(folder / MANIFEST_NAME)}


def _row(line: bytes, where: str) -> ManifestRow:
    try:
        values = next(csv.reader([line.decode("utf-8")], strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: cannot be read ({error})") from error
    if len(values) != len(COLUMNS) or not line.endswith(b"\n"):
        raise DataError(
            f"{where}: expected {len(COLUMNS)} fields and the end of the line, got {len(values)}; "
            "if the job was interrupted, run it again: it goes on from there"
        )
    fields = dict(zip(COLUMNS, values, strict=True))
    status, crop = fields["status"], fields["crop"]
    if status not in ("aligned", "whole", "skipped"):
        raise DataError(f"{where}: status must be aligned, whole or skipped, got {status!r}")
    inside = not PurePosixPath(crop).is_absolute() and ".." not in PurePosixPath(crop).parts
    if (status == "skipped") == bool(crop) or not inside:
        raise DataError(
            f"{where}: crop must be a path below the folder of the manifest, and empty if the "
            f"photo was skipped, got {crop!r}"
        )
    face = None
    if status == "aligned":
        left, top, right, bottom = (finite_number(fields[name], name, where) for name in BOX)
        points = [finite_number(fields[name], name, where) for name in LANDMARKS]
        score = finite_number(fields["score"], "score", where)
        face = Face((left, top, right, bottom), torch.tensor(points).reshape(5, 2), score)
    return ManifestRow(
        source=fields["source"],
        crop=crop or None,
        status=cast(Status, status),
        reason=fields["reason"],
        number=int(finite_number(fields["face"] or "0", "face", where)),
        faces=int(finite_number(fields["faces"], "faces", where)) if fields["faces"] else None,
        face=face,
    )


def aligned_table(table: FaceTable, folder: Path) -> FaceTable:
    """A table of photos as a table of their crops.

    A photo with several crops gives that of its largest face, since a row has one label. Rows
    whose photo has no crop are left out, which the note of the result says.

    Args:
        table: of photos, whose paths are those that `align_photos` was given.
        folder: where it wrote the crops and the manifest.

    Raises:
        DataError: if the manifest is missing or damaged, or no row has a crop.
    """
    manifest = read_manifest(folder)
    crops: list[str | None] = []
    missing: Counter[str] = Counter()
    whole = 0
    for path in table.paths:
        rows = manifest.get(PurePosixPath(path).as_posix())
        crop = rows[0].crop if rows else None
        crops.append(crop)
        if crop is None:
            missing[rows[0].reason if rows else "not in the manifest"] += 1
        elif rows and rows[0].status == "whole":
            whole += 1
    if not any(crops):
        raise DataError(
            f"{folder / MANIFEST_NAME}: no photo of {table.name} has a crop there, such as "
            f"{table.paths[0]!r}; align the folder {table.root}"
            if table.paths
            else f"{table.name}: the table has no rows"
        )
    kept = table.rows(torch.tensor([crop is not None for crop in crops]))
    notes = [table.note] if table.note else []
    if whole:
        notes.append(f"{whole:,} of {len(kept):,} pictures are whole photos, without a face found.")
    if missing:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in missing.most_common())
        notes.append(
            f"{sum(missing.values()):,} of {len(table):,} photos have no crop ({reasons})."
        )
    paths = tuple(crop for crop in crops if crop is not None)
    return replace(kept, root=folder, paths=paths, note=" ".join(notes))
