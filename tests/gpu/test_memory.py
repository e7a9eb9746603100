"""Peak device memory of a step: one N x K buffer, the gradient; none without gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dldl_fast import DLDLv2Loss, functional
from tests.cases import DTYPES, needs_gpu

pytestmark = [pytest.mark.gpu, needs_gpu]

# The kernels' own space for sums: two float64 values a block of rows, in Triton perhaps one row.
SLACK = 2 * 1024 * 1024


def peak_bytes(run: Callable[[], object]) -> int:
    """The most that was asked of torch's allocator at a time, beyond what is held before.

    What was asked for, since the allocator may hand out up to a MiB more.
    """
    run()  # moves the label grid to the device
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()["requested_bytes.all.current"]
    run()
    return int(torch.cuda.memory_stats()["requested_bytes.all.peak"] - before)


@pytest.mark.parametrize("n_labels", [101, 1030])
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory(backend: str, dtype: torch.dtype, n_labels: int) -> None:
    n_rows = 65536 if n_labels == 101 else 8192
    x, y = torch.randn(n_rows, n_labels).to(dtype), 100 * torch.rand(n_rows)
    criterion = DLDLv2Loss(0, n_labels - 1, backend=backend)
    labels = criterion.labels.cuda()
    buffer = x.numel() * x.element_size()

    def step() -> None:
        criterion(x.detach().requires_grad_(), y).backward()

    def evaluate() -> None:
        with torch.no_grad():
            criterion(x, y)

    def predict() -> None:
        with torch.no_grad():
            functional.expectation(x, labels, backend=backend)

    assert buffer <= peak_bytes(lambda: x.clone()) <= buffer + SLACK  # the measure sees a clone
    assert buffer <= peak_bytes(step) <= buffer + SLACK
    assert peak_bytes(evaluate) <= SLACK
    # Two float64 values a row, mean and standard deviation.
    assert peak_bytes(predict) <= 16 * n_rows + SLACK


def test_scaled_gradient_takes_the_same_buffer(backend: str) -> None:
    x, y, weight = torch.randn(65536, 101), 100 * torch.rand(65536), torch.rand(65536)
    criterion = DLDLv2Loss(backend=backend)

    def step() -> None:
        (3 * criterion(x.detach().requires_grad_(), y, weight=weight)).backward()

    assert peak_bytes(step) <= x.numel() * 4 + SLACK


def test_autocast_makes_no_copy_in_float32(backend: str) -> None:
    x, y = torch.randn(65536, 101).bfloat16(), 100 * torch.rand(65536)
    criterion = DLDLv2Loss(backend=backend)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = criterion(x.detach().requires_grad_(), y)
        loss.backward()

    assert peak_bytes(step) <= x.numel() * 2 + SLACK
