"""Gradients as autograd sees them: checks, handing over of the buffer, second passes, memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from tests.cases import (
    DTYPES,
    KINDS,
    REDUCTIONS,
    REGRESSIONS,
    bent_grid,
    loss_and_grad,
    needs_cpp,
    uniform_grid,
)


@pytest.mark.parametrize(
    ("kind", "regression", "reduction"), [*product(KINDS, REGRESSIONS, REDUCTIONS)]
)
def test_gradcheck(backend: str, kind: str, regression: str, reduction: str) -> None:
    labels = bent_grid(6)
    # The expectation stays at a distance from the targets, where L1 has its kink.
    x = (torch.randn(4, 6, dtype=torch.float64) / 4 + torch.tensor([0, 0, 0, 2, 0, 0])).detach()
    x.requires_grad_()
    y = torch.tensor([0.0, 0.7, 4.4, 5.0], dtype=torch.float64)
    sigma = torch.tensor([1.0, 2.0, 0.8, 3.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 0.0, 2.0], dtype=torch.float64)
    settings = {
        "labels": labels, "kind": kind, "regression": regression, "reduction": reduction,
        "smooth_l1_beta": 0.5, "lambda_": 0.7, "ld_weight": 1.3, "backend": backend,
    }  # fmt: skip

    def loss(x: Tensor, **extra: Tensor) -> Tensor:
        result = functional.label_distribution_loss(x, y, **settings, **extra)
        assert isinstance(result, Tensor)
        return result

    assert torch.autograd.gradcheck(lambda x: loss(x, sigma=sigma, weight=weight), x)
    settings |= {"divergence": "likelihood", "variance_weight": 0.6}
    assert torch.autograd.gradcheck(lambda x: loss(x, sigma=sigma, weight=weight), x)
    if kind == "gaussian":
        q = torch.rand(4, 6, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda x: loss(x, target_distribution=q), x)


def example(
    dtype: torch.dtype = torch.float32, reduction: str = "mean"
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    x = torch.randn(40, 21).to(dtype)
    y, weight = 20 * torch.rand(40), torch.rand(40)
    criterion = DLDLv2Loss(0, 20, reduction=reduction, backend="cpp")
    return x, lambda x: criterion(x, y, weight=weight).sum()


def grad_of(x: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    x = x.detach().clone().requires_grad_()
    f(x).backward()
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_are_never_written(backend: str, dtype: torch.dtype, reduction: str) -> None:
    x = torch.randn(40, 21).to(dtype)
    before = x.clone()
    loss_and_grad(x, 20 * torch.rand(40), labels=range(21), reduction=reduction, backend=backend)
    functional.expectation(x.requires_grad_(), range(21), backend=backend).sum().backward()
    assert torch.equal(x, before)


@needs_cpp
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_second_backward_equals_the_first(dtype: torch.dtype, reduction: str) -> None:
    """The first takes the buffer of the forward pass, the second computes its own."""
    x, f = example(dtype, reduction)
    x.requires_grad_()
    loss = f(x)
    first, second, third = (
        torch.autograd.grad(loss, x, retain_graph=True)[0].clone() for _ in range(3)
    )
    tol = {"rtol": torch.finfo(dtype).eps * 2, "atol": 1e-7 if dtype.itemsize == 2 else 1e-9}
    torch.testing.assert_close(second, first, **tol)
    assert torch.equal(second, third)


@needs_cpp
def test_nothing_done_to_the_first_gradient_reaches_the_second() -> None:
    x, f = example()
    want = grad_of(x, f)
    x.requires_grad_()
    loss = f(x)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    first.zero_()
    (second,) = torch.autograd.grad(loss, x, retain_graph=True)
    torch.testing.assert_close(second, want)

    loss = f(x)
    x.register_hook(lambda grad: grad.mul_(0))
    loss.backward(retain_graph=True)
    assert not x.grad.any()
    x.grad = None
    x._backward_hooks.clear()
    loss.backward()
    torch.testing.assert_close(x.grad, want)


@needs_cpp
def test_graph_is_freed_after_backward() -> None:
    x, f = example()
    loss = f(x.requires_grad_())
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@needs_cpp
def test_factor_of_the_loss_scales_the_gradient() -> None:
    """Also for a scaler of 2^16, and in float16, whose numbers end at 65,504."""
    for dtype in DTYPES:
        x, f = example(dtype)
        one = grad_of(x, f)
        big = grad_of(x, lambda x, f=f: f(x) * 65536)
        want = one.double() * 65536
        inside = (want.abs() < 6e4) & (one.abs() > 1e-4)
        torch.testing.assert_close(
            big.double()[inside], want[inside], rtol=3 * torch.finfo(dtype).eps, atol=0
        )
        assert not grad_of(x, lambda x, f=f: f(x) * 0).any()


@needs_cpp
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("term", [{"regression": "l2"}, {"variance_weight": 3.0, "lambda_": 0.1}])
def test_float16_gradients_that_only_the_mean_makes_small_enough(
    term: dict[str, Any], reduction: str
) -> None:
    """Up to 3e5 a row before the factor 1/64, where float16 ends at 65,504."""
    labels = torch.arange(1001, dtype=torch.float64)
    x = torch.full((64, 1001), -20.0).half()
    x[:, 0], x[:, 1000] = 0, -1.3  # a fifth of the mass as far away as can be
    factor = 1 / 64 if reduction == "sum" else 1
    settings = {"labels": labels, "reduction": reduction, **term}
    grads = []
    for backend in ("cpp", "reference"):
        z = (x if backend == "cpp" else x.double()).clone().requires_grad_()
        y = torch.full((64,), 1000.0)
        loss = functional.label_distribution_loss(z, y, backend=backend, **settings)
        (loss * factor).backward()
        grads.append(z.grad.double())
    assert float(grads[1].abs().max()) * 64 > 65_504
    torch.testing.assert_close(*grads, rtol=2e-3, atol=2e-3)


@needs_cpp
def test_two_losses_on_the_same_logits() -> None:
    x, f = example()
    other = DLDLv2Loss(0, 20, sigma=1.0, kind="gaussian_bin", backend="cpp")
    y = 20 * torch.rand(40)
    want = grad_of(x, f) + 3 * grad_of(x, lambda x: other(x, y))
    torch.testing.assert_close(grad_of(x, lambda x: f(x) + 3 * other(x, y)), want)
    # and accumulated over two passes into the same .grad
    z = x.clone().requires_grad_()
    f(z).backward()
    (3 * other(z, y)).backward()
    torch.testing.assert_close(z.grad, want)


def test_terms_are_detached_and_from_the_same_pass(backend: str) -> None:
    x = torch.randn(5, 21, requires_grad=True)
    y = torch.tensor([0.0, 3.3, 10.0, 15.5, 20.0])
    settings = {"labels": range(21), "lambda_": 0.4, "ld_weight": 1.5, "backend": backend}
    terms = functional.label_distribution_loss(x, y, return_terms=True, **settings)
    assert [t.requires_grad for t in terms] == [True, False, False, False]
    want = (1.5 * terms.divergence + 0.4 * terms.regression).mean()
    torch.testing.assert_close(terms.loss, want)
    y_hat = (torch.softmax(x.double(), -1) * torch.arange(21)).sum(-1)
    torch.testing.assert_close(terms.expectation, y_hat.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        terms.regression.double(), (y_hat - y).abs().detach(), rtol=1e-5, atol=1e-5
    )
    terms.loss.backward()
    assert torch.equal(x.grad * 0.5, loss_and_grad(x, y, **settings)[1])


@needs_cpp
@pytest.mark.parametrize("penalty", ["alone", "with the loss"])
def test_double_backward_raises(penalty: str) -> None:
    """A gradient penalty must not be dropped without a word."""
    x, f = example()
    x.requires_grad_()
    loss = f(x)
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    assert grad.requires_grad
    torch.testing.assert_close(grad.detach(), grad_of(x, f))
    total = 10 * (grad**2).sum() + (loss if penalty == "with the loss" else 0)
    with pytest.raises(
        RuntimeError, match="double backward through label_distribution_loss is not"
    ):
        total.backward()
    with pytest.raises(RuntimeError, match="use backend='reference'"):
        torch.autograd.grad(f(x), x, create_graph=True)[0].sum().backward()


def test_reference_has_second_derivatives() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0.0, 0.5, 4.0])
    assert torch.autograd.gradgradcheck(
        lambda x: functional.label_distribution_loss(
            x, y, labels=range(5), regression="l2", backend="reference"
        ),
        x,
    )


def test_nothing_is_recorded_without_grad(backend: str) -> None:
    x, y = torch.randn(6, 21, requires_grad=True), 20 * torch.rand(6)
    criterion = DLDLv2Loss(0, 20, backend=backend)
    want = criterion(x, y)
    assert want.requires_grad
    assert not criterion(x.detach(), y).requires_grad
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            loss = criterion(x, y)
            assert not loss.requires_grad
            assert torch.equal(loss, want)
            inside = criterion(torch.zeros(1, 21), torch.zeros(1))
            assert inside.isfinite()


@needs_cpp
def test_changed_logits_are_noticed() -> None:
    x, f = example()
    x = x.requires_grad_() * 1
    loss = f(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def peak_bytes(run: Callable[[], object], tmp_path: Path) -> int:
    """Largest sum of tensors that were alive at once, as the profiler reports them."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    trace = tmp_path / "trace.json"
    profile.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text())["traceEvents"]
    memory = [event for event in events if event.get("name") == "[memory]"]
    alive = peak = 0
    for event in sorted(memory, key=lambda event: event["ts"]):
        alive += event["args"]["Bytes"]
        peak = max(peak, alive)
    return peak


