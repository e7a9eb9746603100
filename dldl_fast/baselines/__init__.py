"""The two-stage methods that the paper compares with, as scikit-learn estimators (Table 5).

They take features that do not learn; the paper's are L2-normalised: put
`sklearn.preprocessing.Normalizer` before them, as `linear_svr` does.
"""

import dldl_fast.estimators  # noqa: F401  # before scikit-learn: it says what to install
from dldl_fast.baselines.bfgs_ldl import BFGSLDL
from dldl_fast.baselines.ohrank import OHRank
from dldl_fast.baselines.svr import linear_svr

__all__ = ["BFGSLDL", "OHRank", "linear_svr"]
