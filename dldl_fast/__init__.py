"""dldl_fast: label distribution learning with expectation regression, fused."""

from dldl_fast import functional
from dldl_fast.hybrid_pool import HybridPool2d
from dldl_fast.loss import DLDLv2Loss
from dldl_fast.methods import make_method

__all__ = ["DLDLv2Loss", "HybridPool2d", "functional", "make_method"]
__version__ = "0.1.0"
