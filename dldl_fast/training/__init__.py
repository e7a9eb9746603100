"""Training: the loop, its checkpoints and its report. Needs no command line."""

from dldl_fast.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dldl_fast.training.engine import (
    Callback,
    EpochRecord,
    TrainingDivergedError,
    TrainingResult,
    TrainSettings,
    predict,
    train,
)
from dldl_fast.training.run import RunReport, run_training

__all__ = [
    "Callback",
    "Checkpoint",
    "EpochRecord",
    "RunReport",
    "TrainSettings",
    "TrainingDivergedError",
    "TrainingResult",
    "load_checkpoint",
    "predict",
    "run_training",
    "save_checkpoint",
    "train",
]
