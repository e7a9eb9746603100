"""From photos to predictions: files of photos in, rows of values with their uncertainty out."""

from dldl_fast.prediction.estimator import AgeEstimator
from dldl_fast.prediction.result import PictureResult, Prediction
from dldl_fast.prediction.table import PredictionFile, read_predictions, rows_of

__all__ = [
    "AgeEstimator",
    "PictureResult",
    "Prediction",
    "PredictionFile",
    "read_predictions",
    "rows_of",
]
