"""The losses of all methods, forward and backward on one thread, beside public packages."""

from __future__ import annotations

import pytest

from .cases import Compare, mode
from .method_variants import SIZES, contenders
from .record import with_quantiles
from .variants import skip_reason

ROUNDS = {"all": 12, "quick": 6, "smoke": 1}


@pytest.mark.parametrize(("rows", "labels"), SIZES if mode() == "all" else SIZES[:1])
def test_methods(rows: int, labels: int, compare: Compare) -> None:
    """All methods and their twins of one size, interleaved."""
    if reason := skip_reason("dldl_fast"):
        pytest.skip(reason)
    compare(contenders(rows, labels), ROUNDS[mode()], with_quantiles)
