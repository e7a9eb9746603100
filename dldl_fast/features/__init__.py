"""Features of images that are computed, not learned, for the two-stage baselines."""

from dldl_fast.features.bif import BIF_DIMENSION, BIF_SIZE, bif_features
from dldl_fast.features.scaling import l2_normalize

__all__ = ["BIF_DIMENSION", "BIF_SIZE", "bif_features", "l2_normalize"]
