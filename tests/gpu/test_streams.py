"""Kernels go to the current stream, and nothing waits for the device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from tests.cases import needs_gpu, uniform_grid

pytestmark = [pytest.mark.gpu, needs_gpu]


def loss_step(backend: str, x: Tensor, **settings: Any) -> Callable[[], tuple[Tensor, ...]]:
    """A training step with every kernel: the factor of the loss has the gradient scaled."""
    criterion = DLDLv2Loss(backend=backend, **settings)
    y, sigma, weight = 100 * torch.rand(len(x)), 1 + torch.rand(len(x)), torch.rand(len(x))

    def step() -> tuple[Tensor, ...]:
        z = x.detach().requires_grad_()
        loss = criterion(z, y, sigma, weight)
        (2 * loss).backward()
        assert z.grad is not None
        return loss.detach(), z.grad

    return step


def function_step(
    backend: str, x: Tensor, grid_device: str = "cuda"
) -> Callable[[], tuple[Tensor, ...]]:
    """The functions, with a histogram."""
    labels, q = uniform_grid(101).to(grid_device), torch.rand(len(x), 101)

    def step() -> tuple[Tensor, ...]:
        z = x.detach().requires_grad_()
        loss = functional.label_distribution_loss(
            z, labels=labels, target_distribution=q, backend=backend
        )
        mean = functional.expectation(z, labels, backend=backend)
        (loss + mean.sum()).backward()
        assert z.grad is not None
        return loss.detach(), mean.detach(), z.grad

    return step


def keep_busy() -> torch.cuda.Event:
    """Half a second of work for the current stream; returns what happens at its end."""
    torch.cuda.synchronize()
    torch.cuda._sleep(1_000_000_000)  # cycles
    end = torch.cuda.Event()
    end.record()
    return end


STEPS: dict[str, Callable[[str, Tensor], Callable[[], tuple[Tensor, ...]]]] = {
    "module": loss_step,
    "functions": function_step,
    "functions, grid on the CPU": functools.partial(function_step, grid_device="cpu"),
}


@pytest.mark.parametrize("name", STEPS)
def test_side_stream_while_the_default_stream_is_busy(backend: str, name: str) -> None:
    x = torch.randn(4096, 101)
    step = STEPS[name](backend, x)
    want = step()
    keep = x.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x.zero_()
        step()  # leaves wrong values in the memory that the next step gets
        x.copy_(keep)
    end = keep_busy()
    with torch.cuda.stream(side):
        got = [result.cpu() for result in step()]
    assert not end.query()
    for a, b in zip(got, want, strict=True):
        assert torch.equal(a, b.cpu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", STEPS)
def test_nothing_waits_for_the_device(backend: str, name: str, dtype: torch.dtype) -> None:
    step = STEPS[name](backend, torch.randn(4096, 101).to(dtype))
    step()  # moves the label grid to the device, and loads the kernels
    end = keep_busy()
    torch.cuda.set_sync_debug_mode("error")  # of torch's own calls
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not end.query()


def test_validation_waits(backend: str) -> None:
    """So the test above would see it."""
    step = loss_step(backend, torch.randn(4096, 101), validate=True)
    step()
    end = keep_busy()
    step()
    assert end.query()
