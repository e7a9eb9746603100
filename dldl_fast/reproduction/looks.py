"""Figs. 6, 7 and 8: what a network looks at in the test images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.data import DataError, FaceData
from dldl_fast.explain import occlusion
from dldl_fast.explain.faces import face_batches, score_maps
from dldl_fast.explain.pictures import ShownFace, occlusion_figure, score_map_figure
from dldl_fast.models import LabelDistributionNet
from dldl_fast.prediction import AgeEstimator
from dldl_fast.prediction.settings import image_settings
from dldl_fast.reproduction.job import Job
from dldl_fast.reproduction.measurements import MEASURED, Cell, Sheet
from dldl_fast.reproduction.report import Outcome
from dldl_fast.reproduction.sources import differing_data, load_faces
from dldl_fast.reproduction.trained import network_differences, parts_of, train_network
from dldl_fast.training.recipe import NETWORKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER_GROUPS = {"infants": (0.0, 3.0), "adults": (20.0, 35.0), "senior people": (65.0, 100.0)}
"""Ages of the three rows of Fig. 6, in years."""

FACES_IN_A_ROW = 10

_BATCH = 32


@dataclass(frozen=True)
class _Judge:
    """A network and the test images that it looks at."""

    estimator: AgeEstimator
    data: FaceData
    differences: list[str]

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """A test image, uint8 [S, S, 3]."""
        image = self.data.test.picture(row)
        return image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()

    def shown(self, rows: Sequence[int], values: Tensor) -> list[ShownFace]:
        """Some test images with their values and score maps."""
        faces = [self.pixels(row) for row in rows]
        maps = score_maps(self.estimator, faces)
        target = self.data.test.target
        return [
            ShownFace(face, float(target[row]), float(values[row]), one)
            for face, row, one in zip(faces, rows, maps, strict=True)
        ]

    def values(self) -> Tensor:
        """Predicted values of all test images, float64 [N]."""
        results = self.estimator.predict_many(
            (self.pixels(row) for row in range(len(self.data.test))), batch_size=_BATCH
        )
        return torch.tensor([one.predictions[0].value for one in results], dtype=torch.float64)


def fig6(job: Job) -> Outcome:
    """Score maps of test images of three ages."""
    judge = _judge(job, ["chalearn16"])
    values, rows, remarks = judge.values(), {}, []
    target = judge.data.test.target
    for title, (low, high) in PAPER_GROUPS.items():
        found = ((target >= low) & (target <= high)).nonzero()[:, 0].tolist()
        rows[f"{title}, {low:g} to {high:g} years"] = found[:FACES_IN_A_ROW]
    if judge.data.unit != "years" or not all(rows.values()):
        remarks.append(
            "The paper's rows are infants (0 to 3 years), adults (20 to 35) and senior people (65 "
            "to 100); the test images do not have all three, so that the rows are the lowest, "
            "middle and highest labels that there are."
        )
        order = target.argsort(stable=True).tolist()
        count = min(FACES_IN_A_ROW, len(order) // 3)
        if count == 0:
            raise DataError(f"{judge.data.name}: fig6 needs at least 3 test images")
        middle = (len(order) - count) // 2
        rows = {
            "lowest labels": order[:count],
            "middle labels": order[middle : middle + count],
            "highest labels": order[-count:],
        }
    saw = (
        "What the paper sees: the highlighted regions differ with age; between the eyes of "
        "infants, eyes, nose and mouth of adults, forehead, brow, eyes and nose of senior people."
    )
    return _score_maps(judge, rows, values, [*remarks, saw])


def fig7(job: Job) -> Outcome:
    """Score maps of the test images with the highest and the lowest predictions."""
    judge = _judge(job, ["scut-fbp"])
    values = judge.values()
    order = values.argsort(stable=True).tolist()
    count = min(FACES_IN_A_ROW, len(order) // 2)
    if count == 0:
        raise DataError(f"{judge.data.name}: fig7 needs at least 2 test images")
    rows = {
        f"highest {count} predictions": order[: -count - 1 : -1],
        f"lowest {count} predictions": order[:count],
    }
    saw = (
        "What the paper sees: no significant difference between the regions of attractive and "
        "unattractive faces."
    )
    return _score_maps(judge, rows, values, [saw])


def fig8(job: Job) -> Outcome:
    """How much the error grows with parts of the face hidden."""
    judge = _judge(job, ["chalearn15", "chalearn16", "scut-fbp", "cfd"])
    rows = range(len(judge.data.test))
    limit = job.budget.hidden_faces
    if limit is not None and len(rows) > limit:
        rows = range(0, len(rows), -(-len(rows) // limit))
    target = judge.data.test.target[list(rows)]
    advance = job.watch.on_work("hiding parts")

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        done = 0
        faces = (judge.pixels(row) for row in rows)
        for images, truth in face_batches(judge.estimator, faces, target, _BATCH):
            yield images, truth
            done += len(images)
            advance(done, len(rows))

    found = occlusion(judge.estimator.model, batches(), flip=judge.estimator.flip)
    mean_face = judge.estimator.pixels_of(found.mean_image)
    numbers: list[list[Cell]] = []
    for row, losses in enumerate(found.squares.tolist(), start=1):
        numbers += [["square", row, column, loss] for column, loss in enumerate(losses, start=1)]
    for row, loss in enumerate(found.stripes.tolist(), start=1):
        numbers.append(["stripe", row, None, loss])
    sheet: list[list[Cell]] = [["nothing", "", found.mae, 0.0]]
    for kind in ("square", "stripe"):
        worst = sorted((line for line in numbers if line[0] == kind), key=lambda line: -_loss(line))
        for line in worst[:3]:
            _, down, across, _ = line
            place = f"row {down} of 7" + ("" if across is None else f", column {across} of 7")
            sheet.append([kind, place, found.mae * (1 + _loss(line)), 100 * _loss(line)])
    return Outcome(
        sheet=Sheet(
            ["hidden", "place", f"MAE {MEASURED}", f"growth of the MAE in % {MEASURED}"], sheet
        ),
        draw=partial(_save, occlusion_figure(found, mean_face, judge.data.unit)),
        differences=[
            *judge.differences,
            f"Faces: {found.count} of {len(judge.data.test)} test images; the paper hides parts of "
            "all. In the mirror image the same part of the face is hidden.",
            "The paper prints no numbers in its Fig. 8. Its text: the largest losses are at nose "
            "and eyes in ChaLearn16, at the eyes in SCUT-FBP, at mouth and chin in CFD.",
        ],
        remarks=["The three places of each kind whose hiding costs most."],
        numbers=Sheet(["hidden", "row", "column", f"relative loss {MEASURED}"], numbers),
        facts={"mae": found.mae, "faces": found.count},
    )


def _loss(line: Sequence[Cell]) -> float:
    assert isinstance(line[-1], float)  # for the type checker
    return line[-1]


def _score_maps(
    judge: _Judge, rows: dict[str, list[int]], values: Tensor, remarks: Sequence[str]
) -> Outcome:
    """The figure, and of every face the place that speaks most for its prediction."""
    faces = {title: judge.shown(numbers, values) for title, numbers in rows.items()}
    lines: list[list[Cell]] = []
    for title, shown in faces.items():
        for number, one in zip(rows[title], shown, strict=True):
            if one.scores is None:
                raise DataError(
                    "score maps need a network whose features are maps, such as ThinAgeNet"
                )
            height, width = one.scores.shape
            highest = int(one.scores.argmax())
            row, column = highest // width + 1, highest % width + 1
            lines.append(
                [title, number, one.target, one.value, f"{row} of {height}", f"{column} of {width}"]
            )
    headers = [
        "group",
        "test image",
        f"label ({judge.data.unit})",
        f"prediction {MEASURED}",
        f"row of the highest score {MEASURED}",
        f"column of the highest score {MEASURED}",
    ]
    return Outcome(
        sheet=Sheet(headers, lines),
        draw=partial(_save, score_map_figure(list(faces.items()), judge.data.unit)),
        differences=judge.differences,
        remarks=[*remarks, "The paper prints no numbers here."],
    )


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png")


def _judge(job: Job, paper_sets: Sequence[str]) -> _Judge:
    """The user's network, or one that is trained now, and the test images at its size."""
    (source,) = job.sources
    if job.model is None:
        data = load_faces(job, source)
        network = NETWORKS[job.recipe.network]
        model = train_network(job, source, data, network, network.__name__)
        differences = network_differences(job, [(data.name, parts_of(data))], paper_sets)
        differences.append(f"Network: {network.__name__}; the paper's is ThinAgeNet or ThinAttNet.")
    else:
        model = LabelDistributionNet.from_pretrained(job.model)
        size = image_settings(model.config).size
        estimator = AgeEstimator(model, align=False, device=job.settings.device)
        data = load_faces(job, source, image_size=size, spec=estimator.spec)
        differences = [
            *differing_data([(data.name, parts_of(data))], paper_sets),
            f"Network: {type(model).__name__} of {job.model}, as it was trained there; the paper's "
            "is ThinAgeNet or ThinAttNet, pre-trained on face recognition.",
        ]
    return _Judge(AgeEstimator(model, align=False, device=job.settings.device), data, differences)
