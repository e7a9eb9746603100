"""All runs of a comparison: every entry on every fold of every seed."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import dldl_fast
from dldl_fast.comparison.data import ComparisonData
from dldl_fast.comparison.entries import Entry, describe_labels
from dldl_fast.comparison.fit import HIDDEN_UNITS, WEIGHT_DECAY, fit_network
from dldl_fast.comparison.folds import fold_of_rows
from dldl_fast.comparison.store import Store
from dldl_fast.comparison.two_stage import MEDIAN, TWO_STAGE, fit_two_stage
from dldl_fast.methods import make_method
from dldl_fast.training import TrainSettings


@dataclass(frozen=True)
class Results:
    """Predictions of every entry for every row, as a test row.

    Attributes:
        folds: int64 [S, N], the fold that a row was tested in, for each of S seeds; -1: in none.
        predictions: by name of the entry, float64 [S, N]; NaN for rows that were never tested.
    """

    folds: Tensor
    predictions: dict[str, Tensor]


class Progress:
    """Told what a comparison does; the methods do nothing unless overridden."""

    def on_start(self, runs: int) -> None:
        """Before the first of so many runs."""

    def on_run(self, entry: Entry, seed: int, fold: int) -> None:
        """Before a run that has no result yet."""

    def on_result(self) -> None:
        """After every run, also where its result was there already."""


def run_comparison(
    data: ComparisonData,
    entries: Sequence[Entry],
    out: Path,
    *,
    folds: int | Tensor,
    seeds: int,
    settings: TrainSettings,
    progress: Progress | None = None,
) -> Results:
    """Train every entry on every fold of every seed, and test it on the rest.

    Seeds are 0, 1, ...; each decides the folds, the initial weights and the batches, which are
    thus the same for all entries. Whatever is finished is in ``out`` at once and not done again;
    entries and seeds may be added later.

    Args:
        data: what to learn and to test on.
        entries: what to compare.
        out: folder for the predictions; see `Store`.
        folds: number of folds; or the data's own parts, the fold that every row is tested in from
            0, int64 [N], the same for all seeds, -1 for rows to learn from only.
        seeds: number of seeds, >= 1.
        settings: budget of a network; its seed is not used.
        progress: told about every run.

    Raises:
        DataError: if the data do not allow these folds.
        ResumeError: if the folder holds results of other data or settings.
        TrainingDivergedError: if a loss is not finite.
        OSError: if the folder cannot be written.
    """
    progress = progress or Progress()
    # Before the folder is made, since these can fail.
    if isinstance(folds, Tensor):
        fold_of = folds.expand(seeds, -1)
    else:
        fold_of = torch.stack(
            [fold_of_rows(len(data), folds, seed, data.group) for seed in range(seeds)]
        )
    count = int(fold_of.max()) + 1
    store = Store(out, _settings(data, folds, settings))
    predictions = {
        entry.name: torch.full(fold_of.shape, torch.nan, dtype=torch.float64) for entry in entries
    }
    progress.on_start(seeds * count * len(entries))
    for seed in range(seeds):
        for fold in range(count):
            train = (fold_of[seed] != fold).nonzero().ravel()
            test = (fold_of[seed] == fold).nonzero().ravel()
            for entry in entries:
                prediction = store.load(entry, seed, fold, test)
                if prediction is None:
                    progress.on_run(entry, seed, fold)
                    run = dataclasses.replace(settings, seed=seed)
                    prediction = predict_fold(data, entry, train, test, run)
                    store.save(entry, seed, fold, test, data.target[test], prediction)
                predictions[entry.name][seed, test] = prediction
                progress.on_result()
    return Results(fold_of, predictions)


def predict_fold(
    data: ComparisonData, entry: Entry, train: Tensor, test: Tensor, settings: TrainSettings
) -> Tensor:
    """Predictions of the test rows, float64 [M], by an entry that learnt from the training rows."""
    if entry.method == MEDIAN:
        return data.target[train].quantile(0.5).expand(len(test))
    if entry.method in TWO_STAGE:
        assert data.features is not None  # for the type checker: `method_entries` sees to it
        x, y, sigma = data.features, data.target[train], data.sigma[train]
        return fit_two_stage(entry.method, entry.labels, x[train], y, sigma, x[test])
    method = make_method(entry.method, entry.labels, **entry.settings)
    return fit_network(data, train, test, method, settings)


def _settings(data: ComparisonData, folds: int | Tensor, settings: TrainSettings) -> dict[str, Any]:
    """All that predictions depend on, besides entry, seed and fold."""
    return {
        "rows": len(data),
        "labels": describe_labels(data.labels),
        "sigma": _range(data.sigma),
        "folds": folds if isinstance(folds, int) else f"given, {_crc(folds):08x}",
        "network": f"MLP, {HIDDEN_UNITS} hidden units" if data.images is None else "TinyAgeNet",
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "weight_decay": WEIGHT_DECAY,
        "device": "cpu" if data.images is None else str(settings.resolved_device()),
        "dldl_fast": dldl_fast.__version__,
        "sha256 of the data": data.fingerprint(),
    }


def _crc(folds: Tensor) -> int:
    return zlib.crc32(folds.numpy().tobytes())


def _range(sigma: Tensor) -> list[float]:
    """Smallest and largest sigma; one number if they are the same."""
    return sorted({float(sigma.min()), float(sigma.max())})
