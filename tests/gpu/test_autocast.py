"""Mixed precision on a GPU: autocast, and torch.amp.GradScaler with float16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from tests.cases import DTYPES, loss_and_grad, needs_gpu, uniform_grid

pytestmark = [pytest.mark.gpu, needs_gpu]

HALF = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("autocast", HALF)
@pytest.mark.parametrize("dtype", DTYPES)
def test_autocast_changes_nothing(backend: str, dtype: torch.dtype, autocast: torch.dtype) -> None:
    x, y, labels = torch.randn(64, 101).to(dtype), 100 * torch.rand(64), uniform_grid(101)
    want = loss_and_grad(x, y, labels=labels, backend=backend)
    with torch.autocast("cuda", autocast):
        got = loss_and_grad(x, y, labels=labels, backend=backend)
        assert functional.expectation(x, labels, backend=backend).dtype == torch.float64
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("autocast", HALF)
def test_layer_under_autocast(backend: str, autocast: torch.dtype) -> None:
    layer = torch.nn.Linear(32, 101)
    x, y = torch.randn(256, 32), 100 * torch.rand(256)
    grads = []
    for chosen in (backend, "reference"):
        layer.zero_grad()
        with torch.autocast("cuda", autocast):
            logits = layer(x)
            loss = DLDLv2Loss(backend=chosen)(logits, y)
        assert (logits.dtype, loss.dtype) == (autocast, torch.float32)
        loss.backward()
        assert layer.weight.grad is not None
        grads.append(layer.weight.grad.clone())
    size = float(grads[1].abs().max())
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=0.02 * size)


def scaled_step(backend: str, scale: float) -> tuple[Tensor, Tensor, float]:
    """Gradient and weights of a layer after a float16 step with a loss scale; the next scale."""
    torch.manual_seed(1)
    layer = torch.nn.Linear(32, 101)
    x, y = torch.randn(256, 32), 100 * torch.rand(256)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cuda", init_scale=scale)
    with torch.autocast("cuda", torch.float16):
        loss = DLDLv2Loss(backend=backend)(layer(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    assert layer.weight.grad is not None
    grad = layer.weight.grad.clone()
    scaler.step(optimizer)
    scaler.update()
    return grad, layer.weight.detach(), scaler.get_scale()


def test_loss_scale_cancels(backend: str) -> None:
    grad, weights, _ = scaled_step(backend, 2.0**10)
    want, want_weights, _ = scaled_step("reference", 2.0**10)
    size = float(want.abs().max())
    torch.testing.assert_close(grad, want, rtol=0, atol=0.01 * size)
    torch.testing.assert_close(weights, want_weights, rtol=0, atol=0.001 * size)


def test_overflow_is_noticed_and_the_step_left_out(backend: str) -> None:
    """A gradient beyond 65,504 is infinite, no finite number: the scaler halves its scale."""
    scale = 2.0**60
    grad, weights, next_scale = scaled_step(backend, scale)
    assert not bool(grad.isfinite().all())
    torch.manual_seed(1)
    assert torch.equal(weights, torch.nn.Linear(32, 101).weight)
    assert next_scale == scale / 2
