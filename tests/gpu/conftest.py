"""What the tests on a CUDA device share: it is the default device, and its backends take turns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dldl_fast import backends


@pytest.fixture(autouse=True)
def on_the_gpu() -> Iterator[None]:
    """Tensors are made on the device, so that tests written for the CPU's run here as they are."""
    with torch.device("cuda"):
        yield


@pytest.fixture(params=[name for name in backends.BACKENDS if name not in ("cpp", "reference")])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend whose kernels compute CUDA tensors."""
    status = next(s for s in backends.status() if s.name == request.param)
    if not status.available:
        pytest.skip(f"backend {status.name!r}: {status.reason}")
    return status.name
