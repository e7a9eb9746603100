"""The networks of the paper's speed tables, forward and in training, and what they need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dldl_fast.inference import PATHS

from .cases import Compare, Keep, mode
from .memory import memory_problem
from .network_memory import peak_megabytes
from .network_variants import (
    NETWORKS,
    TIMED_ALONE,
    NetworkMeasurement,
    forward_contenders,
    training_contenders,
)
from .record import with_quantiles
from .variants import skip_reason

# Images, size, rounds; a long step is counted once more than that. A batch of 32 is that of the
# paper's tables; a round of it takes half a minute on two cores.
FORWARD = {
    "all": [(32, 224, 2), (1, 224, 10)],
    "quick": [(4, 224, 2)],
    "smoke": [(2, 32, 1)],
}[mode()]
TRAINING = {
    "all": [(32, 224, 1), (32, 112, 4)],
    "quick": [(32, 112, 1)],
    "smoke": [(2, 32, 1)],
}[mode()]

_EAGER = [(name, "none") for name in NETWORKS]
MEMORY = {
    "all": [*_EAGER, *((TIMED_ALONE, path) for path in PATHS if not PATHS[path].missing())],
    "quick": [(TIMED_ALONE, "none")],
    "smoke": [("TinyAgeNet", "none")],
}[mode()]


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    """One thread per core."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("batch", "size", "rounds"), FORWARD)
def test_forward(
    batch: int,
    size: int,
    rounds: int,
    compare: Compare,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All networks in one interleaved run; the path is chosen anew, not remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = "eager" if mode() == "smoke" else "auto"
    compare(forward_contenders(batch, size, path, tmp_path), rounds, with_quantiles)


@pytest.mark.parametrize(("batch", "size", "rounds"), TRAINING)
def test_training_step(batch: int, size: int, rounds: int, compare: Compare) -> None:
    """How much of a step are loss and pooling, fused and eager."""
    if reason := skip_reason("dldl_fast"):
        pytest.skip(reason)
    compare(training_contenders(batch, size), rounds, with_quantiles)


@pytest.mark.parametrize(("network", "path"), MEMORY)
def test_memory(network: str, path: str, keep: Keep) -> None:
    """Peak memory of one forward in a fresh process."""
    if reason := memory_problem() or (path == "compile" and skip_reason("compile")):
        pytest.skip(reason)
    batch, size, _ = FORWARD[0]
    keep(
        lambda: NetworkMeasurement(
            "memory",
            network,
            "eager" if path == "none" else "optimised",
            "float32",
            batch,
            size,
            torch.get_num_threads(),
            path.replace("none", ""),
            peak_mb=round(peak_megabytes(network, path, batch, size), 1),
        )
    )
