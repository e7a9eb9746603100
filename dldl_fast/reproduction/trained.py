"""Tables 2, 3 and 4: networks of the paper, trained on pictures."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from dldl_fast import DLDLv2Loss
from dldl_fast.data import DataError, FaceData, label_spec_of
from dldl_fast.data.images import normalise
from dldl_fast.metrics import e_error, mae, pearson, rmse
from dldl_fast.models import (
    CheckpointError,
    LabelDistributionNet,
    ThinAgeNet,
    ThinAttNet,
    TinyAgeNet,
    TinyAttNet,
)
from dldl_fast.processor import processor_name
from dldl_fast.reproduction.job import Job
from dldl_fast.reproduction.measurements import Measurements, beside_paper
from dldl_fast.reproduction.paper import TABLES
from dldl_fast.reproduction.plots import plot_table
from dldl_fast.reproduction.report import Outcome
from dldl_fast.reproduction.sources import differing_data, load_faces
from dldl_fast.resume import ResumeError
from dldl_fast.training import run_training
from dldl_fast.training.checkpoint import LAST_NAME, STATE_NAME
from dldl_fast.training.run import new_model

TIMED_IMAGES, TIMED_SIZE, TIMED_CALLS = 32, 224, 3
"""Images of a timed pass, their height and width, and passes after one that is not counted."""

QUOTED = "a result of others, which the paper quotes"
CONSTANT = "constant (median of the training labels)"
"""A row that the paper does not have: what a network has to beat."""

_TESTED_AT_ONCE = 128
_UNITS = {"table2": "years", "table3": "points"}
_METRICS = {"table2": ("mae", "e_error"), "table3": ("mae", "rmse", "pearson")}


def table2(job: Job) -> Outcome:
    """Age networks of both sizes: errors, parameters, and time forward."""
    networks = {"DLDL-v2 (TinyAgeNet)": TinyAgeNet, "DLDL-v2 (ThinAgeNet)": ThinAgeNet}
    return _networks_of_both_sizes(job, networks)


def table3(job: Job) -> Outcome:
    """Attractiveness networks of both sizes: errors, parameters, and time forward."""
    networks = {"DLDL-v2 (TinyAttNet)": TinyAttNet, "DLDL-v2 (ThinAttNet)": ThinAttNet}
    return _networks_of_both_sizes(job, networks)


def table4(job: Job) -> Outcome:
    """ThinAgeNet without augmentation, and with the mean in the place of hybrid pooling."""
    found, notes = Measurements(), []
    variants = {
        "no augmentation, HP": ("hybrid", False),
        "augmentation, GAP": ("gap", True),
        "augmentation, HP": ("hybrid", True),
    }
    for source in job.sources:
        data = load_faces(job, source)
        notes.append((data.name, parts_of(data)))
        for row, (pooling, augmented) in variants.items():
            seen = data if augmented else _without_augmentation(data)
            model = train_network(job, source, seen, ThinAgeNet, row, pooling=pooling)
            found.add(row, data.name, scores_of(model, data, source, ("mae", "e_error")))
        found.add(CONSTANT, data.name, _constant_scores(data, source, ("mae", "e_error")))
    return _outcome(job, found, notes)


def train_network(
    job: Job,
    source: str,
    data: FaceData,
    network: type[LabelDistributionNet],
    title: str,
    **architecture: Any,
) -> LabelDistributionNet:
    """A network trained on the data with DLDL-v2's loss, from where an earlier training ended.

    Args:
        job: budget, pre-trained networks, and where the training is kept.
        source: that the data were loaded from.
        data: what to learn from.
        network: its class.
        title: names the training, in the progress and on disk.
        architecture: more arguments of the network.

    Raises:
        CheckpointError: if none of the pre-trained networks fits.
        ResumeError: if a training of other data is kept there.
        KeyboardInterrupt: after Ctrl-C; the training goes on from its last epoch another time.
    """
    model = new_model(network, job.settings, data.labels, **architecture)
    _load_pretrained(job, model)
    folder = job.folder(data.name, title)
    try:
        report = run_training(
            data,
            DLDLv2Loss(labels=data.labels, sigma=label_spec_of(source).sigma),
            job.settings,
            folder,
            model=model,
            callbacks=job.watch.on_training(f"{title}, {data.name}"),
            resume=(folder / LAST_NAME / STATE_NAME).is_file(),
        )
    except DataError as error:  # it says which option of `dldl-fast train` to change
        raise ResumeError(
            f"{folder} holds another training ({error}); delete that folder, or choose another "
            "--out"
        ) from error
    if report.metrics["interrupted"]:
        raise KeyboardInterrupt
    return model.eval()


def network_differences(
    job: Job, data: Sequence[tuple[str, str]], paper: Sequence[str]
) -> list[str]:
    """What differs from the paper where networks are trained on pictures."""
    settings, recipe = job.settings, job.recipe
    pretrained = ", ".join(str(folder) for folder in job.init)
    return [
        *differing_data(data, paper),
        f"Pre-training: {pretrained or 'none, networks begin with random weights'}; the paper's "
        "networks begin with face recognition, learnt from 5 million pictures of 54 thousand "
        "people.",
        f"Budget: {settings.total_epochs} epochs of batches of {settings.batch_size}, pictures of "
        f"{recipe.image_size} x {recipe.image_size}, {recipe.augmentation} augmentation (always "
        "light for orl-age and head-roll), one seed; the paper: 60 epochs of batches of 128, "
        "224 x 224, its five kinds of augmentation.",
        "Alignment: pictures are taken as they are; the paper's were aligned first (give "
        "pictures that dldl-fast align has written).",
    ]


def _networks_of_both_sizes(job: Job, networks: Mapping[str, type[ThinAgeNet]]) -> Outcome:
    found, notes, labels = Measurements(), [], []
    metrics, unit = _METRICS[job.name], _UNITS[job.name]
    for source in job.sources:
        data = load_faces(job, source)
        notes.append((data.name, parts_of(data)))
        if data.unit != unit:
            labels.append(
                f"Labels: those of {data.name} are {data.unit}, {data.labels[0]:g} to "
                f"{data.labels[-1]:g} (K = {len(data.labels)}), and the paper's are {unit}."
            )
        for row, network in networks.items():
            model = train_network(job, source, data, network, network.__name__)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            found.add(row, "", {"parameters": parameters / 1e6})
            found.add(row, data.name, scores_of(model, data, source, metrics))
        found.add(CONSTANT, data.name, _constant_scores(data, source, metrics))
    found.leave_out(CONSTANT, "", "it is no network, and has no correlation")
    device = job.settings.resolved_device()
    for number, (row, network) in enumerate(networks.items()):
        job.watch.on_work("timing")(number, len(networks))
        found.add(row, "", {"milliseconds": forward_milliseconds(network().to(device))})
    outcome = _outcome(job, found, notes)
    machine = processor_name() if device.type == "cpu" else torch.cuda.get_device_name(device)
    timed = (
        f"Time: median of {TIMED_CALLS} passes of {TIMED_IMAGES} images of {TIMED_SIZE} x "
        f"{TIMED_SIZE} in float32 on {machine}, {_load()}; the paper's is of an NVIDIA M40 with "
        "cuDNN 5.1. Compare ratios of networks, not times."
    )
    return dataclasses.replace(outcome, differences=[*outcome.differences, *labels, timed])


def forward_milliseconds(model: LabelDistributionNet) -> float:
    """Median time of a forward pass of 32 images, where the model is."""
    device = next(model.parameters()).device
    images = torch.zeros(TIMED_IMAGES, 3, TIMED_SIZE, TIMED_SIZE, device=device)
    times = []
    with torch.inference_mode():
        for _ in range(TIMED_CALLS + 1):
            started = time.perf_counter()
            model.eval()(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[1:])


def _load() -> str:
    threads = f"threads {torch.get_num_threads()}"
    if not hasattr(os, "getloadavg"):
        return threads
    return f"{threads}, load {os.getloadavg()[0]:.1f}"


def _outcome(job: Job, found: Measurements, notes: Sequence[tuple[str, str]]) -> Outcome:
    paper = TABLES[job.name]
    return Outcome(
        sheet=beside_paper(paper, found, QUOTED),
        draw=partial(plot_table, paper=paper, found=found),
        differences=network_differences(job, notes, paper.data_sets()),
        facts={"data": dict(notes), "settings": dataclasses.asdict(job.settings)},
    )


def _load_pretrained(job: Job, model: LabelDistributionNet) -> None:
    problems = []
    for folder in job.init:
        try:
            model.load_features(LabelDistributionNet.from_pretrained(folder), folder)
            return
        except CheckpointError as error:
            problems.append(str(error))
    if problems:
        raise CheckpointError(
            f"--init has no features for {type(model).__name__}; give one for every network that "
            f"is trained ({'; '.join(problems)})"
        )


def _without_augmentation(data: FaceData) -> FaceData:
    def same(images: Tensor, target: Tensor, _: Generator) -> tuple[Tensor, Tensor]:
        return images, target

    return dataclasses.replace(data, augment=same, augment_picture=None)


def scores_of(
    model: LabelDistributionNet, data: FaceData, source: str, metrics: Sequence[str]
) -> dict[str, float]:
    """Metrics over the test images, whose values are averaged with those of their mirror images.

    Only where a mirror image has the same label.

    Args:
        model: predicts the values.
        data: the images.
        source: that the data were loaded from.
        metrics: names; one that is not a number is left out.
    """
    device = next(model.parameters()).device
    values = [
        model.predict(normalise(data.test.pictures(rows).to(device) / 255.0), flip=data.mirror)
        for rows in torch.arange(len(data.test)).split(_TESTED_AT_ONCE)
    ]
    return _metrics_of(torch.cat(values).cpu(), data, source, metrics)


def _constant_scores(data: FaceData, source: str, metrics: Sequence[str]) -> dict[str, float]:
    constant = torch.full_like(data.test.target, data.baseline)
    defined = [metric for metric in metrics if metric != "pearson"]
    return _metrics_of(constant, data, source, defined)


def _metrics_of(
    values: Tensor, data: FaceData, source: str, metrics: Sequence[str]
) -> dict[str, float]:
    target = data.test.target
    sigma = label_spec_of(source).sigma if data.test.sigma is None else data.test.sigma
    with warnings.catch_warnings():
        # Of a network that gives one value for all images: not a number, and left out.
        warnings.filterwarnings("ignore", message="pearson: .* is constant")
        found = {
            "mae": mae(values, target),
            "e_error": e_error(values, target, sigma),
            "rmse": rmse(values, target),
            "pearson": pearson(values, target),
        }
    return {name: float(found[name]) for name in metrics if bool(found[name].isfinite())}


def parts_of(data: FaceData) -> str:
    """How many images are in the parts of the data, and what is to be known of these."""
    return (
        f"{len(data.train)} images to learn from, {len(data.test)} to test on. {data.note}".strip()
    )
