"""Aligning any number of photos into a folder; an interrupted job goes on where it was."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dldl_fast.data.base import DataError
from dldl_fast.data.images import open_picture
from dldl_fast.data.photos import Photo, photos
from dldl_fast.faces.alignment import TEMPLATE
from dldl_fast.faces.crops import NO_FACE, NoFace, NoFaceError, Several, crops_of
from dldl_fast.faces.face import Face
from dldl_fast.faces.manifest import (
    HEADER,
    MANIFEST_NAME,
    ManifestRow,
    Status,
    read_group,
    read_groups,
)
from dldl_fast.files import replace_file
from dldl_fast.resume import keep_settings
from dldl_fast.threads import in_order

SETTINGS_NAME = "align.json"

OUTSIDE = "_outside"
"""Folder for the crops of photos that lie outside the input's folder."""

# What the detector gets at once: so many photos, or the first few with so many pixels.
_BATCH, _BATCH_PIXELS = 32, 16_000_000

# 76 kB for a face of 224 x 224 pixels, where 6 takes four times the time and gives 71 kB.
_PNG_LEVEL = 3

Detector = Callable[[Sequence[NDArray[np.uint8]]], list[list[Face]]]
"""What `FaceDetector` is: pictures to their faces, the largest of each first."""


@dataclass
class AlignSummary:
    """What became of the photos of a job, those that an earlier run had finished among them.

    Attributes:
        kept: photos that an earlier run had finished.
        statuses: number of photos by status.
        crops: number of crops.
        reasons: number of skipped photos by reason, without details.
        examples: for every reason the first photo.
    """

    kept: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    crops: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, rows: Sequence[ManifestRow]) -> None:
        """Count a photo, by its rows of the manifest."""
        first = rows[0]
        self.statuses[first.status] += 1
        self.crops += sum(row.crop is not None for row in rows)
        if first.status == "skipped":
            reason = re.split(r" \(|, got ", first.reason)[0]
            self.reasons[reason] += 1
            self.examples.setdefault(reason, first.source)


class _Opened(NamedTuple):
    """A photo in memory, or why it is not."""

    source: str
    crop: str  # without the end
    pixels: NDArray[np.uint8] | None
    reason: str = ""


class _Searched(NamedTuple):
    """A photo and its faces."""

    opened: _Opened
    faces: list[Face]
    ends_batch: bool


def align_photos(
    source: Path,
    out: Path,
    detector: Detector,
    *,
    no_face: NoFace = "whole",
    several: Several = "largest",
    size: int = 224,
    allow_outside: bool = False,
    workers: int = 1,
    on_photo: Callable[[Sequence[ManifestRow]], object] = lambda _: None,
) -> AlignSummary:
    """Find the faces in photos, align them, and write the crops and a manifest.

    The crop of ``a/b.jpg`` is ``a/b.jpg.png``, so that ``b.png`` beside it has another one; with
    ``several="all"`` they are ``a/b.jpg.0.png``, ``a/b.jpg.1.png``, ... A photo that cannot be used
    becomes a row that says why, and the others go on.

    Rows are added to ``manifest.csv`` as photos are finished, and a job that was interrupted, even
    killed, goes on from there: whatever has its crops, or has no face, is not done again. When the
    job ends, the rows are in the order of the photos. In memory there are a few photos at a time
    and, in a job that goes on, the names of those that are finished.

    Args:
        source: a photo, a folder or a table, see `photos`.
        out: folder for the crops.
        detector: finds faces; `FaceDetector` or another with the same interface.
        no_face: see `crops_of`; ``"error"`` skips the photo as ``"skip"`` does, and leaves it to
            the caller to end with an error.
        several: see `crops_of`.
        size: height and width of the crops, in pixels.
        allow_outside: whether photos may lie outside the folder of `source`.
        workers: threads that read photos, and as many that warp and write crops.
        on_photo: told about every photo, by its rows of the manifest.

    Raises:
        DataError: if `source` or the manifest cannot be read.
        ResumeError: if `out` holds crops of another source, or with other settings.
        ValueError: if an argument is not as described.
        OSError: if `out` cannot be written.
    """
    if size < 1 or workers < 1:
        raise ValueError(f"size and workers must be >= 1, got {size} and {workers}")
    if source.resolve() == out.resolve():
        raise ValueError(f"the crops need a folder of their own, got {out} for both")
    settings = {
        "input": str(source.resolve()),
        "no_face": no_face,
        "several": several,
        "size": size,
        "template": TEMPLATE.tolist(),
    }
    keep_settings(out / SETTINGS_NAME, settings)
    manifest = out / MANIFEST_NAME
    if not manifest.exists():
        replace_file(manifest, lambda part: part.write_text(HEADER, encoding="utf-8"))
    _cut_torn_line(manifest)
    finished = _finished(out, several)
    goes_on = manifest.stat().st_size > len(HEADER)
    summary = AlignSummary()

    def all_photos() -> Iterator[Photo]:
        return photos(source, allow_outside=allow_outside, leave_out=out)

    def remaining() -> Iterator[Photo]:
        with manifest.open("rb") as file:
            for photo in all_photos():
                start = finished.get(_source(photo))
                if start is None:
                    yield photo
                else:
                    summary.kept += 1
                    report(read_group(file, start)[1])

    def report(rows: Sequence[ManifestRow]) -> None:
        summary.add(rows)
        on_photo(rows)

    def save(searched: _Searched) -> tuple[list[ManifestRow], bool]:
        return _save(searched, out, no_face, several, size), searched.ends_batch

    searched = _searched(in_order(_open, remaining(), workers), detector)
    waiting: list[list[ManifestRow]] = []
    with manifest.open("a", encoding="utf-8", newline="") as file:
        for group, ends_batch in in_order(save, searched, workers):
            waiting.append(group)
            # In whole batches: a job that goes on forms the same ones, and what a network computes
            # may depend on the batch in the last digit.
            if ends_batch:
                file.write("".join(row.line() for rows in waiting for row in rows))
                file.flush()
                for rows in waiting:
                    report(rows)
                waiting.clear()
    if goes_on:
        _put_in_order(manifest, all_photos())
    return summary


