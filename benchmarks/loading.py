"""How fast pictures are decoded, changed and handed over, beside a training step.

``python -m benchmarks.loading`` writes results/loading.md; about 5 minutes. The photos are the ORL
faces in three channels, 250x250, JPEG of quality 90; everything else is 224x224. All figures are
medians over one interleaved run.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from dldl_fast.data import Split
from dldl_fast.data.face_batches import FaceBatches
from dldl_fast.data.images import normalise
from dldl_fast.data.official_augment import OfficialAugmentation, apply, draw
from dldl_fast.data.orl import read_orl_faces
from dldl_fast.data.picture_store import decode_pictures
from dldl_fast.data.pillow_operations import resize, rotate
from dldl_fast.data.workers import loader

from .interleave import interleave
from .network_variants import make_images, make_network
from .record import RESULTS, describe_run, render
from .variants import LOSSES, Problem, Step, make_problem

PHOTO, SIZE = 250, 224
COUNT = 64
BATCH = 8
ROUNDS = 5
NETWORKS = ("ThinAgeNet", "TinyAgeNet")


def write_photos(folder: Path) -> list[str]:
    """Colour photos of faces as JPEG files."""
    faces, _ = read_orl_faces(PHOTO)
    paths = []
    for i, face in enumerate(faces[:: len(faces) // COUNT][:COUNT]):
        tint = np.array([1.0, 0.8, 0.7])[:, None, None]
        pixels = (face.numpy() * tint).astype(np.uint8).transpose(1, 2, 0)
        paths.append(f"{i}.jpg")
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / paths[-1], quality=90)
    return paths


def endless(images: Tensor, workers: int) -> Iterator[Tensor]:
    """Batches of one epoch after the other."""
    split = Split(images, torch.zeros(len(images), dtype=torch.float64))
    batches = FaceBatches(
        split, batch_size=BATCH, seed=0, augment=OfficialAugmentation(), workers=workers
    )
    epoch = 0
    while True:
        epoch += 1
        for batch in batches.epoch(epoch):
            yield batch.images


class HandedOver(Dataset[Tensor]):
    """Batches made by a worker: as 8-bit pictures, or normalised."""

    def __init__(self, images: Tensor, normalised: bool) -> None:
        self.images = images
        self.normalised = normalised

    def __getitem__(self, row: int) -> Tensor:
        images = self.images[row : row + BATCH].contiguous(memory_format=torch.channels_last)
        return normalise(images / 255.0) if self.normalised else images


def handed_over(images: Tensor, *, in_worker: bool) -> Step:
    """Take all pictures from one worker, normalised there or here."""
    rows = list(range(0, COUNT, BATCH))
    batches = loader(HandedOver(images, in_worker), rows, 1, keep=True)

    def step() -> None:
        for batch in batches:
            if not in_worker:
                normalise(batch / 255.0)

    return step


def loading_steps(folder: Path, paths: list[str]) -> dict[str, tuple[int, Step]]:
    """What is done to how many pictures, in one process."""
    cache = folder / "cache"
    images = decode_pictures(folder, paths, SIZE, cache=cache)
    drawn = [draw(Generator().manual_seed(row), SIZE) for row in range(COUNT)]
    official = OfficialAugmentation()

    def changed(grey: bool) -> Step:
        return lambda: [apply(images[i], drawn[i]._replace(grey=grey)) for i in range(COUNT)]

    def augment() -> None:
        for row in range(COUNT):
            official(images[row], Generator().manual_seed(row))

    def decode_into_cache() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as new:
            decode_pictures(folder, paths, SIZE, cache=Path(new))

    return {
        "decode JPEG 250x250 into memory": (
            COUNT,
            lambda: decode_pictures(folder, paths, SIZE, cache=None),
        ),
        "decode JPEG 250x250 into the cache": (COUNT, decode_into_cache),
        "open the cache (stamps and checksums)": (
            COUNT,
            lambda: decode_pictures(folder, paths, SIZE, cache=cache),
        ),
        "augment, half of them grey": (COUNT, augment),
        "augment in colour": (COUNT, changed(False)),
        "augment in grey": (COUNT, changed(True)),
        "normalise": (BATCH, lambda: normalise(images[:BATCH] / 255.0)),
        "from one worker, normalised here": (COUNT, handed_over(images, in_worker=False)),
        "from one worker, normalised there": (COUNT, handed_over(images, in_worker=True)),
    }


def part_steps(images: Tensor) -> dict[str, Step]:
    """Parts of the augmentation of a picture in colour, shrunk to the mean size."""
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy().copy())
    middle = [SIZE * 3 // 4] * 2
    small = resize(picture, middle, Image.Resampling.BICUBIC)
    return {
        "shrink": lambda: resize(picture, middle, Image.Resampling.BICUBIC),
        "turn": lambda: rotate(small, 7.5, Image.Resampling.BILINEAR),
        "grow": lambda: resize(small, [SIZE, SIZE], Image.Resampling.BICUBIC),
        "brightness": lambda: ImageEnhance.Brightness(picture).enhance(1.2),
        "contrast": lambda: ImageEnhance.Contrast(picture).enhance(1.2),
        "saturation": lambda: ImageEnhance.Color(picture).enhance(1.2),
    }


def training_steps(images: Tensor) -> dict[str, Step]:
    """A training step of ready images, and of images that are loaded meanwhile."""
    steps: dict[str, Step] = {}
    for name in NETWORKS:
        model = make_network(name).train().to(memory_format=torch.channels_last)
        problem = make_problem(BATCH, len(model.labels), torch.float32)
        ready = make_images(BATCH, SIZE).contiguous(memory_format=torch.channels_last)
        sources = {"images ready": repeat(ready)}
        sources |= {f"workers={workers}": endless(images, workers) for workers in (0, 1)}
        for source, batches in sources.items():
            steps[f"{name}, {source}"] = training_step(model, problem, batches)
    return steps


def training_step(model: nn.Module, problem: Problem, batches: Iterator[Tensor]) -> Step:
    """The next images, forward, loss, backward, Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss = LOSSES["dldl_fast"](problem)

    def step() -> None:
        images = next(batches)
        optimizer.zero_grad()
        loss(model(images), problem.target).backward()
        optimizer.step()

    return step


