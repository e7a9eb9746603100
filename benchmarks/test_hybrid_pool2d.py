"""Hybrid pooling, forward and backward on one thread, beside its rivals."""

from __future__ import annotations

import pytest

from .cases import Compare, mode
from .pool_variants import (
    LAYOUTS,
    SHAPES,
    VARIANTS,
    PoolMeasurement,
    bytes_min,
    make_maps,
    pool_step,
    shape_name,
    verify,
)
from .record import with_times
from .variants import skip_reason

ROUNDS = {"all": 40, "quick": 20, "smoke": 2}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES if mode() == "all" else SHAPES[:1], ids=shape_name)
def test_hybrid_pool2d(shape: tuple[int, ...], layout: str, compare: Compare) -> None:
    """All variants of one problem, interleaved."""
    if reason := skip_reason("dldl_fast"):
        pytest.skip(reason)
    maps = make_maps(shape, layout)
    verify(maps)
    variants = [variant for variant in VARIANTS if not skip_reason(variant)]
    compare(
        [
            (PoolMeasurement(shape_name(shape), layout, variant), pool_step(variant, maps))
            for variant in variants
        ],
        ROUNDS[mode()],
        lambda blank, seconds: with_times(blank, seconds, bytes_min(shape)),
    )
