"""What is compiled for the tests, once for all processes of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A file of this run of pytest: the first process that asks builds it, the others wait.

    Args:
        factory: pytest's.
        name: Of the file.
        build: Writes the file at the path that it is given.
    """
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the processes of pytest-xdist have folders in that of the run
    path: Path = folder / name
    with FileLock(f"{path}.lock"):
        if not path.exists():
            unfinished = path.with_suffix(f".unfinished{path.suffix}")
            build(unfinished)
            unfinished.rename(path)
    return path
