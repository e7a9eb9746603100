"""Pictures decoded once and kept in a file, which trainings map into their memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dldl_fast.data.base import DataError, Progress, memory_limit
from dldl_fast.data.images import read_image
from dldl_fast.data.workers import clear_errors, loader
from dldl_fast.files import cache_folder

READER_VERSION = 2
"""To be increased when `read_image` makes other pixels of the same file."""

# Pictures that a worker decodes at a time, and those that an error names.
_CHUNK = 16
_NAMED = 10


def picture_cache() -> Path:
    """Where decoded pictures are kept: ``dldl_fast/pictures`` in the user's cache folder.

    That is ``$XDG_CACHE_HOME`` or ``~/.cache``. What is in it can be deleted while no training
    uses it.
    """
    return cache_folder("pictures")


def decode_pictures(
    root: Path,
    paths: Sequence[str],
    size: int,
    *,
    cache: Path | None,
    workers: int = 0,
    progress: Progress | None = None,
    places: Sequence[str] | None = None,
) -> Tensor:
    """Decode pictures with `read_image`; all of them, so that a bad one shows at the start.

    With a cache, a later call for the same pictures gets them from there, after their checksums
    were compared. A picture is decoded again if its file has another size or time of writing than
    then, or if its pixels are damaged. What is finished stays there when the call ends early,
    however it ends. Of several processes that ask for the same pictures at once, one decodes and
    the others wait.

    Args:
        root: folder that the pictures are in.
        paths: of the pictures, relative to `root`. Whether they may lead outside is for the reader
            of the table to check.
        size: height and width of the result, in pixels.
        cache: folder to keep the decoded pictures in, usually `picture_cache()`, or None: they are
            decoded into memory.
        workers: processes that decode; 0 decodes in this one.
        progress: told about every picture.
        places: what errors say before the path of each picture, such as ``"labels.csv, row 3"``.

    Returns:
        uint8 [N, 3, size, size]. With a cache it is a private mapping of the file: memory is taken
        by what is read only, processes share it, and what is written to it stays in this process.
        The same holds for views such as ``images[:100]``, but ``images[mask]`` is a copy.

    Raises:
        DataError: naming the pictures that cannot be read (the first ten, and how many), or if the
            pictures would not fit into memory or on the disk.
        ValueError: if `size` or `workers` make no sense.
        RuntimeError: if a worker ended unexpectedly.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    files = [root / path for path in paths]
    if cache is not None and files:
        return _from_cache(cache, files, size, workers, progress, places)
    needed, limit = len(files) * 3 * size**2, memory_limit()
    if needed > limit:
        raise DataError(
            f"{root}: {len(files):,} pictures of {size} x {size} pixels take "
            f"{needed / 2**30:.1f} GiB, more than half of the memory ({limit / 2**30:.1f} GiB); "
            "choose a smaller image size"
        )
    images = torch.empty((len(files), 3, size, size), dtype=torch.uint8)
    errors = {}
    for done, (row, pixels) in enumerate(_decoded(files, range(len(files)), size, workers), 1):
        if isinstance(pixels, str):
            errors[row] = pixels
        else:
            images[row] = pixels
        if progress is not None:
            progress(done, len(files))
    _raise_for(errors, len(files), places)
    return images


def _from_cache(
    cache: Path,
    files: list[Path],
    size: int,
    workers: int,
    progress: Progress | None,
    places: Sequence[str] | None,
) -> Tensor:
    store = _Store.of(cache, files, size)
    errors = {}
    try:
        if len(store.outdated().rows):
            with store.locked(progress):
                errors = store.fill(cache, workers, progress)
        _raise_for(errors, len(files), places)
        return store.images()
    except OSError as error:
        raise DataError(
            f"{store.folder}: decoded pictures cannot be kept here ({error}); finished ones stay "
            "for the next run; free some space, or choose another cache folder"
        ) from error


class _Outdated(NamedTuple):
    """What has to be decoded.

    Attributes:
        rows: int64 [M], in ascending order.
        stamps: int64 [N, 2], size and time of writing of all files now; -1 for missing ones.
        missing: how many of the rows have never been decoded.
        damaged: how many of the rows do not fit their checksum.
    """

    rows: NDArray[np.int64]
    stamps: NDArray[np.int64]
    missing: int
    damaged: int


