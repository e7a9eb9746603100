"""The ``measure_on_gpu`` fixture and the closing summary of the benchmarks on a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ..cases import command
from ..record import with_times
from ..report import report
from ..variants import Step
from .device_time import flush, hold, host_seconds
from .record import GpuMeasurement, GpuRun, describe_gpu_run, summary_table

ROUNDS = 100

MEASUREMENTS = pytest.StashKey[list[GpuMeasurement]]()
RUN = pytest.StashKey[GpuRun]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the list of measurements."""
    config.stash[MEASUREMENTS] = []


@pytest.fixture
def measure_on_gpu(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> Callable[[GpuMeasurement, Callable[[], Step], int], None]:
    """``measure_on_gpu(blank, make_step, bytes_min)`` times one step of a variant."""
    stash = request.config.stash
    if RUN not in stash:
        stash[RUN] = describe_gpu_run(command(request.config))

    def run(blank: GpuMeasurement, make_step: Callable[[], Step], bytes_min: int) -> None:
        size = f"{blank.rows}x{blank.labels} {blank.dtype}"
        benchmark.group = f"{blank.op} {blank.direction} {size} {blank.cache} L2"
        benchmark.extra_info.update(bytes_min=bytes_min, gpu=stash[RUN].gpu)
        with torch.no_grad() if blank.direction == "forward" else nullcontext():
            step = make_step()
            for _ in range(3):  # compiles, loads the kernels, and fills the caches
                step()
            on_host = host_seconds(step)
            keep_busy = hold(2 * on_host + 1e-4)
            clear = flush() if blank.cache == "cold" else step

            def before_each_round() -> None:
                clear()
                keep_busy()

            benchmark.pedantic(step, setup=before_each_round, rounds=ROUNDS)
        if benchmark.stats is None:  # --benchmark-disable: the step ran, untimed
            return
        timed = dataclasses.replace(blank, host_us=round(on_host * 1e6, 2))
        measurement = with_times(timed, benchmark.stats.stats.data, bytes_min)
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
        "over those of a copy of the input. Of hybrid pooling, N is the number of planes and K\n"
        "the values of each.\n",
        summary_table,
        config.stash[MEASUREMENTS],
        config.stash.get(RUN, None),  # only described where there is a GPU
        "gpu.csv",
    )
