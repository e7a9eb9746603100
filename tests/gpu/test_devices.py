"""Tensors on another device than the current one."""

from __future__ import annotations

import pytest
import torch

from dldl_fast import DLDLv2Loss, functional
from tests.cases import DTYPES, assert_kernel_matches, needs_gpu, targets_on, uniform_grid

pytestmark = [
    pytest.mark.gpu,
    needs_gpu,
    pytest.mark.skipif(
        torch.cuda.device_count() < 2,
        reason=f"torch.cuda.device_count() is {torch.cuda.device_count()}, two are needed",
    ),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_labels", [101, 1030])
def test_values_on_the_second_device(backend: str, n_labels: int, dtype: torch.dtype) -> None:
    labels = uniform_grid(n_labels).to("cuda:1")
    x = torch.randn(70, n_labels, device="cuda:1").to(dtype)
    y, weight = targets_on(labels, 70), torch.rand(70, device="cuda:1")
    assert_kernel_matches(x, y, labels=labels, weight=weight, backend=backend)
    mean, std = functional.expectation(x, labels, return_std=True, backend=backend)
    want, want_std = functional.expectation(
        x.double(), labels, return_std=True, backend="reference"
    )
    tol = {"rtol": 0, "atol": 1e-3 if dtype != torch.float64 else 1e-9}
    torch.testing.assert_close(mean, want, **tol)
    torch.testing.assert_close(std, want_std, **tol)
    assert mean.device == torch.device("cuda:1")
    assert torch.cuda.current_device() == 0


def test_one_criterion_on_both_devices_in_turn(backend: str) -> None:
    criterion = DLDLv2Loss(backend=backend)
    x, y = torch.randn(70, 101), 100 * torch.rand(70)
    results = []
    for device in ("cuda:0", "cuda:1", "cuda:0"):
        z = x.clone().to(device).requires_grad_()
        loss = criterion(z, y.to(device))
        loss.backward()
        assert z.grad is not None
        assert loss.device == z.grad.device == torch.device(device)
        results.append((loss.detach().cpu(), z.grad.cpu()))
    for loss, grad in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(grad, results[0][1])


def test_side_stream_of_the_second_device(backend: str) -> None:
    criterion = DLDLv2Loss(backend=backend)
    x, y = torch.randn(70, 101, device="cuda:1"), 100 * torch.rand(70, device="cuda:1")
    want = criterion(x, y).cpu()
    stream = torch.cuda.Stream(device="cuda:1")
    stream.wait_stream(torch.cuda.current_stream("cuda:1"))
    with torch.cuda.stream(stream), torch.cuda.device(0):
        loss = criterion(x, y)
    stream.synchronize()
    assert torch.equal(loss.cpu(), want)


def test_argument_on_the_other_device(backend: str) -> None:
    x, y = torch.randn(4, 101), torch.rand(4, device="cuda:1")
    with pytest.raises(ValueError, match="^target must be on cuda:0 like logits, got cuda:1$"):
        DLDLv2Loss(backend=backend)(x, y)
