from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dldl_fast import backends
from tests.cases import BACKENDS


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(20200421)


@pytest.fixture(autouse=True)
def default_choice_of_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "requested_by_environment", "auto")
    monkeypatch.delenv("DLDL_FAST_BACKEND", raising=False)  # for processes that tests start


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests that use more say so; for inputs this small, waiting for threads is what takes time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
