"""Tables 5, 6 and 7: methods and hyper-parameters under one budget, on pictures or on features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dldl_fast.comparison import (
    ComparisonData,
    Entry,
    EntryError,
    Results,
    load_comparison_data,
    method_entries,
    run_comparison,
    sweep_entries,
)
from dldl_fast.comparison.data import is_table_of_pictures
from dldl_fast.comparison.statistics import fold_scores
from dldl_fast.data import FaceData, label_spec_of
from dldl_fast.data.base import DataError, memory_limit
from dldl_fast.data.images import normalise
from dldl_fast.data.sets import DATA_SETS
from dldl_fast.features import bif_features
from dldl_fast.labels import uniform_step
from dldl_fast.models import LabelDistributionNet
from dldl_fast.reproduction.job import Job
from dldl_fast.reproduction.measurements import Measurements, beside_paper
from dldl_fast.reproduction.paper import TABLES
from dldl_fast.reproduction.plots import plot_table
from dldl_fast.reproduction.report import Outcome
from dldl_fast.reproduction.sources import differing_data, load_faces
from dldl_fast.reproduction.trained import CONSTANT
from dldl_fast.training import TrainSettings

TWO_STAGE = {"SVR": "linear-svr", "OHRank": "ohrank", "BFGS-LDL": "bfgs-ldl"}
SINGLE_STAGE = {
    "MR (l2)": "mr-l2",
    "MR (l1)": "mr-l1",
    "DEX": "dex",
    "Ranking": "ranking",
    "ER (l1)": "er-l1",
    "DLDL": "dldl",
    "DLDL-v2": "dldl-v2",
    CONSTANT: "median",
}
SWEEP = {
    "lambda 0.01, step 1": (0.01, 1.0),
    "lambda 0.1, step 1": (0.1, 1.0),
    "lambda 1, step 1": (1.0, 1.0),
    "lambda 10, step 1": (10.0, 1.0),
    "lambda 1, step 4": (1.0, 4.0),
    "lambda 1, step 2": (1.0, 2.0),
    "lambda 1, step 0.5": (1.0, 0.5),
    "lambda 1, step 0.25": (1.0, 0.25),
}
"""Lambda, and the label step in steps of the data's own grid."""

_AT_ONCE = 256


@dataclass(frozen=True)
class Source:
    """What methods are compared on.

    Attributes:
        data: the rows.
        folds: how many, or the data set's own parts, as for `run_comparison`.
    """

    data: ComparisonData
    folds: int | Tensor

    def note(self, seeds: int) -> str:
        """The number of rows, how they are divided, and what the data say."""
        rows = f"{len(self.data)} rows, {self.folds} folds"
        if isinstance(self.folds, Tensor):
            tested = int((self.folds >= 0).sum())
            rows = f"{len(self.data) - tested} images to learn from, {tested} to test on"
        sigma = f"mean sigma {float(self.data.sigma.mean()):.3g}"
        return f"{rows}, {seeds} seed{'s' if seeds > 1 else ''}, {sigma}. {self.data.note}".strip()


def table5(job: Job) -> Outcome:
    """Two-stage methods on fixed features beside DLDL-v2."""
    found, notes, sources = Measurements(), [], [_load(job, text) for text in job.sources]
    for source in sources:
        data = source.data
        notes.append((data.name, source.note(job.budget.seeds)))
        if data.features is not None:
            _two_stage(job, found, source, "given")
            for row in (f"{kind}: {method}" for kind in ("BIF", "CNN") for method in TWO_STAGE):
                reason = "these features come of pictures, and the data hold other features"
                found.leave_out(row, data.name, reason)
        else:
            _two_stage(job, found, _with_features(source, _bif(job, source)), "BIF")
            if job.init:
                _two_stage(job, found, _with_features(source, _cnn(job, source)), "CNN")
            for method in () if job.init else TWO_STAGE:
                reason = (
                    "needs --init with a network of dldl-fast pretrain, whose features they are"
                )
                found.leave_out(f"CNN: {method}", data.name, reason)
        _compare(job, found, source, {"DLDL-v2": _method(data, "dldl-v2")}, "network")
    for source in sources:
        for method in TWO_STAGE:
            if source.data.features is None and f"given: {method}" in found.values:
                found.leave_out(f"given: {method}", source.data.name, "the data hold pictures")
        _compare(job, found, source, {CONSTANT: _method(source.data, "median")}, "network")
    remark = (
        "Features are standardised by the training rows and L2-normalised; the paper only "
        "normalises. Rows 'given' learn from the features in the file."
    )
    return _outcome(job, found, notes, [remark])


def table6(job: Job) -> Outcome:
    """Single-stage methods with the same network and budget."""
    found, notes = Measurements(), []
    for text in job.sources:
        source = _load(job, text)
        notes.append((source.data.name, source.note(job.budget.seeds)))
        entries = {row: _method(source.data, name) for row, name in SINGLE_STAGE.items()}
        _compare(job, found, source, entries, "methods")
    return _outcome(job, found, notes, [])


def table7(job: Job) -> Outcome:
    """DLDL-v2 with other weights of the regression and other label steps."""
    found, notes = Measurements(), []
    for text in job.sources:
        source = _load(job, text)
        data = source.data
        step = uniform_step(data.labels)
        notes.append(
            (
                data.name,
                f"{source.note(job.budget.seeds)} Labels {data.labels[0]:g} to "
                f"{data.labels[-1]:g}; 'step 1' is the step of this grid, {step:g}.",
            )
        )
        entries = {}
        for row, (weight, factor) in SWEEP.items():
            wanted = {"lambda": [weight]} if factor == 1 else {"label_step": [factor * step]}
            try:
                entries[row] = sweep_entries(wanted, data)[-1]
            except EntryError as error:
                found.leave_out(row, data.name, str(error))
        entries[CONSTANT] = _method(data, "median")
        _compare(job, found, source, entries, "sweep")
    return _outcome(job, found, notes, [])


