"""Peak memory of one step, in N x K buffers beyond the inputs: ``python -m benchmarks.memory``.

The resident set of a fresh process is what is measured, so that it sees every allocation: torch's
tensors, the kernels' own scratch, and what autograd keeps. Three things make it exact to
about a percent of a buffer. Large blocks are given straight back to the system when freed
(``MALLOC_MMAP_THRESHOLD_``), so a step cannot live off memory that was freed earlier; a small
step first does everything that happens once (libraries, dispatch, autograd); and the system's
high-water mark is reset just before the step. ``clone`` is the control: it must show 1.00.
Linux only, as other systems cannot reset the mark.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from .variants import DIRECTIONS, LOSS_VARIANTS, Direction, Step, loss_step, make_problem

ROOT = Path(__file__).parent.parent


def memory_problem() -> str:
    """Why this system cannot measure it; empty where it can."""
    if os.access("/proc/self/clear_refs", os.W_OK):
        return ""
    return "needs Linux, to reset the high-water mark of the resident set"


def peak_buffers(variant: str, rows: int, labels: int, direction: Direction) -> float:
    """Peak of one float32 step in a process of its own, in multiples of N*K*4 bytes."""
    arguments = [variant, str(rows), str(labels), direction]
    return number_of_process("benchmarks.memory", arguments, threads=1)


def number_of_process(module: str, arguments: Sequence[str], threads: int) -> float:
    """The number that a module prints, run in a process whose memory can be measured."""
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "OMP_NUM_THREADS": str(threads),
    }
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(result.args)} failed:\n{result.stderr}")
    return float(result.stdout.split()[-1])


def resident_bytes() -> int:
    """The resident set, after what is free was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _status_bytes("VmRSS")


def peak_bytes(step: Step) -> int:
    """The largest resident set during a step."""
    resident_bytes()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    step()
    return _status_bytes("VmHWM")


def _status_bytes(key: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def _measure(variant: str, rows: int, labels: int, direction: Direction) -> float:
    torch.set_num_threads(1)
    with torch.no_grad() if direction == "forward" else nullcontext():
        small = make_problem(8, labels, torch.float32)
        loss_step(variant, small, direction)()
        problem = make_problem(rows, labels, torch.float32)
        step = loss_step(variant, problem, direction)
        before = resident_bytes()
        return (peak_bytes(step) - before) / (rows * labels * 4)


def main() -> None:
    """Measure one variant in this process and print the number."""
    parser = argparse.ArgumentParser(description="Peak N x K buffers of one step.")
    parser.add_argument("variant", choices=[v for v in LOSS_VARIANTS if v != "compile"])
    parser.add_argument("rows", type=int)
    parser.add_argument("labels", type=int)
    parser.add_argument("direction", choices=DIRECTIONS)
    args = parser.parse_args()
    print(_measure(args.variant, args.rows, args.labels, args.direction))


if __name__ == "__main__":
    main()
