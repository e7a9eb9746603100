"""Choice of the backend: argument > DLDL_FAST_BACKEND > automatic."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, backends, functional, ops, reference
from tests.cases import needs_cpp

X, Y = torch.zeros(2, 5), torch.tensor([1.0, 2.0])


def recorded(calls: list[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def record(*arguments: Any) -> Any:
        calls.append(name)
        return function(*arguments)

    return record


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the backends that were called, in order."""
    calls: list[str] = []
    for name, module in (("cpp", ops), ("reference", reference)):
        for function in ("label_distribution_loss", "expectation"):
            monkeypatch.setattr(module, function, recorded(calls, name, getattr(module, function)))
    return calls


def loss(backend: str = "auto", x: Tensor = X) -> Tensor:
    return DLDLv2Loss(0, 4, backend=backend)(x, Y.to(x.device))


@needs_cpp
def test_automatic_choice_is_the_kernel(used: list[str]) -> None:
    loss()
    functional.expectation(X, range(5))
    assert used == ["cpp", "cpp"]


@needs_cpp
def test_argument_then_variable_then_automatic(
    used: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "requested_by_environment", "reference")
    loss()
    functional.expectation(X, range(5))
    loss("cpp")
    functional.expectation(X, range(5), backend="cpp")
    assert used == ["reference", "reference", "cpp", "cpp"]
    monkeypatch.setattr(backends, "requested_by_environment", "cpp")
    loss("reference")
    loss()
    monkeypatch.setattr(backends, "requested_by_environment", "auto")
    loss()
    assert used[4:] == ["reference", "cpp", "cpp"]


@pytest.mark.parametrize(
    ("variable", "requested"), [("reference", "reference"), ("", "auto"), (None, "auto")]
)
def test_variable_is_read_at_import(variable: str | None, requested: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "DLDL_FAST_BACKEND"}
    if variable is not None:
        environment["DLDL_FAST_BACKEND"] = variable
    code = "import dldl_fast; print(dldl_fast.backends.requested_by_environment)"
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=environment, text=True).strip() == requested


def test_unknown_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    valid = "must be one of 'auto', 'cpp', 'cuda', 'triton', 'reference', got 'cppp'"
    with pytest.raises(ValueError, match=f"^backend {valid}"):
        functional.label_distribution_loss(X, Y, labels=range(5), backend="cppp")
    with pytest.raises(ValueError, match=f"^backend {valid}"):
        functional.expectation(X, range(5), backend="cppp")
    monkeypatch.setattr(backends, "requested_by_environment", "cppp")
    with pytest.raises(ValueError, match=f"^DLDL_FAST_BACKEND {valid}"):
        loss()
    loss("reference")  # a named one does not look at the variable


def test_without_the_library(used: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "load_error", "no compiler was found: install one")
    loss()
    functional.expectation(X, range(5))
    assert used == ["reference", "reference"]
    with pytest.raises(RuntimeError, match="^backend='cpp' cannot be used: no compiler was found"):
        loss("cpp")
    monkeypatch.setattr(backends, "requested_by_environment", "cpp")
    with pytest.raises(RuntimeError, match="^DLDL_FAST_BACKEND='cpp' cannot be used: no compiler"):
        loss()
    status = {s.name: s for s in backends.status()}
    assert (status["cpp"].available, status["cpp"].reason) == (
        False,
        "no compiler was found: install one",
    )
    assert (status["reference"].available, status["reference"].reason) == (True, "")


@needs_cpp
def test_status_with_the_library() -> None:
    status = {s.name: s for s in backends.status()}
    assert list(status) == ["cpp", "cuda", "triton", "reference"]
    assert status["cpp"].available and status["reference"].available
    assert status["cuda"].available == (torch.cuda.is_available() and ops.cuda_load_error is None)
    assert status["cuda"].available == (not status["cuda"].reason)


def test_cuda_kernels_serve_cuda_tensors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        RuntimeError, match="backend='cuda' cannot be used: it runs on CUDA devices"
    ):
        loss("cuda")
    monkeypatch.setattr(ops, "cuda_load_error", "no toolkit was found: install one")
    with pytest.raises(RuntimeError, match="backend='cuda' cannot be used: no toolkit was found"):
        backends.resolve("cuda", "cuda")
    monkeypatch.setattr(ops, "triton_load_error", None)
    assert backends.resolve("auto", "cuda") == "triton"
    monkeypatch.setattr(ops, "triton_load_error", "Triton is not installed: install it")
    assert backends.resolve("auto", "cuda") == "reference"
    monkeypatch.setattr(ops, "cuda_load_error", None)
    assert backends.resolve("auto", "cuda") == "cuda"
    assert backends.resolve("auto", "cpu") in ("cpp", "reference")


def test_triton_serves_cuda_tensors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "triton_load_error", None)
    with pytest.raises(RuntimeError, match="'triton' cannot be used: it runs on CUDA devices, got"):
        loss("triton")
    assert backends.resolve("triton", "cuda") == "triton"
    monkeypatch.setattr(ops, "triton_load_error", "Triton is not installed: install it")
    with pytest.raises(RuntimeError, match="'triton' cannot be used: Triton is not installed"):
        backends.resolve("triton", "cuda")
    assert {s.name: s.reason for s in backends.status()}["triton"].startswith("Triton is not")


@pytest.mark.parametrize("version", ["2.3.1", "3.3.1"])
def test_triton_that_is_too_old_says_so(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "triton" or None)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert ops.find_triton() == (
        f"it needs triton >= 3.4, this is {version}: install torch >= 2.8, which has one"
    )


@pytest.mark.parametrize("version", ["3.4.0", "3.10.0+git1234", "4.0.0rc1"])
def test_triton_that_is_new_enough(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "triton" or None)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert ops.find_triton() is None


def test_triton_of_a_nightly_torch_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "triton" or None)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert ops.find_triton() is None


def test_interpreter_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "load_error", "no compiler was found: install one")
    monkeypatch.setattr(ops, "triton_load_error", None)
    monkeypatch.setitem(backends._DEVICES, "triton", ("cuda", "cpu"))
    assert backends.resolve("triton", "cpu") == "triton"
    monkeypatch.setattr(backends, "_choose_cached", backends._choose)
    assert backends.resolve("auto", "cpu") == "reference"


def test_importing_leaves_triton_alone() -> None:
    code = "import sys, dldl_fast; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_cpp
def test_kernel_cannot_serve_another_device(used: list[str]) -> None:
    meta = X.to("meta")
    with pytest.raises(RuntimeError, match="backend='cpp' cannot be used: it runs on the CPU, got"):
        loss("cpp", meta)
    assert functional.expectation(meta, range(5)).device.type == "meta"
    assert used == ["reference"]
