"""What predictions are worth: all metrics, also per group of labels or of people."""

from dldl_fast.evaluation.folds import FoldAccuracy, fold_accuracy
from dldl_fast.evaluation.gap import Gap, largest_gap
from dldl_fast.evaluation.report import (
    GroupRow,
    Report,
    make_report,
    require_group_columns,
    write_report,
)
from dldl_fast.evaluation.rows import rows_of_protocol, rows_of_split
from dldl_fast.evaluation.scores import (
    RowPrediction,
    Scores,
    file_predictions,
    gather,
    model_predictions,
    photos_of_rows,
)

__all__ = [
    "FoldAccuracy",
    "Gap",
    "GroupRow",
    "Report",
    "RowPrediction",
    "Scores",
    "file_predictions",
    "fold_accuracy",
    "gather",
    "largest_gap",
    "make_report",
    "model_predictions",
    "photos_of_rows",
    "require_group_columns",
    "rows_of_protocol",
    "rows_of_split",
    "write_report",
]
