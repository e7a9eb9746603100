"""The CUDA kernels under sanitizers, each of which also has to find a mistake made on purpose."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.simt.launchers import compile_command, compiler

FLAGS = {
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}


@pytest.fixture(scope="module", params=FLAGS)
def sanitizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executable by the name of its sanitizer."""
    if compiler() is None:
        pytest.skip("g++ is missing: the CUDA kernels cannot be compiled for the CPU")
    name = str(request.param)
    executable: Path = tmp_path_factory.mktemp("sanitizer") / name
    flags = ["-O1", *FLAGS[name]]
    subprocess.run(compile_command("sanitized.cpp", output=executable, flags=flags), check=True)
    return executable


def run(executable: Path, kernel: str) -> tuple[bool, str]:
    """Whether it ran to the end without a finding, and what it said."""
    done = subprocess.run([executable, kernel], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout == "finished\n", done.stderr


def test_kernels_are_clean(sanitizer: Path) -> None:
    clean, said = run(sanitizer, "kernels")
    assert clean, said


def test_no_false_alarm_at_a_barrier(sanitizer: Path) -> None:
    clean, said = run(sanitizer, "barrier")
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
    indirect=["sanitizer"],
)
def test_mistakes_are_found(sanitizer: Path, kernel: str, finding: str) -> None:
    clean, said = run(sanitizer, kernel)
    assert not clean and finding in said, said
