"""The speed and memory bars, measured in one run: ``python -m benchmarks.bars``.

All variants of a row run in one process, in short blocks of calls whose order is drawn anew in
every round, so that a change of the machine's speed meets all of them alike; the figures are
ratios of the medians over all calls. The first call of a block is not counted. This library runs
as a user runs it: the public module, default arguments, value checks on.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from .interleave import interleave
from .judge import JUDGED_HEADERS, Judged, at_least, at_most
from .memory import memory_problem, peak_buffers
from .record import RESULTS, Measurement, append_csv, describe_run, render, with_times
from .variants import (
    DIRECTIONS,
    Direction,
    bytes_min,
    kernel_problem,
    loss_step,
    make_problem,
    verify,
)


class Bar(NamedTuple):
    """Least speed-up over eager and torch.compile, and the most time in clones."""

    rows: int
    labels: int
    eager: float
    compile: float
    clone: float | None


BARS = (
    Bar(65536, 101, 20, 8.5, 2.9),
    Bar(128, 101, 7.5, 5, None),
    Bar(65536, 16, 8, 4.2, None),
    Bar(128, 401, 14, 8, None),
)
TWO_THREADS = 1.8
# One buffer and none, plus a few values per row and the pages that allocators round up to.
BUFFERS = {"forward+backward": 1.05, "forward": 0.05}

DIRECTION: Direction = "forward+backward"


def measure_times(bar: Bar, rounds: int) -> list[Measurement]:
    """One row of the bars; the first one, the largest, also on two threads."""
    torch.set_num_threads(1)
    problem = make_problem(bar.rows, bar.labels, torch.float32)
    verify(problem)
    contenders = [(variant, 1) for variant in ("dldl_fast", "eager", "compile", "clone")]
    if bar is BARS[0] and (os.cpu_count() or 1) > 1:
        contenders.append(("dldl_fast", 2))
    steps = [(threads, loss_step(variant, problem, DIRECTION)) for variant, threads in contenders]
    times = interleave(steps, rounds)
    problem.logits.grad = None
    least = bytes_min(bar.rows, bar.labels, 4, DIRECTION)
    base = Measurement("loss", DIRECTION, bar.rows, bar.labels, "float32")
    return [
        with_times(dataclasses.replace(base, variant=variant, threads=threads), seconds, least)
        for (variant, threads), seconds in zip(contenders, times, strict=True)
    ]


def measure_memory() -> list[Measurement]:
    """Peak memory at the largest size, with the control (clone) and eager torch beside it."""
    rows, labels = BARS[0].rows, BARS[0].labels
    figures = [("dldl_fast", direction) for direction in DIRECTIONS]
    figures += [("eager", DIRECTION), ("clone", DIRECTION)]
    return [
        Measurement(
            "memory",
            direction,
            rows,
            labels,
            "float32",
            variant=variant,
            peak_buffers=round(peak_buffers(variant, rows, labels, direction), 3),
        )
        for variant, direction in figures
    ]


def bars_table(measurements: list[Measurement]) -> str:
    """Bars and figures side by side."""
    lines: list[Judged] = []

    for bar in BARS:
        size = f"{bar.rows} x {bar.labels}"
        us = {
            (m.variant, m.threads): m.median_us
            for m in measurements
            if (m.op, m.rows, m.labels) == ("loss", bar.rows, bar.labels)
        }
        ours = us["dldl_fast", 1]
        lines += [
            at_least(size, "times faster than eager", us["eager", 1] / ours, bar.eager),
            at_least(size, "times faster than compile", us["compile", 1] / ours, bar.compile),
            at_most(size, "time in clones", ours / us["clone", 1], bar.clone),
        ]
        if ("dldl_fast", 2) in us:
            speedup = ours / us["dldl_fast", 2]
            lines.append(at_least(size, "two threads over one", speedup, TWO_THREADS))
    for m in measurements:
        if m.peak_buffers is not None:
            most = BUFFERS[m.direction] if m.variant == "dldl_fast" else None
            figure = f"N x K buffers, {m.variant} {m.direction}"
            lines.append(at_most(f"{m.rows} x {m.labels}", figure, m.peak_buffers, most))
    return render(["N x K", *JUDGED_HEADERS], lines)


def times_table(measurements: list[Measurement]) -> str:
    """The times behind the ratios."""
    lines = [
        (
            f"{m.rows} x {m.labels}",
            m.variant,
            m.threads,
            *(f"{us:.1f}" for us in (m.median_us, m.q20_us, m.q80_us)),
            f"{m.gb_per_s:.2f}",
            m.calls,
        )
        for m in measurements
        if m.op == "loss"
    ]
    headers = ["N x K", "variant", "threads", "median us", "20 %", "80 %", "GB/s", "calls"]
    return render(headers, lines)


def main() -> None:
    """Measure, print and append to the CSV."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bars", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="rounds of blocks per row")
    parser.add_argument("--csv", type=Path, default=RESULTS / "bars.csv", help="file to append to")
    args = parser.parse_args()
    if reason := kernel_problem():
        sys.exit(f"nothing to measure: {reason}")
    run = describe_run(shlex.join(["python", "-m", "benchmarks.bars", *sys.argv[1:]]))
    measurements = []
    for bar in BARS:
        measurements += measure_times(bar, args.rounds)
        print(f"measured {bar.rows} x {bar.labels}", file=sys.stderr)
    if reason := memory_problem():
        print(f"no memory figures: {reason}", file=sys.stderr)
    else:
        measurements += measure_memory()
    print(bars_table(measurements), end="\n\n")
    print(times_table(measurements), end="\n\n")
    for field, value in dataclasses.asdict(run).items():
        print(f"{field}: {value}")
    append_csv(args.csv, run, measurements)
    print(f"appended to {args.csv}")


if __name__ == "__main__":
    main()
