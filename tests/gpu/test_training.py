"""A training and the face detector on a GPU; the default device stays the CPU for both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dldl_fast import DLDLv2Loss
from dldl_fast.data import FaceData, Split
from dldl_fast.data.official_augment import OfficialAugmentation
from dldl_fast.labels import label_grid
from dldl_fast.models import TinyAgeNet
from dldl_fast.training import LabelObjective, Training, TrainSettings
from tests.cases import needs_gpu

pytestmark = [pytest.mark.gpu, needs_gpu]

pytest.importorskip("PIL", reason="the extra faces is not installed")


def same(images, target, _generator):
    return images, target


def brightness_data(official: bool) -> FaceData:
    """Pictures whose brightness is the label; the official augmentation changes it a little."""

    def part(count: int) -> Split:
        target = torch.linspace(0, 10, count, dtype=torch.float64)
        images = (20 * target + 20).to(torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)
        return Split(images.contiguous(), target)

    return FaceData(
        name="brightness",
        unit="steps",
        labels=label_grid(0, 10),
        train=part(64),
        test=part(16),
        augment=same,
        baseline=5.0,
        augment_picture=OfficialAugmentation() if official else None,
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("official", [False, True])
def test_training_learns(precision: str, official: bool) -> None:
    with torch.device("cpu"):
        torch.manual_seed(0)
        settings = TrainSettings(
            epochs=8,
            batch_size=16,
            device="cuda",
            precision=precision,
            workers=2 if official else 0,
            ema=0.5,
            micro_batches=2,
        )
        objective = LabelObjective(DLDLv2Loss(0, 10, sigma=1.0))
        model = TinyAgeNet(range(11), rate=0.05)
        result = Training(model, brightness_data(official), objective, settings).run()
    losses = [record.train_loss for record in result.history]
    assert losses[-1] < 0.7 * losses[0]
    assert next(model.parameters()).is_cuda


def test_the_gradient_is_that_of_the_cpu() -> None:
    gradients = []
    for device in ("cpu", "cuda"):
        with torch.device("cpu"):
            torch.manual_seed(0)
            model = TinyAgeNet(range(11), rate=0.05)
            settings = TrainSettings(batch_size=16, device=device, precision="float32")
            objective = LabelObjective(DLDLv2Loss(0, 10, sigma=1.0))
            training = Training(model, brightness_data(False), objective, settings)
            training._backward(objective, next(iter(training._batches.epoch(1))))
        gradients.append(model.head.weight.grad.cpu())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-3)


def test_the_detector_finds_what_it_finds_on_the_cpu(mtcnn_weights: Path) -> None:
    from dldl_fast.faces import FaceDetector
    from tests.faces.photos import photos

    with torch.device("cpu"):
        pictures = list(photos().values())
        found = [
            FaceDetector.from_folder(mtcnn_weights, device=device)(pictures)
            for device in ("cpu", "cuda")
        ]
    for on_cpu, on_gpu in zip(*found, strict=True):
        assert len(on_cpu) == len(on_gpu)
        for one, other in zip(on_cpu, on_gpu, strict=True):
            torch.testing.assert_close(other.box, one.box, atol=0.5, rtol=0)
            torch.testing.assert_close(other.landmarks, one.landmarks, atol=0.5, rtol=0)
