"""Training: the loop and its report. Needs no command line."""

from dldl_fast.training.engine import (
    Callback,
    EpochRecord,
    Training,
    TrainingDivergedError,
    TrainingResult,
    predict,
)
from dldl_fast.training.objective import LabelObjective, Objective
from dldl_fast.training.processes import Processes, WorkerLostError, joined_processes
from dldl_fast.training.run import RunReport, run_training
from dldl_fast.training.settings import Stage, TrainSettings

__all__ = [
    "Callback",
    "EpochRecord",
    "LabelObjective",
    "Objective",
    "Processes",
    "RunReport",
    "Stage",
    "TrainSettings",
    "Training",
    "TrainingDivergedError",
    "TrainingResult",
    "WorkerLostError",
    "joined_processes",
    "predict",
    "run_training",
]
