"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dldl_fast.data.base import FaceData, Split
from dldl_fast.data.batches import Batch, Batches, seed_of
from dldl_fast.data.face_batches import FaceBatches
from dldl_fast.data.images import normalise
from dldl_fast.data.memory_batches import MemoryBatches
from dldl_fast.training.objective import Objective
from dldl_fast.training.processes import Processes
from dldl_fast.training.settings import Stage, TrainSettings

_EVALUATION_BATCH = 128


class TrainingDivergedError(RuntimeError):
    """The training loss is no longer finite."""


@dataclass(frozen=True)
class EpochRecord:
    """What is known after an epoch.

    Attributes:
        epoch: number of the epoch, from 1, over all stages.
        stage: number of the stage, from 1.
        train_loss: mean loss of the epoch's steps.
        scores: of the validation images, or of the test images where there are none: ``"loss"``
            and, for labels, ``"mae"`` (Eq. 19) and ``"e_error"`` (Eq. 20).
        learning_rate: of the epoch.
        seconds: since the start of the training, without interruptions.
    """

    epoch: int
    stage: int
    train_loss: float
    scores: dict[str, float]
    learning_rate: float
    seconds: float


@dataclass
class TrainingResult:
    """What a training did.

    Attributes:
        history: one record per finished epoch.
        best_epoch: the epoch whose model is the result: that with the best validation score in
            the last stage, or the last one where there are no validation images.
        steps: optimiser steps taken.
        seconds: time from the first step to the last evaluation.
        interrupted: whether a KeyboardInterrupt ended the training early.
    """

    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False


class Callback:
    """Told about the progress of a training; the methods do nothing unless overridden."""

    def on_start(self, epochs: int, steps_per_epoch: int, done: int) -> None:
        """Before the first step; `done` epochs were finished before, by a training resumed."""

    def on_step(self, loss: float) -> None:
        """After every optimiser step."""

    def on_epoch(self, record: EpochRecord) -> None:
        """After every epoch and its evaluation."""


