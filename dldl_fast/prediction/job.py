"""A prediction job over any number of photos, which can be interrupted and goes on."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from dldl_fast.data.base import DataError
from dldl_fast.data.images import open_picture
from dldl_fast.data.photos import Photo, photos
from dldl_fast.files import replace_file, write_json
from dldl_fast.prediction.annotate import annotated
from dldl_fast.prediction.estimator import AgeEstimator
from dldl_fast.prediction.result import PictureResult
from dldl_fast.prediction.table import PredictionFile, read_predictions

PredictMany: TypeAlias = Callable[[Iterable[Photo]], Iterator[PictureResult]]
"""Results of photos in their order."""

_REASONS_KEPT = 10


@dataclass
class JobSummary:
    """What a job did.

    Attributes:
        done_before: photos that an interrupted job had finished.
        statuses: number of photos by status, see `PictureResult`.
        faces: number of predictions.
        reasons: the first few photos that were skipped or cannot be used, and why.
    """

    done_before: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faces: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, result: PictureResult) -> None:
        """Count a photo."""
        self.statuses[result.status] += 1
        self.faces += len(result.predictions)
        if result.reason and len(self.reasons) < _REASONS_KEPT:
            named = result.name in result.reason
            self.reasons.append(result.reason if named else f"{result.name}: {result.reason}")


def run_job(
    estimator: AgeEstimator,
    source: Path,
    out: Path,
    *,
    settings: dict[str, Any],
    allow_outside: bool = False,
    distribution: bool = False,
    annotate: Path | None = None,
    batch_size: int = 32,
    workers: int = 1,
    predict_many: PredictMany | None = None,
    progress: Callable[[], object] = lambda: None,
) -> JobSummary:
    """Predict photos and write a row for each of them as soon as it is there.

    While the job runs, a hidden file beside ``out`` holds its settings. A job with the same
    settings that finds it goes on after the rows of ``out``; any other begins ``out`` anew.

    Args:
        estimator: makes the predictions.
        source: a photo, a folder or a table, see `photos`.
        out: file for the rows, see `PredictionFile`.
        settings: whatever the rows depend on, as JSON values.
        allow_outside: whether photos may lie outside the source.
        distribution: write the whole distributions too.
        annotate: folder for pictures with the predictions drawn in, or None.
        batch_size: faces that the model sees at once.
        workers: threads that read photos and find faces.
        predict_many: makes the predictions in place of the estimator, such as a `ray_cluster`;
            ``batch_size`` and ``workers`` are for the estimator.
        progress: called after every photo.

    Raises:
        DataError: if the source cannot be read, or ``out`` holds rows of other photos.
        OSError: if a file cannot be written.
    """
    listed = partial(photos, source, allow_outside=allow_outside, leave_out=annotate)
    summary = JobSummary()
    unfinished = out.with_name(f".{out.name}.unfinished")
    goes_on = out.is_file() and _settings_in(unfinished) == settings
    if goes_on:
        summary.done_before = _count_done(listed(), out)
        for _ in range(summary.done_before):
            progress()
    if predict_many is None:
        predict_many = partial(estimator.predict_many, batch_size=batch_size, workers=workers)
    labels = estimator.labels if distribution else None
    with PredictionFile(out, labels, append=goes_on) as file:
        write_json(unfinished, settings)
        taken: deque[Photo] = deque()
        remaining = _remembered(islice(listed(), summary.done_before, None), taken)
        for result in predict_many(remaining):
            photo = taken.popleft()
            if annotate is not None and result.predictions:
                _write_annotated(annotate, photo, result, estimator)
            file.write([result])
            summary.add(result)
            progress()
    unfinished.unlink()
    return summary


def _settings_in(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _count_done(all_photos: Iterable[Photo], out: Path) -> int:
    """Number of photos whose rows the file holds; they must be the first ones."""
    count = 0
    expected = iter(all_photos)
    for row in read_predictions(out):
        if row.face not in (None, 0):
            continue
        photo = next(expected, None)
        if photo is None or _as_read(photo.name) != row.name:
            raise DataError(
                f"{out}: holds a row of {row.name!r} where an interrupted run of this command "
                f"would have {'none' if photo is None else repr(photo.name)}; the photos have "
                "changed since. Delete the file to begin anew"
            )
        count += 1
    return count


def _as_read(name: str) -> str:
    """A name as it is after writing and reading."""
    return name.encode("utf-8", errors="backslashreplace").decode().strip()


def _remembered(all_photos: Iterable[Photo], taken: deque[Photo]) -> Iterator[Photo]:
    for photo in all_photos:
        taken.append(photo)
        yield photo


def _write_annotated(
    folder: Path, photo: Photo, result: PictureResult, estimator: AgeEstimator
) -> None:
    # A name from a table may be absolute or lead upwards; the picture stays in the folder.
    parts = [part for part in Path(photo.name).parts if part not in ("..", Path(photo.name).anchor)]
    target = folder.joinpath(*parts)
    if target.suffix.lower() not in (".jpg", ".jpeg"):
        target = target.with_name(f"{target.name}.jpg")
    picture = annotated(
        open_picture(photo.path()), result.predictions, estimator.labels, estimator.spec.unit
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, lambda part: picture.save(part, quality=90))
