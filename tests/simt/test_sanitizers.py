"""The CUDA kernels under sanitizers, each of which also has to find a mistake made on purpose."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.simt.launchers import compile_kernels, compiler

FLAGS = {
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}


@pytest.fixture(scope="module")
def executables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An executable for each sanitizer."""
    if compiler() is None:
        pytest.skip("g++ is missing: the CUDA kernels cannot be compiled for the CPU")
    folder: Path = tmp_path_factory.mktemp("sanitizers")
    for name, flags in FLAGS.items():
        compile_kernels("sanitized.cpp", output=folder / name, flags=["-O1", *flags])
    return {name: folder / name for name in FLAGS}


def run(executable: Path, kernel: str) -> tuple[bool, str]:
    """Whether it ran to the end without a finding, and what it said."""
    done = subprocess.run([executable, kernel], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout == "finished\n", done.stderr


@pytest.mark.parametrize("sanitizer", FLAGS)
def test_kernels_are_clean(executables: dict[str, Path], sanitizer: str) -> None:
    clean, said = run(executables[sanitizer], "kernels")
    assert clean, said


@pytest.mark.parametrize("sanitizer", FLAGS)
def test_no_false_alarm_at_a_barrier(executables: dict[str, Path], sanitizer: str) -> None:
    clean, said = run(executables[sanitizer], "barrier")
    assert clean, said


@pytest.mark.parametrize(
    ("sanitizer", "kernel", "finding"),
    [
        ("thread", "missing_barrier", "data race"),
        ("address", "read_beyond_input", "heap-buffer-overflow"),
        ("address", "write_beyond_shared", "use-after-poison"),
        ("address", "barrier_for_half", "ended before the barrier"),
        ("address", "shuffle_with_even_lanes", "divergent warp operation"),
    ],
)
def test_mistakes_are_found(
    executables: dict[str, Path], sanitizer: str, kernel: str, finding: str
) -> None:
    clean, said = run(executables[sanitizer], kernel)
    assert not clean and finding in said, said