class Training:
    """A training with Adam, which can be saved after any epoch and goes on from there exactly.

    Every process of a training makes one, with the same arguments; gradients are averaged so that
    they are those of the whole batch in one process, weighted means included, up to batch
    normalisation, whose statistics are those of each process's images on the CPU and of the whole
    batch on CUDA devices.

    Args:
        model: images [N, 3, H, W] to outputs [N, K]; trained in place.
        data: what to learn and what to test on.
        objective: the loss and its scores.
        settings: how to train.
        processes: this process among the others.

    Attributes:
        result: what was done so far.
        is_best: whether the last finished epoch is the best one so far.

    Raises:
        ValueError: if there are fewer images in a batch than processes or parts of the batch, or
            `patience` is set and there are no validation images.

    Example:
        >>> from dldl_fast import DLDLv2Loss
        >>> from dldl_fast.data import Split
        >>> from dldl_fast.labels import label_grid
        >>> from dldl_fast.models import TinyAgeNet
        >>> from dldl_fast.training import LabelObjective
        >>> images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
        >>> part = Split(images, torch.arange(8.0, dtype=torch.float64))
        >>> same = lambda images, target, generator: (images, target)
        >>> data = FaceData("random", "years", label_grid(0, 10), part, part, same, 3.5)
        >>> objective = LabelObjective(DLDLv2Loss(0, 10))
        >>> model = TinyAgeNet(range(11), rate=0.05)
        >>> settings = TrainSettings(epochs=2, batch_size=4, device="cpu")
        >>> Training(model, data, objective, settings).run().steps
        4
    """

    def __init__(
        self,
        model: nn.Module,
        data: FaceData,
        objective: Objective,
        settings: TrainSettings,
        *,
        processes: Processes | None = None,
    ) -> None:
        self.settings = settings
        self.result = TrainingResult()
        self.is_best = False
        self._data = data
        self._objective = objective
        self._processes = processes or Processes()
        self._device = settings.resolved_device()
        self._precision = settings.resolved_precision(self._device)
        self._model = model
        self._check()
        self._batches = self._batches_of(data)
        model.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self._processes.count > 1 and self._device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self._averaged = (
            None
            if settings.ema is None
            else AveragedModel(
                model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True
            )
        )
        self._network = model if self._processes.count == 1 else DistributedDataParallel(model)
        self._stage = self._stage_epoch = 0
        self._best_score = math.inf
        self._best_weights: dict[str, Any] = {}
        self._new_optimizer()

    @property
    def model(self) -> nn.Module:
        """The model as it is now: the average of the weights where there is one."""
        if self._averaged is None:
            return self._model
        averaged: nn.Module = self._averaged.module
        return averaged

    def run(self, callbacks: Sequence[Callback] = ()) -> TrainingResult:
        """Train until the last stage is done; evaluate after every epoch.

        A KeyboardInterrupt ends a training in one process early. With validation images, the model
        is that of the best epoch in the end, otherwise it is as the last step left it.

        Args:
            callbacks: told about every step and epoch; what they raise ends the training.

        Raises:
            TrainingDivergedError: if a loss is not finite.
            ValueError: if a target or a sigma is not one that the loss accepts.
            WorkerLostError: if another process is gone.
        """
        result, settings = self.result, self.settings
        already = result.seconds
        started = time.perf_counter()
        for callback in callbacks:
            callback.on_start(settings.total_epochs, len(self._batches), len(result.history))
        try:
            while self._stage < len(settings.all_stages):
                if self._stage_epoch == 0:
                    self._start_stage()
                train_loss = self._train_epoch(callbacks)
                scores = self.evaluate(self._data.validation or self._data.test)
                record = EpochRecord(
                    epoch=len(result.history) + 1,
                    stage=self._stage + 1,
                    train_loss=train_loss,
                    scores=scores,
                    learning_rate=float(self._schedule.get_last_lr()[0]),
                    seconds=already + time.perf_counter() - started,
                )
                result.seconds = record.seconds
                self._finish_epoch(record)
                for callback in callbacks:
                    callback.on_epoch(record)
        except KeyboardInterrupt:
            # Several processes notice it in different steps, and would wait for one another.
            if self._processes.count > 1:
                raise
            result.interrupted = True
        if self._best_weights:
            self.model.load_state_dict(self._best_weights)
        result.seconds = already + time.perf_counter() - started
        return result

    def evaluate(self, part: Split) -> dict[str, float]:
        """Scores of a part of the data, the same in every process."""
        return self._objective_now.scores(self.outputs(part), part)

    def outputs(self, part: Split) -> Tensor:
        """Outputs for a part of the data, float32 [N, K], the same in every process."""
        processes = self._processes
        share = torch.arange(len(part))[processes.rank :: processes.count]
        batches = (part.pictures(rows) for rows in torch.split(share, _EVALUATION_BATCH))
        outputs = _predict(self.model, batches, self._device, self._precision)
        # NCCL knows no tensors of the CPU.
        return processes.gather_rows(outputs.to(self._device), len(part)).cpu()

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on after the last finished epoch.

        Tensors, numbers, texts, lists and dictionaries only, for ``torch.load(weights_only=True)``.
        """
        return {
            "model": self._model.state_dict(),
            "averaged": None if self._averaged is None else self._averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "stage": self._stage,
            "stage_epoch": self._stage_epoch,
            "best_score": self._best_score,
            "best_epoch": self.result.best_epoch,
            "best_weights": self._best_weights,
            "steps": self.result.steps,
            "seconds": self.result.seconds,
            "history": [asdict(record) for record in self.result.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another training with the same arguments was.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: if the state is not of such a training.
        """
        self._stage = int(state["stage"])
        self._stage_epoch = int(state["stage_epoch"])
        if self._stage_epoch > 0:  # otherwise the stage has yet to begin
            self._new_optimizer()
            self._optimizer.load_state_dict(state["optimizer"])
            self._schedule.load_state_dict(state["schedule"])
        self._model.load_state_dict(state["model"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])
        self._best_score = float(state["best_score"])
        self._best_weights = dict(state["best_weights"])
        self.result = TrainingResult(
            history=[EpochRecord(**record) for record in state["history"]],
            best_epoch=int(state["best_epoch"]),
            steps=int(state["steps"]),
            seconds=float(state["seconds"]),
        )

    def _batches_of(self, data: FaceData) -> Batches:
        settings, processes = self.settings, self._processes
        if data.augment_picture is not None:
            return FaceBatches(
                data.train,
                batch_size=settings.batch_size,
                seed=settings.seed,
                augment=data.augment_picture,
                workers=settings.workers,
                rank=processes.rank,
                processes=processes.count,
                device=self._device,
            )
        return MemoryBatches(
            data.train,
            data.augment,
            batch_size=settings.batch_size,
            seed=settings.seed,
            device=self._device,
            rank=processes.rank,
            processes=processes.count,
        )

    def _check(self) -> None:
        settings, count = self.settings, self._processes.count
        batch_size = min(settings.batch_size, len(self._data.train))
        if batch_size < count * settings.micro_batches:
            raise ValueError(
                f"a batch of {batch_size} images is too small for {count} processes with "
                f"{settings.micro_batches} parts each; choose a larger batch_size"
            )
        if settings.patience is not None and self._data.validation is None:
            raise ValueError(
                "patience needs validation images, which are held out from those to learn from; "
                "hold some out, or leave patience out"
            )
        if any(stage.zero_head_bias for stage in settings.all_stages):
            self._head_bias(self._model)

    @property
    def _objective_now(self) -> Objective:
        """The objective of the stage; after the last one that of the last one."""
        stages = self.settings.all_stages
        return self._objective.for_stage(stages[min(self._stage, len(stages) - 1)])

    def _start_stage(self) -> None:
        stage: Stage = self.settings.all_stages[self._stage]
        if stage.zero_head_bias:
            for model in (self._model, self.model):
                nn.init.zeros_(self._head_bias(model))
        self._new_optimizer()

    @staticmethod
    def _head_bias(model: nn.Module) -> Tensor:
        head = getattr(model, "head", None)
        if not isinstance(head, nn.Linear) or head.bias is None:
            raise ValueError("zero_head_bias needs a model whose last layer is model.head")
        return head.bias

    def _new_optimizer(self) -> None:
        settings = self.settings
        stage = settings.all_stages[self._stage]
        self._optimizer = torch.optim.Adam(
            self._model.parameters(), lr=settings.learning_rate, eps=settings.adam_epsilon
        )
        self._schedule: LRScheduler = (
            CosineAnnealingLR(self._optimizer, stage.epochs)
            if settings.schedule == "cosine"
            else StepLR(self._optimizer, settings.step_epochs, settings.step_factor)
        )

    def _train_epoch(self, callbacks: Sequence[Callback]) -> float:
        self._network.train()
        if self.settings.freeze_batch_norm:
            for module in self._network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        number = len(self.result.history) + 1
        losses: list[float] = []
        objective = self._objective_now
        # For layers that draw random numbers, such as dropout; an epoch begins the same always.
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(seed_of(self.settings.seed, number, 2, self._processes.rank))
            for batch in self._batches.epoch(number):
                loss = self._backward(objective, batch)
                losses.append(loss)
                if not math.isfinite(loss):
                    raise TrainingDivergedError(
                        f"the loss became {loss} in epoch {number}, step {len(losses)}; "
                        f"lower the learning rate (now {self.settings.learning_rate:g})"
                    )
                self._optimizer.step()
                if self._averaged is not None:
                    self._averaged.update_parameters(self._model)
                self.result.steps += 1
                for callback in callbacks:
                    callback.on_step(loss)
        return sum(losses) / len(losses)

    def _backward(self, objective: Objective, batch: Batch) -> float:
        """Set the gradients to those of the whole batch of all processes; its mean loss."""
        processes, parts = self._processes, _split(batch, self.settings.micro_batches)
        weights = [
            torch.tensor(float(len(part.target)), dtype=torch.float64, device=self._device)
            if part.weight is None
            else part.weight.sum()
            for part in parts
        ]
        # The mean over the batch divides by the weights of all rows, wherever they are.
        whole = processes.total(torch.stack(weights).sum())
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        self._optimizer.zero_grad()
        for number, (part, weight) in enumerate(zip(parts, weights, strict=True), start=1):
            wait = isinstance(self._network, DistributedDataParallel) and number < len(parts)
            with self._network.no_sync() if wait else nullcontext():  # type: ignore[operator]
                with _autocast(self._device, self._precision):
                    outputs = self._network(part.images)
                share = torch.where(whole > 0, weight / whole, 0.0)
                loss = objective.loss(outputs, part) * share
                # DistributedDataParallel divides the sum over the processes by their number.
                (loss * processes.count).backward()
            total += loss.detach()
        return float(processes.total(total))

    def _finish_epoch(self, record: EpochRecord) -> None:
        result, stage = self.result, self.settings.all_stages[self._stage]
        result.history.append(record)
        self._schedule.step()
        self._stage_epoch += 1
        score = record.scores[self._objective.judged_by]
        # Without validation images nothing may choose: the last epoch is the result.
        first = self._stage_epoch == 1
        self.is_best = self._data.validation is None or first or score < self._best_score
        if self.is_best:
            self._best_score, result.best_epoch = score, record.epoch
            if self._data.validation is not None:
                self._best_weights = copy.deepcopy(self.model.state_dict())
        patience = self.settings.patience
        tired = patience is not None and record.epoch - result.best_epoch >= patience
        if self._stage_epoch == stage.epochs or tired:
            self._stage += 1
            self._stage_epoch = 0


