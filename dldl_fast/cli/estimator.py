"""The estimator that several commands begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dldl_fast.cli.common import OptionError

if TYPE_CHECKING:
    from dldl_fast.prediction import AgeEstimator


def load_estimator(model: Path, **options: Any) -> AgeEstimator:
    """`AgeEstimator.from_pretrained`, with what is wrong with the options as OptionError."""
    from dldl_fast.data.base import DataError
    from dldl_fast.models import CheckpointError
    from dldl_fast.prediction import AgeEstimator

    try:
        return AgeEstimator.from_pretrained(model, **options)
    except (CheckpointError, DataError):
        raise
    except ValueError as error:  # such as a device that is not there
        raise OptionError(str(error)) from error
