"""Tests of the CPU ops in a process of their own, where other kernels take the ops' place."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.simt.launchers import ROOT


def run_tests(
    script: str, *arguments: str, files: list[str], chosen: str, environment: dict[str, str]
) -> str:
    """What the run printed; it has passed.

    Args:
        script: A program that sets the kernels up and hands its other arguments to pytest.
        arguments: What else it takes.
        files: Names of test files, `autograd` for `tests/test_autograd.py`.
        chosen: Of their tests, as for pytest's -k.
        environment: Variables to set.
    """
    # Options that pytest would find there are for the run that this one is part of: processes of
    # pytest-xdist would test the kernels that are installed.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    run = subprocess.run(
        [
            sys.executable, script, *arguments, "-q", "-p", "no:cacheprovider", "-k", chosen,
            *(f"tests/test_{name}.py" for name in files),
        ],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
    return run.stdout
