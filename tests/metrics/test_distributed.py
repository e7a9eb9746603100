"""Metrics of rows that are spread over processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed

from tests.metrics.gloo_process import SIZES
from tests.metrics.streams import CASES, make_rows
from tests.simt.launchers import ROOT


@pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="without gloo"
)
def test_every_process_gets_what_all_rows_give(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [
                sys.executable, "-m", "tests.metrics.gloo_process",
                str(rank), str(len(SIZES)), tmp_path / "rendezvous", tmp_path / f"{rank}.pt",
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(len(SIZES))
    ]  # fmt: skip
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors[-4000:]
    finally:
        for process in processes:
            process.kill()

    all_rows, few_rows = make_rows(sum(map(sum, SIZES))), make_rows(5)
    for rank in range(len(SIZES)):
        values = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert len(values) == 2 * len(CASES)
        for case in CASES:
            for rows, name in (
                (all_rows, case.name),
                (few_rows, f"{case.name}, rows in the first process only"),
            ):
                torch.testing.assert_close(
                    values[name],
                    case.function(*(rows[argument] for argument in case.arguments)),
                    rtol=1e-12,
                    atol=1e-14,
                    equal_nan=True,
                    msg=lambda text, name=name: f"{name}: {text}",
                )