def _cut_torn_line(manifest: Path) -> None:
    """Take away what a killed job wrote of a line."""
    with manifest.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**16))  # more than a line
        end = file.read()
        file.truncate(size - len(end) + end.rfind(b"\n") + 1)


def _finished(out: Path, several: Several) -> dict[str, int]:
    """Where in the manifest the rows of photos are that need not be done again."""
    finished: dict[str, int] = {}
    for start, group in read_groups(out / MANIFEST_NAME):
        first = group[0]
        # A photo that could not be read may have been repaired; one without a face has been seen.
        expected = max(1, first.faces or 0) if several == "all" else 1
        done = first.faces == 0 if first.crop is None else len(group) == expected
        if done and all(row.crop is None or (out / row.crop).is_file() for row in group):
            finished[first.source] = start
        else:
            finished.pop(first.source, None)
    return finished


def _put_in_order(manifest: Path, all_photos: Iterable[Photo]) -> None:
    """Write the manifest anew: one group of rows for every photo, in the order of the photos."""
    starts = {group[0].source: start for start, group in read_groups(manifest)}

    def write(part: Path) -> None:
        with manifest.open("rb") as old, part.open("wb") as new:
            new.write(HEADER.encode())
            for photo in all_photos:
                start = starts.get(_source(photo))
                if start is not None:  # else it came while the job was running
                    new.write(read_group(old, start)[0])

    replace_file(manifest, write)


def _source(photo: Photo) -> str:
    """What the manifest calls a photo: its path, in a form that is a line of text."""
    path = PurePosixPath(photo.name).as_posix()
    return path if _is_line(path) else ascii(path)[1:-1]


def _is_line(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a file name in another encoding
        return False
    return len(text.splitlines()) == 1


def _open(photo: Photo) -> _Opened:
    source, named = _source(photo), PurePosixPath(photo.name)
    place = photo.where
    try:
        if not _is_line(photo.name):
            raise DataError("the name is not one line of UTF-8 text; rename the file")
        path = photo.path()
        place = str(path)
        if named.is_absolute() or ".." in named.parts:
            crop = PurePosixPath(OUTSIDE, *path.parts[1:])
        elif named.parts[0] == OUTSIDE:
            raise DataError(f"{OUTSIDE} is the folder of other crops; rename the folder")
        else:
            crop = named
        return _Opened(source, crop.as_posix(), np.asarray(open_picture(path)))
    except DataError as error:
        reason = " ".join(str(error).removeprefix(f"{place}: ").split())
        return _Opened(source, "", None, reason)


def _searched(photos: Iterable[_Opened], detector: Detector) -> Iterator[_Searched]:
    batch: deque[_Opened] = deque()

    def searched() -> Iterator[_Searched]:
        pictures = [photo.pixels for photo in batch if photo.pixels is not None]
        faces = iter(detector(pictures) if pictures else [])
        del pictures
        while batch:
            photo = batch.popleft()
            found = [] if photo.pixels is None else next(faces)
            yield _Searched(photo, found, ends_batch=not batch)

    for photo in photos:
        batch.append(photo)
        sizes = [other.pixels.size for other in batch if other.pixels is not None]
        # The last: a long row of files that are no photos has to come to an end, too.
        full = len(sizes) == _BATCH or sum(sizes) >= 3 * _BATCH_PIXELS or len(batch) == 10 * _BATCH
        if full:
            yield from searched()
    yield from searched()


def _save(
    searched: _Searched, out: Path, no_face: NoFace, several: Several, size: int
) -> list[ManifestRow]:
    """Write the crops of a photo; its rows of the manifest."""
    from PIL import Image

    (source, name, pixels, reason), faces, _ = searched
    if pixels is None:
        return [ManifestRow(source, None, "skipped", reason)]
    try:
        crops = crops_of(pixels, faces, no_face=no_face, several=several, size=size)
    except NoFaceError:
        crops = []
    except ValueError as error:  # landmarks that fit nothing
        return [ManifestRow(source, None, "skipped", f"cannot be aligned ({error})")]
    if not crops:
        return [ManifestRow(source, None, "skipped", NO_FACE, faces=0)]
    rows = []
    for number, crop in enumerate(crops):
        path = f"{name}.{number}.png" if several == "all" else f"{name}.png"
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(crop.pixels)
        replace_file(target, partial(image.save, format="PNG", compress_level=_PNG_LEVEL))
        status: Status = "whole" if crop.face is None else "aligned"
        rows.append(ManifestRow(source, path, status, "", number, len(faces), crop.face))
    return rows