def _load(job: Job, text: str) -> Source:
    path = Path(text)
    named = text.partition(":")[0] in DATA_SETS and ":" in text
    if text == "orl-age" or named or path.is_dir() or is_table_of_pictures(path):
        return _of_faces(load_faces(job, text), label_spec_of(text).sigma)
    size = job.recipe.image_size
    data = load_comparison_data(
        text, image_size=size, progress=job.watch.on_work(f"reading {text}")
    )
    return Source(data, job.budget.folds)


def _of_faces(faces: FaceData, sigma: float) -> Source:
    """The rows to learn from, and behind them those to test on."""
    parts = (faces.train, faces.test)
    count = sum(map(len, parts))
    needed = 2 * count * faces.test.pictures(torch.arange(1)).numel()
    if needed > memory_limit():
        raise DataError(
            f"{faces.name}: comparing methods keeps all {count:,} pictures in memory, "
            f"{needed / 2**30:.1f} GiB and more than half of it; use --budget quick, whose "
            "pictures are smaller, or fewer rows"
        )
    images = torch.cat([part.pictures(torch.arange(len(part))) for part in parts])
    given = [
        torch.full_like(part.target, sigma) if part.sigma is None else part.sigma for part in parts
    ]
    tested = torch.cat([torch.full((len(part),), number - 1) for number, part in enumerate(parts)])
    data = ComparisonData(
        name=faces.name,
        labels=faces.labels,
        target=torch.cat([part.target for part in parts]),
        sigma=torch.cat(given),
        images=images,
        training_images=images,
        augment=faces.augment,
        note=faces.note,
    )
    return Source(data, tested)


def _method(data: ComparisonData, name: str) -> Entry:
    return next(entry for entry in method_entries([name], data) if entry.name == name)


def _two_stage(job: Job, found: Measurements, source: Source, features: str) -> None:
    entries = {f"{features}: {row}": _method(source.data, name) for row, name in TWO_STAGE.items()}
    _compare(job, found, source, entries, features)


def _compare(
    job: Job, found: Measurements, source: Source, entries: Mapping[str, Entry], part: str
) -> None:
    """Train what has no result yet, and take in the errors."""
    data = source.data
    results: Results = run_comparison(
        data,
        list(entries.values()),
        job.folder(data.name, part),
        folds=source.folds,
        seeds=job.budget.seeds,
        settings=job.feature_settings if data.images is None else _picture_settings(job),
        progress=job.watch.on_comparison(),
    )
    for row, entry in entries.items():
        scores = fold_scores(data, results.folds, results.predictions[entry.name])
        found.add(row, data.name, {name: scores[name].mean for name in ("mae", "e_error")})


def _picture_settings(job: Job) -> TrainSettings:
    epochs = job.settings.total_epochs
    return dataclasses.replace(job.settings, epochs=epochs, precision="float32")


def _with_features(source: Source, features: Tensor) -> Source:
    data = dataclasses.replace(source.data, features=features, images=None, training_images=None)
    return Source(data, source.folds)


def _bif(job: Job, source: Source) -> Tensor:
    return _in_parts(job, source, "bio-inspired features", bif_features)


def _cnn(job: Job, source: Source) -> Tensor:
    model = LabelDistributionNet.from_pretrained(job.init[0])

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            pooled: Tensor = model.pool(model.features(normalise(images / 255.0)))
            return pooled

    return _in_parts(job, source, "features of the network", features)


def _in_parts(
    job: Job, source: Source, title: str, features_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Features of all images, some of these at a time."""
    images = source.data.images
    assert images is not None  # for the type checker: only pictures come here
    advance, done = job.watch.on_work(title), []
    for part in images.split(_AT_ONCE):
        done.append(features_of(part))
        advance(sum(map(len, done)), len(images))
    return torch.cat(done)


def _outcome(
    job: Job, found: Measurements, notes: Sequence[tuple[str, str]], remarks: Sequence[str]
) -> Outcome:
    paper = TABLES[job.name]
    pictures, features = job.settings, job.feature_settings
    size = job.recipe.image_size
    begun = "none: networks begin with random weights"
    if job.init:
        begun = f"the CNN features are those of {job.init[0]}; DLDL-v2 begins with random weights"
    return Outcome(
        sheet=beside_paper(paper, found, ""),
        draw=partial(plot_table, paper=paper, found=found),
        differences=[
            *differing_data(notes, paper.data_sets()),
            f"Pre-training: {begun}. The paper's networks begin with face recognition, learnt from "
            "5 million pictures of 54 thousand people.",
            f"Network and budget on pictures: TinyAgeNet, {size} x {size}, "
            f"{pictures.total_epochs} epochs of batches of {pictures.batch_size}; on features: an "
            f"MLP, {features.epochs} epochs of batches of {features.batch_size}; AdamW and, for "
            "pictures, small changes of them. The paper: ThinAgeNet, 224 x 224, 60 epochs of "
            "batches of 128, Adam, five kinds of augmentation, mirror images averaged.",
            "Nothing was tuned. Errors are means over folds and seeds, without a test of their "
            "differences: `dldl-fast compare` has spreads and tests.",
        ],
        remarks=remarks,
        facts={
            "data": dict(notes),
            "picture settings": dataclasses.asdict(_picture_settings(job)),
            "feature settings": dataclasses.asdict(features),
            "seeds": job.budget.seeds,
        },
    )
