"""Trainings in several processes, with gloo on the CPU."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dldl_fast.models import TinyAgeNet

pytest.importorskip("safetensors", reason="the extra faces is not installed")
if not torch.distributed.is_gloo_available():
    pytest.skip("this torch has no gloo", allow_module_level=True)

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def torchrun(processes: int, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), *arguments,
    ]  # fmt: skip


def outcome(processes: int, micro_batches: int) -> dict:
    script = str(Path(__file__).with_name("gloo_training.py"))
    done = subprocess.run(
        torchrun(processes, script, str(micro_batches)),
        capture_output=True,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def alone() -> dict:
    return outcome(1, 1)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_two_processes_compute_what_one_does(alone, micro_batches):
    two = outcome(2, micro_batches)
    assert (alone["rows"], two["rows"]) == (11, 6)
    assert two["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    expected, found = torch.tensor(alone["gradients"]), torch.tensor(two["gradients"])
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    # Seven test images in shares of four and three.
    assert two["scores"] == pytest.approx(alone["scores"], rel=1e-5)
    for (loss, scores), (want_loss, want) in zip(two["curve"], alone["curve"], strict=True):
        assert loss == pytest.approx(want_loss, rel=1e-4)
        assert scores == pytest.approx(want, rel=1e-3)


def train_command(source: Path, out: Path, *more: str) -> list[str]:
    return torchrun(
        2, "-m", "dldl_fast.train", "--data", str(source), "--out", str(out), "--batch-size", "8",
        "--label-max", "10", "--image-size", "32", "--device", "cpu", *more,
    )  # fmt: skip


def test_the_command_under_torchrun(write_folder, tmp_path):
    source, out = write_folder([i / 4 for i in range(40)]), tmp_path / "out"
    done = subprocess.run(
        train_command(source, out, "--epochs", "1"),
        capture_output=True,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/1") == 1  # the first process speaks for all
    assert "2 processes" in done.stdout
    assert json.loads((out / "metrics.json").read_text())["processes"] == 2


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
def test_a_killed_worker_ends_the_training_with_a_checkpoint(write_folder, tmp_path):
    source, out = write_folder([i / 4 for i in range(40)]), tmp_path / "out"
    process = subprocess.Popen(
        train_command(source, out, "--epochs", "100000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("epoch"):
                break
        time.sleep(0.3)
        os.kill(worker(process.pid, rank=1), signal.SIGKILL)
        lines.append(process.communicate(timeout=120)[0])
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    text = re.sub(r"\s+", " ", "".join(lines))
    assert process.returncode == 1, text
    assert "another process of this training ended" in text
    assert "the last complete epoch is kept: start the same command again with --resume" in text
    assert len(TinyAgeNet.from_pretrained(out).labels) == 11
    TinyAgeNet.from_pretrained(out / "last")


def worker(parent: int, rank: int) -> int:
    """The process that torchrun gave a rank to."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_child = f"\nPPid:\t{parent}\n" in (folder / "status").read_text()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or another user's
            continue
        if is_child and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank} below {parent}")
