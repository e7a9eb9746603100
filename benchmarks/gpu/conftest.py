"""The ``measure_on_gpu`` fixture and the closing summary of the benchmarks on a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ..cases import command, dtype_name
from ..record import with_times
from ..report import report
from ..variants import Direction, Problem
from .device_time import flush, hold, host_seconds
from .record import GpuMeasurement, GpuRun, describe_gpu_run, summary_table
from .variants import bytes_moved, gpu_step

ROUNDS = 100

MEASUREMENTS = pytest.StashKey[list[GpuMeasurement]]()
RUN = pytest.StashKey[GpuRun]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the list of measurements."""
    config.stash[MEASUREMENTS] = []


@pytest.fixture
def measure_on_gpu(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> Callable[[str, Problem, Direction, str], None]:
    """``measure_on_gpu(variant, problem, direction, cache)`` times one step of a variant."""
    stash = request.config.stash
    if RUN not in stash:
        stash[RUN] = describe_gpu_run(command(request.config))

    def run(variant: str, problem: Problem, direction: Direction, cache: str) -> None:
        rows, labels = problem.logits.shape
        bytes_min = bytes_moved(variant, problem, direction)
        name = dtype_name(problem.logits.dtype)
        benchmark.group = f"loss {direction} {rows}x{labels} {name} {cache} L2"
        benchmark.extra_info.update(bytes_min=bytes_min, gpu=stash[RUN].gpu)
        with torch.no_grad() if direction == "forward" else nullcontext():
            step = gpu_step(variant, problem, direction)
            for _ in range(3):  # compiles, loads the kernels, and fills the caches
                step()
            on_host = host_seconds(step)
            keep_busy = hold(2 * on_host + 1e-4)
            clear = flush() if cache == "cold" else step

            def before_each_round() -> None:
                clear()
                keep_busy()

            benchmark.pedantic(step, setup=before_each_round, rounds=ROUNDS)
        if benchmark.stats is None:  # --benchmark-disable: the step ran, untimed
            return
        blank = GpuMeasurement(
            "loss", direction, rows, labels, name, variant=variant, cache=cache,
            host_us=round(on_host * 1e6, 2),
        )  # fmt: skip
        measurement = with_times(blank, benchmark.stats.stats.data, bytes_min)
        copies = [m for m in stash[MEASUREMENTS] if (m.group, m.variant) == (blank.group, "copy")]
        if copies:
            share = round(measurement.gb_per_s / copies[-1].gb_per_s, 3)
            measurement = dataclasses.replace(measurement, of_copy=share)
        benchmark.extra_info.update(
            gb_per_s=measurement.gb_per_s,
            host_us=measurement.host_us,
            of_copy=measurement.of_copy,
        )
        stash[MEASUREMENTS].append(measurement)

    return run


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the times, and append to the CSV (not in smoke mode)."""
    report(
        terminalreporter,
        "dldl_fast on a GPU beside its rivals",
        "Medians of the device's time in microseconds. / copy: bytes that must move a second,\n"
        "over those of a copy of the logits.\n",
        summary_table,
        config.stash[MEASUREMENTS],
        config.stash.get(RUN, None),  # only described where there is a GPU
        "gpu.csv",
    )
