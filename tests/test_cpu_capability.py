"""Every instruction set, one process each, since the choice is made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.cases import needs_cpp

pytestmark = needs_cpp

ROOT = Path(__file__).parent.parent
ASK = "import torch, dldl_fast; print(torch.ops.dldl_fast.cpu_capability())"
LOSS = "import torch, dldl_fast; print(dldl_fast.DLDLv2Loss()(torch.zeros(1, 101), torch.ones(1)))"


def python(*arguments: str, forced: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "DLDL_FAST_CPU": forced},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["avx512", "avx2", "baseline"])
def test_values_on_every_instruction_set(name: str) -> None:
    if name == torch.ops.dldl_fast.cpu_capability():
        pytest.skip(f"{name} is what all other tests of this process use")
    asked = python("-c", ASK, forced=name)
    if f"DLDL_FAST_CPU={name}: this CPU or this build does not have it" in asked.stderr:
        pytest.skip(f"DLDL_FAST_CPU={name}: this CPU or this build does not have it")
    assert asked.stdout.strip() == name
    files = [f"tests/test_{file}.py" for file in ("label_distribution_loss", "expectation")]
    # Neither the reference nor the settings depend on the set; row lengths, widths and dtypes do.
    selected = [*files, "-k", "not every_setting and not reference"]
    run = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *selected, forced=name)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert " passed" in run.stdout


@pytest.mark.parametrize("code", [ASK, LOSS])
def test_unknown_instruction_set(code: str) -> None:
    run = python("-c", code, forced="avx1024")
    assert run.returncode != 0
    assert "DLDL_FAST_CPU must be avx512, avx2 or baseline, got avx1024" in run.stderr