def main() -> None:
    run = describe_run(shlex.join(["python", "-m", "benchmarks.loading", *sys.argv[1:]]))
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_photos(folder)
        loading = loading_steps(folder, paths)
        images = decode_pictures(folder, paths, SIZE, cache=folder / "cache")
        parts = part_steps(images)
        training = training_steps(images)
        steps = [(1, step) for _, step in loading.values()]
        steps += [(1, step) for step in parts.values()]
        steps += [(cores, step) for step in training.values()]
        seconds = [median(times) for times in interleave(steps, ROUNDS)]
    rates = {
        what: count / time
        for (what, (count, _)), time in zip(loading.items(), seconds, strict=False)
    }
    part_times = dict(zip(parts, seconds[len(loading) :], strict=False))
    training_times = dict(zip(training, seconds[-len(training) :], strict=True))
    augmented = rates["augment, half of them grey"]
    text = [
        "# Loading",
        f"{run.cpu} ({run.instruction_set}), {cores} cores, torch {run.torch}, {run.date[:10]}, "
        f"load {run.load_1min}: `{run.command}`.",
        "## In one process with one thread",
        render(
            ("step", "", "images/s"), [(what, "", f"{rate:.0f}") for what, rate in rates.items()]
        ),
        "The parts of an augmentation in colour, 224x224 by way of 168x168:",
        render(
            ("part", "", "us"), [(what, "", f"{t * 1e6:.0f}") for what, t in part_times.items()]
        ),
        f"## A training step, {cores} threads, {BATCH} images",
        render(
            ("network", "images", "images/s", "of ready images", "workers needed"),
            [
                (
                    *what.split(", "),
                    f"{BATCH / time:.1f}",
                    f"{training_times[what.split(', ')[0] + ', images ready'] / time:.2f}",
                    f"{BATCH / time / augmented:.3f}" if what.endswith("ready") else "",
                )
                for what, time in training_times.items()
            ],
        ),
        '"Workers needed" is the rate of the step over that of the augmentation in one process. '
        "Loading and training share the same cores here.",
    ]
    (RESULTS / "loading.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print("\n\n".join(text))


if __name__ == "__main__":
    main()
