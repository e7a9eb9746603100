"""From photos to predictions: files of photos in, rows of values with their uncertainty out."""

from dldl_fast.prediction.estimator import AgeEstimator
from dldl_fast.prediction.result import PictureResult, Prediction
from dldl_fast.prediction.sources import Photo, photos
from dldl_fast.prediction.table import PredictionFile, read_predictions, rows_of

__all__ = [
    "AgeEstimator",
    "Photo",
    "PictureResult",
    "Prediction",
    "PredictionFile",
    "photos",
    "read_predictions",
    "rows_of",
]
