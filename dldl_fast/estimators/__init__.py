"""scikit-learn estimators: DLDL-v2 for tables of features, and what they are all made of."""

from dldl_fast.data.base import MissingExtraError

try:
    import scipy  # noqa: F401
    import sklearn  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        f"estimators need the package {error.name!r}, which is not installed; "
        "run: pip install 'dldl_fast[baselines]'"
    ) from error

from dldl_fast.estimators.base import LabelDistributionRegressor
from dldl_fast.estimators.dldl_regressor import DLDLRegressor

__all__ = ["DLDLRegressor", "LabelDistributionRegressor"]
