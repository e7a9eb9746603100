"""torch.library.opcheck of the compiled ops on CUDA tensors."""

from __future__ import annotations

import pytest

from dldl_fast import backends
from tests.cases import needs_gpu
from tests.test_autograd import (  # noqa: F401
    test_opcheck_of_the_backward,
    test_opcheck_of_the_expectation,
    test_opcheck_of_the_loss,
    test_opcheck_of_the_scaling,
    test_scaling_multiplies_in_float32_and_rounds_once,
)

pytestmark = [pytest.mark.gpu, needs_gpu]


@pytest.fixture(autouse=True)
def compiled_kernels() -> None:
    status = next(s for s in backends.status() if s.name == "cuda")
    if not status.available:
        pytest.skip(f"backend 'cuda': {status.reason}")