class _Store(NamedTuple):
    """The folder of one list of pictures.

    ``pixels`` has the decoded pictures one after the other. ``rows`` has three int64 for each: size
    and time of writing of its file, and the CRC-32 of its pixels; zeros before it is decoded.
    """

    folder: Path
    files: list[Path]
    size: int

    @classmethod
    def of(cls, cache: Path, files: list[Path], size: int) -> _Store:
        import PIL

        # Other versions of Pillow may decode to other pixels.
        key = [READER_VERSION, PIL.__version__, size, *(os.path.abspath(file) for file in files)]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return cls(cache / digest[:32], files, size)

    @property
    def row_bytes(self) -> int:
        return 3 * self.size**2

    def _sizes(self) -> dict[str, int]:
        count = len(self.files)
        return {"rows": count * 24, "pixels": count * self.row_bytes}

    def images(self) -> Tensor:
        count = len(self.files)
        # Not shared: a stray write must not reach the file.
        pixels = torch.from_file(
            str(self.folder / "pixels"),
            shared=False,
            size=self._sizes()["pixels"],
            dtype=torch.uint8,
        )
        return pixels.reshape(count, 3, self.size, self.size)

    def outdated(self) -> _Outdated:
        stamps = np.array([_stamp(file) for file in self.files], dtype=np.int64)
        records = self._records()
        known = (records[:, :2] == stamps).all(axis=1) & (records[:, 0] > 0)
        damaged = 0
        if known.any():
            pixels = np.memmap(self.folder / "pixels", np.uint8, "r")
            for row in np.flatnonzero(known):
                part = pixels[row * self.row_bytes : (row + 1) * self.row_bytes]
                if zlib.crc32(part.data) != records[row, 2]:
                    known[row] = False
                    damaged += 1
        missing = int((records[:, 0] == 0).sum())
        return _Outdated(np.flatnonzero(~known), stamps, missing, damaged)

    def _records(self) -> NDArray[np.int64]:
        """Contents of ``rows``; zeros if it, or ``pixels``, is not a whole file."""
        if any(_size(self.folder / name) != size for name, size in self._sizes().items()):
            return np.zeros((len(self.files), 3), dtype=np.int64)
        return np.fromfile(self.folder / "rows", dtype=np.int64).reshape(-1, 3)

    @contextmanager
    def locked(self, progress: Progress | None) -> Iterator[None]:
        """Wait for other processes that decode these pictures, and keep further ones out."""
        import fcntl  # POSIX only, and needed for the cache only

        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("ab") as file:
            while True:
                try:
                    # Workers do not inherit it (as they would flock), so that none of them can
                    # hold it after this process was killed.
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except (BlockingIOError, PermissionError):
                    if progress is not None:
                        progress(int((self._records()[:, 0] > 0).sum()), len(self.files))
                    time.sleep(0.1)
            yield

    def fill(self, cache: Path, workers: int, progress: Progress | None) -> dict[int, str]:
        """Decode what is outdated, and return what is wrong with which rows."""
        outdated = self.outdated()
        if outdated.damaged:
            warnings.warn(
                f"{self.folder}: {outdated.damaged:,} decoded pictures are damaged (the file was "
                "changed, or not all of it reached the disk); they are decoded again",
                stacklevel=4,
            )
        needed, free = outdated.missing * self.row_bytes, shutil.disk_usage(self.folder).free
        if needed > free:
            raise DataError(
                f"{cache}: {outdated.missing:,} pictures of {self.size} x {self.size} pixels take "
                f"{needed / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free; free some "
                "space, or choose another cache folder or a smaller image size"
            )
        self._make_files()
        done = len(self.files) - len(outdated.rows)
        errors = {}
        with (
            (self.folder / "pixels").open("r+b") as pixels,
            (self.folder / "rows").open("r+b") as records,
        ):
            rows = outdated.rows.tolist()
            for row, decoded in _decoded(self.files, rows, self.size, workers):
                if isinstance(decoded, str):
                    errors[row] = decoded
                else:
                    data = decoded.numpy().data
                    pixels.seek(row * self.row_bytes)
                    pixels.write(data)
                    pixels.flush()
                    # Only now, as a row with a record counts as finished.
                    record = np.array([*outdated.stamps[row], zlib.crc32(data)], dtype=np.int64)
                    records.seek(row * 24)
                    records.write(record.tobytes())
                    records.flush()
                done += 1
                if progress is not None:
                    progress(done, len(self.files))
        return errors

    def _make_files(self) -> None:
        """Files of the right sizes; stamps and checksums tell what in them is finished."""
        for name, size in self._sizes().items():
            with (self.folder / name).open("ab") as file:
                file.truncate(size)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return -1, -1  # decoding says what is wrong
    return status.st_size, status.st_mtime_ns


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.exists() else None


class _Decoder(Dataset[tuple[list[int], Tensor, dict[int, str]]]):
    def __init__(self, files: Sequence[Path], size: int) -> None:
        self.files = files
        self.size = size

    def __getitem__(self, rows: list[int]) -> tuple[list[int], Tensor, dict[int, str]]:
        pixels = torch.zeros((len(rows), 3, self.size, self.size), dtype=torch.uint8)
        errors = {}
        for place, row in enumerate(rows):
            try:
                pixels[place] = torch.from_numpy(read_image(self.files[row], self.size))
            except DataError as error:
                errors[row] = str(error)
        return rows, pixels, errors


def _decoded(
    files: Sequence[Path], rows: Sequence[int], size: int, workers: int
) -> Iterator[tuple[int, Tensor | str]]:
    """Rows and their pixels, uint8 [3, size, size], or what is wrong with them."""
    chunk = _CHUNK if workers else 1
    chunks = [list(rows[start : start + chunk]) for start in range(0, len(rows), chunk)]
    with clear_errors():
        for part, pixels, errors in loader(_Decoder(files, size), chunks, workers):
            for row, image in zip(part, pixels, strict=True):
                yield row, errors.get(row, image)


def _raise_for(errors: dict[int, str], count: int, places: Sequence[str] | None) -> None:
    if not errors:
        return
    texts = [
        text if places is None else f"{places[row]}: {text}" for row, text in sorted(errors.items())
    ]
    if len(texts) == 1:
        raise DataError(texts[0])
    more = f"\n  and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    raise DataError(
        f"{len(texts):,} of {count:,} pictures cannot be read:\n  "
        + "\n  ".join(texts[:_NAMED])
        + more
    )