@needs_cpp
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory(dtype: torch.dtype, tmp_path: Path) -> None:
    """One N x K buffer, the gradient, where it is needed; none without grad."""
    n_rows, n_labels = 4096, 101
    x, y = torch.randn(n_rows, n_labels).to(dtype), 100 * torch.rand(n_rows)
    criterion = DLDLv2Loss(backend="cpp")
    buffer = x.numel() * x.element_size()

    def step() -> None:
        logits = x.detach().requires_grad_()
        criterion(logits, y).backward()

    def evaluate() -> None:
        with torch.no_grad():
            criterion(x.requires_grad_(), y)
            functional.expectation(x, criterion.labels, backend="cpp")

    assert peak_bytes(lambda: x.clone(), tmp_path) >= buffer  # the measure sees a clone
    assert buffer <= peak_bytes(step, tmp_path) <= 1.02 * buffer
    # Two float64 values a row, mean and standard deviation, and no more.
    assert peak_bytes(evaluate, tmp_path) <= 16 * n_rows + 10_000


@needs_cpp
def test_autocast_makes_no_copy_in_float32(tmp_path: Path) -> None:
    x, y = torch.randn(4096, 101).bfloat16(), 100 * torch.rand(4096)
    criterion = DLDLv2Loss(backend="cpp")

    def step(enabled: bool) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled):
            logits = x.detach().requires_grad_()
            loss = criterion(logits, y)
        (0.5 * loss).backward()
        return loss.detach(), logits.grad

    want = step(False)

    def compared_step() -> None:
        loss, grad = step(True)
        assert loss.dtype == torch.float32 and torch.equal(loss, want[0])
        assert torch.equal(grad, want[1])

    assert peak_bytes(compared_step, tmp_path) <= 1.02 * x.numel() * 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_autocast_computes_in_the_same_precision(backend: str, dtype: torch.dtype) -> None:
    x, y = torch.randn(6, 101).to(dtype), 100 * torch.rand(6)
    want = loss_and_grad(x, y, labels=range(101), backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        got = loss_and_grad(x, y, labels=range(101), backend=backend)
        assert functional.expectation(x, range(101), backend=backend).dtype == torch.float64
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


def test_end_to_end_under_autocast(backend: str) -> None:
    layer = torch.nn.Linear(8, 101)
    x, y = torch.randn(16, 8), 100 * torch.rand(16)
    with torch.autocast("cpu", torch.bfloat16):
        logits = layer(x)
        loss = DLDLv2Loss(backend=backend)(logits, y)
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    loss.backward()
    want = functional.label_distribution_loss(
        logits.detach().double(), y, labels=range(101), backend="reference"
    )
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)
    assert layer.weight.grad is not None and bool(layer.weight.grad.any())


