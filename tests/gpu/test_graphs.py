"""Training steps captured in a CUDA graph and replayed with other inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from tests.cases import REDUCTIONS, needs_gpu, uniform_grid

pytestmark = [pytest.mark.gpu, needs_gpu]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def captured(step: Callable[[], tuple[Tensor, ...]]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
    """The graph of a step after three steps beside it, as torch's notes on CUDA graphs ask for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    return graph, list(results)


def assert_replays(step: Callable[[], tuple[Tensor, ...]], change: Callable[[], Any]) -> None:
    """A graph of the step gives what the step gives, whenever its inputs have changed."""
    graph, results = captured(step)
    for _ in range(3):
        with torch.no_grad():
            change()
        graph.replay()
        for got, want in zip(results, step(), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("n_labels", [101, 1030])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_forward_and_backward(
    backend: str, reduction: str, dtype: torch.dtype, n_labels: int
) -> None:
    criterion = DLDLv2Loss(0, n_labels - 1, reduction=reduction, backend=backend)
    x = torch.randn(300, n_labels).to(dtype).requires_grad_()
    y, weight = (n_labels - 1) * torch.rand(300), torch.rand(300)

    def step() -> tuple[Tensor, ...]:
        loss = criterion(x, y, weight=weight)
        (grad,) = torch.autograd.grad((3 * loss).sum(), x)
        return loss.detach(), grad

    def change() -> None:
        x.normal_()
        y.uniform_(0, n_labels - 1)
        weight.uniform_()

    assert_replays(step, change)


def test_backward_into_grad(backend: str) -> None:
    """As a training loop does it: the gradient's buffer belongs to the graph."""
    criterion = DLDLv2Loss(backend=backend)
    x, y = torch.randn(300, 101, requires_grad=True), 100 * torch.rand(300)

    def step() -> tuple[Tensor, ...]:
        x.grad = None
        loss = criterion(x, y)
        loss.backward()
        assert x.grad is not None
        return loss.detach(), x.grad

    assert_replays(step, x.normal_)


def test_expectation(backend: str) -> None:
    labels = uniform_grid(101)
    x = torch.randn(300, 101, requires_grad=True)

    def step() -> tuple[Tensor, ...]:
        mean, std = functional.expectation(x, labels, return_std=True, backend=backend)
        (grad,) = torch.autograd.grad((mean + std).sum(), x)
        return mean.detach(), std.detach(), grad

    assert_replays(step, x.normal_)


def test_make_graphed_callables(backend: str) -> None:
    """torch's own capture, which makes a graph of the forward and one of the backward pass."""
    plain = DLDLv2Loss(backend=backend)
    sample = (torch.randn(300, 101, requires_grad=True), 100 * torch.rand(300))
    graphed = torch.cuda.make_graphed_callables(DLDLv2Loss(backend=backend), sample)
    for _ in range(3):
        x, y = torch.randn(300, 101), 100 * torch.rand(300)
        losses, grads = [], []
        for criterion in (graphed, plain):
            z = x.clone().requires_grad_()
            loss = criterion(z, y)
            (2 * loss).backward()
            losses.append(loss.detach().clone())
            grads.append(z.grad)
        assert torch.equal(*losses)
        assert torch.equal(*grads)
