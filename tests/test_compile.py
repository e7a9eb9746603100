"""torch.compile(fullgraph=True, dynamic=True) of what users call, against eager mode."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from tests.cases import REDUCTIONS, needs_cpp


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function: Callable[..., Any], mode: str = "aot_eager") -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True, dynamic=True, backend=mode)


def step(loss_of: Callable[..., Tensor], x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    loss = loss_of(x, *arguments)
    (2 * loss).sum().backward()
    assert x.grad is not None
    return loss.detach(), x.grad


def assert_same(got: tuple[Tensor, Tensor], want: tuple[Tensor, Tensor]) -> None:
    half = got[1].dtype.itemsize == 2
    torch.testing.assert_close(got[0], want[0], rtol=1e-5, atol=1e-6)
    tol = {"rtol": 2e-2, "atol": 1e-4} if half else {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(got[1], want[1], **tol)


def test_module_through_the_default_compiler(backend: str) -> None:
    criterion = DLDLv2Loss(backend=backend)
    fast = compiled(criterion, "inductor")
    for n in (4, 7, 64):
        x, y = torch.randn(n, 101), 100 * torch.rand(n)
        assert_same(step(fast, x, y), step(criterion, x, y))


@needs_cpp
def test_half_logits() -> None:
    criterion = DLDLv2Loss(backend="cpp")
    x, y = torch.randn(7, 101).bfloat16(), 100 * torch.rand(7)
    assert_same(step(compiled(criterion), x, y), step(criterion, x, y))


# The reference is slow to trace, and is the same code for every reduction up to its last line.
@pytest.mark.parametrize(
    ("backend", "reduction"),
    [
        *[pytest.param("cpp", reduction, marks=needs_cpp) for reduction in REDUCTIONS],
        ("reference", "mean"),
    ],
)
def test_number_of_rows_may_change(backend: str, reduction: str) -> None:
    criterion = DLDLv2Loss(0, 20, reduction=reduction, backend=backend)
    fast = compiled(criterion)
    for n in (5, 3, 16, 33, 1):
        x, y = torch.randn(n, 21), 20 * torch.rand(n)
        sigma, weight = 1 + torch.rand(n), torch.rand(n)
        assert_same(step(fast, x, y, sigma, weight), step(criterion, x, y, sigma, weight))


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        *[
            pytest.param("cpp", kind, marks=needs_cpp)
            for kind in ("gaussian_pdf", "gaussian_bin", "two_hot", "one_hot", "laplace")
        ],
        ("reference", "two_hot"),
    ],
)
def test_other_kinds(backend: str, kind: str) -> None:
    criterion = DLDLv2Loss(0, 20, kind=kind, regression="smooth_l1", backend=backend)
    x, y = torch.randn(6, 21), 20 * torch.rand(6)
    assert_same(step(compiled(criterion), x, y), step(criterion, x, y))


@needs_cpp
def test_policies_of_other_methods() -> None:
    criterion = DLDLv2Loss(
        0, 20, kind="one_hot", divergence="likelihood", variance_weight=0.05, backend="cpp"
    )
    x, y = torch.randn(6, 21), 20 * torch.rand(6)
    assert_same(step(compiled(criterion), x, y), step(criterion, x, y))


def test_function_with_its_grid_given_in_any_way(backend: str) -> None:
    x, y = torch.randn(6, 5), 4 * torch.rand(6)

    def of_list(x: Tensor, y: Tensor) -> Tensor:
        return functional.label_distribution_loss(
            x, y, labels=[0, 1, 2, 3, 4], sigma=1.5, backend=backend
        )

    def of_range(x: Tensor, y: Tensor) -> Tensor:
        return functional.label_distribution_loss(
            x, y, labels=range(5), lambda_=0.5, smooth_l1_beta=0.3, backend=backend
        )

    def of_tensor(x: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        return functional.label_distribution_loss(x, y, labels=labels, backend=backend)

    assert_same(step(compiled(of_list), x, y), step(of_list, x, y))
    if backend == "reference":
        return  # the grid is read before the backend is chosen
    assert_same(step(compiled(of_range), x, y), step(of_range, x, y))
    for grid in (torch.arange(5), torch.tensor([0.0, 0.5, 1.5, 3.0, 4.0])):
        assert_same(step(compiled(of_tensor), x, y, grid), step(of_tensor, x, y, grid))


def test_bad_grid_is_an_error_of_the_graph() -> None:
    """On the CPU, that is: on a GPU such a check ends all use of the device by the process."""

    def of_tensor(x: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        return functional.label_distribution_loss(x, y, labels=labels)

    x, y = torch.randn(6, 5), 4 * torch.rand(6)
    with pytest.raises(RuntimeError, match="labels must be finite and strictly increasing"):
        compiled(of_tensor)(x, y, torch.tensor([0.0, 1.0, 1.0, 2.0, 4.0]))


def test_terms_and_given_distribution(backend: str) -> None:
    grid = torch.arange(7, dtype=torch.float64)

    def terms(x: Tensor, q: Tensor) -> Any:
        return functional.label_distribution_loss(
            x, labels=grid, target_distribution=q, return_terms=True, backend=backend
        )

    x, q = torch.randn(4, 7), torch.rand(4, 7)
    for got, want in zip(compiled(terms)(x, q), terms(x, q), strict=True):
        torch.testing.assert_close(got, want)
    assert_same(step(compiled(lambda x: terms(x, q).loss), x), step(lambda x: terms(x, q).loss, x))


def test_expectation(backend: str) -> None:
    def both(x: Tensor) -> Tensor:
        mean, std = functional.expectation(x, [0, 1, 2, 3, 4], return_std=True, backend=backend)
        return mean + std

    for n in (3, 8):
        x = torch.randn(n, 5)
        assert_same(step(compiled(both), x), step(both, x))


def test_whole_model_with_its_loss(backend: str) -> None:
    layer, criterion = torch.nn.Linear(3, 21), DLDLv2Loss(0, 20, backend=backend)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return criterion(layer(x).view(2, -1, 21), y)

    x, y = torch.randn(8, 3), 20 * torch.rand(2, 4)
    loss(x, y).backward()
    want = layer.weight.grad
    layer.weight.grad = None
    result = compiled(loss)(x, y)
    torch.testing.assert_close(result, loss(x, y))
    result.backward()
    torch.testing.assert_close(layer.weight.grad, want)


def test_without_grad(backend: str) -> None:
    criterion = DLDLv2Loss(0, 20, backend=backend)
    x, y = torch.randn(6, 21), 20 * torch.rand(6)
    with torch.no_grad():
        torch.testing.assert_close(compiled(criterion)(x, y), criterion(x, y))


@needs_cpp
def test_bad_value_is_a_runtime_error_of_the_same_text() -> None:
    criterion = DLDLv2Loss(0, 20, backend="cpp")
    x, y = torch.randn(3, 21), torch.tensor([1.0, 25.0, 3.0])
    with pytest.raises(ValueError) as eager:
        criterion(x, y)
    for mode in ("aot_eager", "inductor"):
        with pytest.raises(RuntimeError) as error:
            compiled(criterion, mode)(x, y)
        assert str(eager.value) in str(error.value)


def test_bad_value_is_never_a_plausible_number() -> None:
    criterion = DLDLv2Loss(0, 20, reduction="none", backend="reference")
    x, y = torch.randn(3, 21), torch.tensor([1.0, 25.0, 3.0])
    loss, grad = step(compiled(criterion), x, y)
    assert loss.isnan().tolist() == [False, True, False]
    assert grad.isnan().all(-1).tolist() == grad.isnan().any(-1).tolist() == [False, True, False]


def test_wrong_shape_is_said_while_tracing(backend: str) -> None:
    criterion = DLDLv2Loss(0, 20, backend=backend)
    with pytest.raises(Exception, match="use target.squeeze"):
        compiled(criterion)(torch.zeros(3, 21), torch.zeros(3, 1))


def test_importing_the_package_does_not_load_the_compiler() -> None:
    """It takes as long as importing torch itself, and most processes never need it."""
    code = "import sys, dldl_fast; print('torch._dynamo' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
