"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from dldl_fast import DLDLv2Loss, functional
from dldl_fast.data.base import FaceData, Split
from dldl_fast.data.images import normalise
from dldl_fast.metrics import e_error, mae
from dldl_fast.processor import computes_in_bfloat16

PRECISIONS = ("auto", "float32", "bfloat16")

_EVALUATION_BATCH = 128


class TrainingDivergedError(RuntimeError):
    """The training loss is no longer finite."""


@dataclass(frozen=True)
class TrainSettings:
    """How to train; what to train and on what are arguments of their own.

    Attributes:
        epochs: passes over the training images, >= 1.
        batch_size: images per step, >= 1; an incomplete last batch is left out where there is a
            complete one.
        learning_rate: of Adam at the start, > 0; it falls to 0 along half a cosine.
        seed: of the initial weights, of the order of the images and of their random changes. The
            same seed on the same machine, with the same number of threads, gives the same model.
        device: ``"auto"`` (a CUDA device if there is one) or any device that torch knows.
        precision: ``"float32"``, ``"bfloat16"`` (autocast) or ``"auto"``: bfloat16 where the
            processor computes in it.

    Raises:
        ValueError: naming the setting that makes no sense.
    """

    epochs: int = 24
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be finite and > 0, got {self.learning_rate}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")

    def resolved_device(self) -> torch.device:
        """The device to compute on.

        Raises:
            ValueError: if torch does not know it or cannot use it here.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(1, device=device)
        # torch without CUDA raises AssertionError.
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            first_line = str(error).splitlines()[0]
            raise ValueError(f"device {self.device!r} cannot be used: {first_line}") from error
        return device

    def resolved_precision(self, device: torch.device) -> str:
        """``"float32"`` or ``"bfloat16"``."""
        if self.precision != "auto":
            return self.precision
        return "bfloat16" if computes_in_bfloat16(device) else "float32"


@dataclass(frozen=True)
class EpochRecord:
    """What is known after an epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        train_loss: mean loss of the epoch's steps.
        test_loss: loss on the test images.
        mae: mean absolute error on the test images (Eq. 19).
        e_error: epsilon-error on the test images (Eq. 20).
        learning_rate: of the epoch.
        seconds: since the start of the training.
    """

    epoch: int
    train_loss: float
    test_loss: float
    mae: float
    e_error: float
    learning_rate: float
    seconds: float


@dataclass
class TrainingResult:
    """What `train` did.

    Attributes:
        history: one record per finished epoch.
        steps: optimiser steps taken.
        seconds: time from the first step to the last evaluation.
        interrupted: whether a KeyboardInterrupt ended the training early.
    """

    history: list[EpochRecord] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False


class Callback:
    """Told about the progress of a training; the methods do nothing unless overridden."""

    def on_start(self, epochs: int, steps_per_epoch: int) -> None:
        """Before the first step."""

    def on_step(self, loss: float) -> None:
        """After every optimiser step."""

    def on_epoch(self, record: EpochRecord) -> None:
        """After every epoch and its evaluation."""


def train(
    model: nn.Module,
    data: FaceData,
    criterion: DLDLv2Loss,
    settings: TrainSettings,
    callback: Callback | None = None,
) -> TrainingResult:
    """Train a model in place with Adam and a cosine learning rate; evaluate after every epoch.

    A KeyboardInterrupt ends the training early and leaves the model as the last step left it.

    Args:
        model: images [N, 3, H, W] to logits [N, K].
        data: what to learn and what to test on.
        criterion: the loss; its reduction must be ``"mean"``.
        settings: how to train.
        callback: told about every step and epoch.

    Raises:
        TrainingDivergedError: if a loss is not finite.
        ValueError: if a target or a sigma is not one that the loss accepts.
    """
    device = settings.resolved_device()
    precision = settings.resolved_precision(device)
    callback = callback or Callback()
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    generator = Generator().manual_seed(settings.seed)
    count = len(data.train)
    batch_size = min(settings.batch_size, count)
    result = TrainingResult()
    started = time.perf_counter()
    callback.on_start(settings.epochs, count // batch_size)
    try:
        for epoch in range(1, settings.epochs + 1):
            model.train()
            losses = []
            for images, target, sigma in _batches(data, batch_size, device, generator):
                with _autocast(device, precision):
                    logits = model(images)
                loss = criterion(logits, target, sigma)
                optimizer.zero_grad()
                loss.backward()
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    raise TrainingDivergedError(
                        f"the loss became {losses[-1]} in epoch {epoch}, step {len(losses)}; "
                        f"lower the learning rate (now {settings.learning_rate:g})"
                    )
                optimizer.step()
                result.steps += 1
                callback.on_step(losses[-1])
            test_loss, error, epsilon = evaluate(model, data, criterion, device, precision)
            record = EpochRecord(
                epoch=epoch,
                train_loss=sum(losses) / len(losses),
                test_loss=test_loss,
                mae=error,
                e_error=epsilon,
                learning_rate=float(schedule.get_last_lr()[0]),
                seconds=time.perf_counter() - started,
            )
            schedule.step()
            result.history.append(record)
            callback.on_epoch(record)
    except KeyboardInterrupt:
        result.interrupted = True
    result.seconds = time.perf_counter() - started
    return result


def evaluate(
    model: nn.Module,
    data: FaceData,
    criterion: DLDLv2Loss,
    device: torch.device,
    precision: str,
) -> tuple[float, float, float]:
    """Loss, mean absolute error and epsilon-error on the test images."""
    logits = predict(model, data.test.images, device, precision)
    prediction = decode(logits, data.labels)
    sigma = criterion.sigma if data.test.sigma is None else data.test.sigma
    return (
        float(criterion(logits, data.test.target, sigma)),
        float(mae(prediction, data.test.target)),
        float(e_error(prediction, data.test.target, sigma)),
    )


def decode(logits: Tensor, labels: Tensor) -> Tensor:
    """Estimated values, float64 [N]: the expectations of the predicted distributions (Eq. 10)."""
    values = functional.expectation(logits, labels)
    assert isinstance(values, Tensor)  # for the type checker: a tuple only with return_std
    return values


def predict(
    model: nn.Module,
    images: Tensor,
    device: torch.device | str = "cpu",
    precision: str = "float32",
) -> Tensor:
    """Logits of pictures, without gradients and with the running statistics of the model.

    Args:
        model: images [N, 3, H, W] to logits [N, K]; left in evaluation mode.
        images: uint8 [N, C, H, W], C = 1 or 3, as `FaceData` holds them.
        device: where the model is.
        precision: ``"float32"`` or ``"bfloat16"``.

    Returns:
        float32 [N, K], on the CPU.
    """
    device = torch.device(device)
    model.eval()
    parts = []
    with torch.inference_mode(), _autocast(device, precision):
        for batch in torch.split(images, _EVALUATION_BATCH):
            parts.append(model(normalise(batch.to(device) / 255.0)).float().cpu())
    return torch.cat(parts)


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _batches(
    data: FaceData, batch_size: int, device: torch.device, generator: Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    part: Split = data.train
    order = torch.randperm(len(part), generator=generator)
    for rows in torch.split(order[: len(order) - len(order) % batch_size], batch_size):
        images, target = data.augment(
            part.images[rows].to(device) / 255.0, part.target[rows].to(device), generator
        )
        sigma = None if part.sigma is None else part.sigma[rows].to(device)
        yield normalise(images), target, sigma
