"""dldl_fast: label distribution learning with expectation regression, fused."""

from dldl_fast import functional
from dldl_fast.loss import DLDLv2Loss
from dldl_fast.models.hybrid_pool import HybridPool2d

__all__ = ["DLDLv2Loss", "HybridPool2d", "functional"]
__version__ = "0.1.0"