def predict(
    model: nn.Module,
    images: Tensor,
    device: torch.device | str = "cpu",
    precision: str = "float32",
) -> Tensor:
    """Outputs for pictures, without gradients and with the running statistics of the model.

    Args:
        model: images [N, 3, H, W] to outputs [N, K]; left in evaluation mode.
        images: uint8 [N, C, H, W], C = 1 or 3, as `FaceData` holds them.
        device: where the model is.
        precision: ``"float32"`` or ``"bfloat16"``.

    Returns:
        float32 [N, K], on the CPU.
    """
    batches = torch.split(images, _EVALUATION_BATCH)
    return _predict(model, batches, torch.device(device), precision)


def _predict(
    model: nn.Module, batches: Iterable[Tensor], device: torch.device, precision: str
) -> Tensor:
    model.eval()
    with torch.inference_mode(), _autocast(device, precision):
        return torch.cat(
            [model(normalise(batch.to(device) / 255.0)).float().cpu() for batch in batches]
        )


def _split(batch: Batch, parts: int) -> list[Batch]:
    """Parts of nearly equal size."""
    if parts == 1:
        return [batch]
    columns = [
        [None] * parts if column is None else torch.tensor_split(column, parts) for column in batch
    ]
    return [Batch(*part) for part in zip(*columns, strict=True)]


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
