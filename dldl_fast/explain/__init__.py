"""How a model decides: score maps, hidden regions, and what its distributions are worth."""

from dldl_fast.explain.curves import risk_coverage
from dldl_fast.explain.occlusion import Occlusion, occlusion
from dldl_fast.explain.region_overlay import region_overlay
from dldl_fast.explain.score_map import NoMapsError, score_map
from dldl_fast.explain.score_overlay import score_overlay

__all__ = [
    "NoMapsError",
    "Occlusion",
    "occlusion",
    "region_overlay",
    "risk_coverage",
    "score_map",
    "score_overlay",
]
