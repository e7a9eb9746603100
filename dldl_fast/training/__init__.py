"""Training: the loop and its report. Needs no command line."""

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
    "EpochRecord",
    "RunReport",
    "TrainSettings",
    "TrainingDivergedError",
    "TrainingResult",
    "predict",
    "run_training",
    "train",
]