def op_inputs(dtype: torch.dtype, requires_grad: bool, reduction: int) -> tuple:
    x = torch.randn(5, 6).to(dtype).requires_grad_(requires_grad)
    y, sigma, weight = torch.rand(5) * 5, 1 + torch.rand(5), torch.rand(5)
    options = (0.5, 1.5, 0.1, 0, 0, 2, 0.7, reduction, 0, False, True)
    return (x, y, 0.0, sigma, weight, None, uniform_grid(6), 1.0, *options)


@needs_cpp
@pytest.mark.parametrize("reduction", [0, 1])
def test_opcheck_of_the_loss(reduction: int) -> None:
    op = torch.ops.dldl_fast.label_distribution_loss.default
    torch.library.opcheck(op, (*op_inputs(torch.float32, True, reduction), True, False))
    torch.library.opcheck(op, (*op_inputs(torch.bfloat16, False, reduction), False, True))
    # without weights, where the gradient lacks no factor; in float16 it always does
    for dtype in (torch.float32, torch.float16):
        logits, target, number, sigma, _, *rest = op_inputs(dtype, False, reduction)
        torch.library.opcheck(op, (logits, target, number, sigma, None, *rest, False, True))


@needs_cpp
@pytest.mark.parametrize("reduction", [0, 1])
def test_opcheck_of_the_backward(reduction: int) -> None:
    """Without inputs that require grad, since a derivative of the derivative raises by design."""
    grad_loss = torch.rand(5) if reduction == 0 else torch.tensor(2.0)
    torch.library.opcheck(
        torch.ops.dldl_fast.label_distribution_loss_backward.default,
        (grad_loss, *op_inputs(torch.float32, False, reduction)),
    )


