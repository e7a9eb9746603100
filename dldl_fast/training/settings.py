"""How to train."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dldl_fast.processor import computes_in_bfloat16, usable_device

PRECISIONS = ("auto", "float32", "bfloat16")
SCHEDULES = ("cosine", "step")


@dataclass(frozen=True)
class Stage:
    """A part of a training, with an optimiser and a learning rate schedule of its own.

    Attributes:
        epochs: passes over the training images, >= 1.
        lambda_: weight of the regression term in this stage; None: that of the loss.
        zero_head_bias: whether the bias of the last layer is set to 0 before the stage.

    Raises:
        ValueError: naming the setting that makes no sense.

    Source:
        The released code trains with lambda = 0 first, then zeroes the bias and trains with both
        terms.
    """

    epochs: int
    lambda_: float | None = None
    zero_head_bias: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")
        if self.lambda_ is not None and not (math.isfinite(self.lambda_) and self.lambda_ >= 0):
            raise ValueError(f"lambda_ must be finite and >= 0, got {self.lambda_}")


@dataclass(frozen=True)
class TrainSettings:
    """How to train; what to train and on what are arguments of their own.

    Attributes:
        epochs: passes over the training images, >= 1; with `stages` those decide.
        batch_size: images per step, >= 1, of all processes together; an incomplete last batch is
            left out where there is a complete one.
        learning_rate: of Adam at the start of a stage, > 0.
        schedule: ``"cosine"``: falls to 0 along half a cosine; ``"step"``: times `step_factor`
            every `step_epochs` epochs.
        step_epochs: for ``"step"``, >= 1.
        step_factor: for ``"step"``, in (0, 1].
        adam_epsilon: Adam's epsilon, > 0.
        micro_batches: a step's images pass through the network in so many parts, >= 1, for less
            memory; the gradient is that of the whole batch, up to batch normalisation.
        ema: decay of an exponential moving average of the weights, in (0, 1), which is then the
            model that is evaluated and saved; None: no average.
        patience: a stage ends when the validation error has not improved for so many epochs, >= 1;
            None: never. Needs a validation part.
        freeze_batch_norm: whether batch normalisation keeps the running statistics that it has.
        workers: processes that prepare images, >= 0, where images are changed one by one.
        stages: parts with losses of their own, in order; empty: one of `epochs` epochs.
        seed: of the initial weights, of the order of the images and of their random changes. The
            same seed on the same machine, with the same number of threads, gives the same model.
        device: ``"auto"`` (a CUDA device if there is one) or any device that torch knows.
        precision: ``"float32"``, ``"bfloat16"`` (autocast) or ``"auto"``: bfloat16 where the
            processor computes in it.

    Raises:
        ValueError: naming the setting that makes no sense.

    Example:
        >>> staged = TrainSettings(stages=(Stage(60, lambda_=0.0), Stage(60, zero_head_bias=True)))
        >>> staged.total_epochs
        120
    """

    epochs: int = 24
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    step_epochs: int = 30
    step_factor: float = 0.1
    adam_epsilon: float = 1e-8
    micro_batches: int = 1
    ema: float | None = None
    patience: int | None = None
    freeze_batch_norm: bool = False
    workers: int = 0
    stages: tuple[Stage, ...] = ()
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "step_epochs", "micro_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "adam_epsilon"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be finite and > 0, got {value}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {SCHEDULES}, got {self.schedule!r}")
        if not 0 < self.step_factor <= 1:
            raise ValueError(f"step_factor must be in (0, 1], got {self.step_factor}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must be in (0, 1), got {self.ema}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1, got {self.patience}")
        if self.workers < 0:
            raise ValueError(f"workers must be >= 0, got {self.workers}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")

    @property
    def all_stages(self) -> tuple[Stage, ...]:
        """The stages, of which there is at least one."""
        return self.stages or (Stage(self.epochs),)

    @property
    def total_epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.all_stages)

    def resolved_device(self) -> torch.device:
        """The device to compute on.

        Raises:
            ValueError: if torch does not know it or cannot use it here.
        """
        return usable_device(self.device)

    def resolved_precision(self, device: torch.device) -> str:
        """``"float32"`` or ``"bfloat16"``."""
        if self.precision != "auto":
            return self.precision
        return "bfloat16" if computes_in_bfloat16(device) else "float32"
