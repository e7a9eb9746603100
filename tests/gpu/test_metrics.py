"""Metrics of rows on a GPU are those of the same rows on the CPU."""

from __future__ import annotations

import pytest
import torch

from dldl_fast import functional
from tests.cases import needs_gpu
from tests.metrics.streams import CASES, Case, make_rows

pytestmark = [pytest.mark.gpu, needs_gpu]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_functions_and_classes(case: Case) -> None:
    with torch.device("cpu"):
        rows = make_rows(23)
        on_cpu = [rows[name] for name in case.arguments]
        want = case.function(*on_cpu)
        metric = case.make().to("cuda")
    on_gpu = [row.cuda() for row in on_cpu]
    metric.update(*(row[:9] for row in on_gpu))
    metric.update(*(row[9:] for row in on_gpu))
    for value in (case.function(*on_gpu), metric.compute()):
        assert value.is_cuda
        torch.testing.assert_close(value.cpu(), want, rtol=1e-12, atol=1e-14, equal_nan=True)


def test_quantile() -> None:
    with torch.device("cpu"):
        logits = torch.randn(9, 31)
    want = functional.quantile(logits, range(31), [0, 0.25, 0.5, 1])
    found = functional.quantile(logits.cuda(), range(31), [0, 0.25, 0.5, 1])
    assert found.is_cuda
    assert torch.equal(found.cpu(), want)