@needs_cpp
def test_opcheck_of_the_scaling() -> None:
    op = torch.ops.dldl_fast.scale_rows_.default
    scale = torch.tensor(0.25, dtype=torch.float64)
    torch.library.opcheck(op, (torch.rand(5, 6), torch.tensor(2.0), scale, None))
    torch.library.opcheck(op, (torch.rand(5, 6), torch.tensor(2.0), None, None))
    torch.library.opcheck(op, (torch.rand(5, 6).half(), torch.rand(5), scale, torch.rand(5)))


@needs_cpp
def test_opcheck_of_the_expectation() -> None:
    x = torch.randn(5, 6, requires_grad=True)
    for return_std in (False, True):
        torch.library.opcheck(
            torch.ops.dldl_fast.expectation.default, (x, uniform_grid(6), 1.0, return_std)
        )
    up = torch.randn(2, 5, dtype=torch.float64)
    for grads in ((up[0], up[1]), (up[0], None), (None, up[1])):
        torch.library.opcheck(
            torch.ops.dldl_fast.expectation_backward.default,
            (*grads, x.detach(), uniform_grid(6), 1.0),
        )


@needs_cpp
@pytest.mark.parametrize("dtype", DTYPES)
def test_scaling_multiplies_in_float32_and_rounds_once(dtype: torch.dtype) -> None:
    grad = torch.randn(7, 21).to(dtype)
    rows, weight = torch.rand(7), torch.rand(7)
    scale = torch.tensor(0.3, dtype=torch.float64)
    for factor, w in ((torch.tensor(0.7), None), (rows, weight), (rows, None)):
        got = grad.clone()
        torch.ops.dldl_fast.scale_rows_(got, factor, scale, w)
        column = factor.double() * 0.3 * (1 if w is None else w.double())
        want = grad.double() * (column.unsqueeze(-1) if column.dim() else column)
        torch.testing.assert_close(
            got, want.to(dtype), rtol=1e-6, atol=1e-6 if dtype.itemsize == 2 else 0
        )
