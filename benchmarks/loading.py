"""How fast pictures are decoded, changed and handed over, beside a training step.

``python -m benchmarks.loading`` writes results/loading.md; about 3 minutes. The photos are the ORL
faces in three channels, 250x250, JPEG of quality 90; everything else is 224x224. All figures are
medians over one interleaved run. They are times of the processor, those of the main process alone
where there are others, with one thread: what else the machine does changes them little.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
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
BATCH = 4
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


def endless(images: Tensor) -> Iterator[Tensor]:
    """Batches of one epoch after the other."""
    split = Split(images, torch.zeros(len(images), dtype=torch.float64))
    batches = FaceBatches(
        split, batch_size=BATCH, seed=0, augment=OfficialAugmentation(), workers=1
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
        "take from a worker and normalise": (COUNT, handed_over(images, in_worker=False)),
        "take what a worker has normalised": (COUNT, handed_over(images, in_worker=True)),
    }


def part_steps(images: Tensor) -> dict[str, tuple[int, Step]]:
    """Parts of the augmentation of a picture in colour, shrunk to the mean size."""
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy().copy())
    middle = [SIZE * 3 // 4] * 2
    small = resize(picture, middle, Image.Resampling.BICUBIC)
    parts: dict[str, Step] = {
        "shrink": lambda: resize(picture, middle, Image.Resampling.BICUBIC),
        "turn": lambda: rotate(small, 7.5, Image.Resampling.BILINEAR),
        "grow": lambda: resize(small, [SIZE, SIZE], Image.Resampling.BICUBIC),
        "brightness": lambda: ImageEnhance.Brightness(picture).enhance(1.2),
        "contrast": lambda: ImageEnhance.Contrast(picture).enhance(1.2),
        "saturation": lambda: ImageEnhance.Color(picture).enhance(1.2),
    }
    return {f"of it in colour: {name}": (1, step) for name, step in parts.items()}


def training_steps(images: Tensor) -> dict[str, tuple[int, Step]]:
    """A training step of ready images, and of images that a worker makes meanwhile."""
    steps: dict[str, tuple[int, Step]] = {}
    for name in NETWORKS:
        model = make_network(name).train().to(memory_format=torch.channels_last)
        problem = make_problem(BATCH, len(model.labels), torch.float32)
        ready = make_images(BATCH, SIZE).contiguous(memory_format=torch.channels_last)
        for source, batches in (("ready images", repeat(ready)), ("one worker", endless(images))):
            step = training_step(model, problem, batches)
            steps[f"training step of {name}, {source}"] = (BATCH, step)
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_photos(folder)
        images = decode_pictures(folder, paths, SIZE, cache=folder / "cache")
        steps = loading_steps(folder, paths) | part_steps(images) | training_steps(images)
        times = interleave([(1, step) for _, step in steps.values()], ROUNDS, time.process_time)
    per_image = {
        what: median(seconds) / count
        for (what, (count, _)), seconds in zip(steps.items(), times, strict=True)
    }
    augmented = per_image["augment, half of them grey"]
    text = [
        "# Loading",
        f"{run.cpu} ({run.instruction_set}), {run.cores} cores, torch {run.torch}, "
        f"{run.date[:10]}, load {run.load_1min}: `{run.command}`.",
        "Processor time of the main process with one thread, by image:",
        render(
            ("step", "", "ms", "images/s"),
            [
                (what, "", f"{seconds * 1e3:.2f}", f"{1 / seconds:.1f}")
                for what, seconds in per_image.items()
            ],
        ),
        *(
            f"One worker that augments keeps up with {name} trained on "
            f"{per_image[f'training step of {name}, ready images'] / augmented:.0f} such cores."
            for name in NETWORKS
        ),
    ]
    (RESULTS / "loading.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print("\n\n".join(text))


if __name__ == "__main__":
    main()
