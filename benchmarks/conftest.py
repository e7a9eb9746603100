"""The ``measure`` fixture and the closing summary of the benchmark suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from .cases import Case, Measure, command, dtype_name
from .record import Measurement, Run, describe_run, render, with_times
from .report import report
from .variants import LOSS_VARIANTS, Direction, Step

collect_ignore = ["plot.py"]  # needs matplotlib

MEASUREMENTS = pytest.StashKey[list[Measurement]]()
RUN = pytest.StashKey[Run]()


@pytest.fixture
def measure(
    benchmark: BenchmarkFixture, case: Case, direction: Direction, request: pytest.FixtureRequest
) -> Iterator[Measure]:
    """``measure(op, variant, make_step, bytes_min)`` times one step of a variant."""
    rows, labels, dtype, threads = case
    if threads > (os.cpu_count() or 1):
        pytest.skip(f"{threads} threads on a machine with {os.cpu_count()} core(s)")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    def run(op: str, variant: str, make_step: Callable[[], Step], bytes_min: int) -> None:
        name = dtype_name(dtype)
        benchmark.group = f"{op} {direction} {rows}x{labels} {name} {threads} thread(s)"
        benchmark.extra_info.update(bytes_min=bytes_min)
        with torch.no_grad() if direction == "forward" else nullcontext():
            step = make_step()
            for _ in range(3):  # compiles, loads the libraries, and warms the caches
                step()
            benchmark(step)
        if benchmark.stats is None:  # --benchmark-disable: the step ran, untimed
            return
        blank = Measurement(op, direction, rows, labels, name, threads, variant)
        measurement = with_times(blank, benchmark.stats.stats.data, bytes_min)
        benchmark.extra_info.update(gb_per_s=measurement.gb_per_s)
        request.config.stash[MEASUREMENTS].append(measurement)

    yield run
    torch.set_num_threads(before)


def pytest_configure(config: pytest.Config) -> None:
    """Note the machine, before its load is ours, and start the list of measurements."""
    config.stash[RUN] = describe_run(command(config))
    config.stash[MEASUREMENTS] = []


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the benchmarks on a GPU out unless ``-m gpu`` asks for them."""
    if collection_path.name == "gpu" and "gpu" not in config.option.markexpr:
        return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print GB/s and ratios per group, and append to the CSV (not in smoke mode)."""
    report(
        terminalreporter,
        "dldl_fast beside its rivals",
        "us: median of dldl_fast. GB/s: bytes that must move / time (byte model: variants.py).\n"
        "eager .. hl_gauss: how many times faster dldl_fast is. clone: its time in clones.\n",
        summary_table,
        config.stash[MEASUREMENTS],
        config.stash[RUN],
        "suite.csv",
    )


def summary_table(measurements: list[Measurement]) -> str:
    """One line per group in which dldl_fast was measured."""
    groups: dict[tuple[object, ...], dict[str, Measurement]] = {}
    for m in measurements:
        groups.setdefault(m.group, {})[m.variant] = m
    rivals = [variant for variant in LOSS_VARIANTS if variant not in ("dldl_fast", "clone")]
    lines = []
    for group in groups.values():
        ours = group.get("dldl_fast")
        if ours is None:
            continue
        line = [f"{ours.op} {ours.direction}", f"{ours.rows} x {ours.labels}", ours.dtype]
        line += [str(ours.threads), f"{ours.median_us:.1f}", f"{ours.gb_per_s:.2f}"]
        for rival in rivals:
            found = rival in group
            line.append(f"{group[rival].median_us / ours.median_us:.1f}" if found else "-")
        found = "clone" in group
        line.append(f"{ours.median_us / group['clone'].median_us:.2f}" if found else "-")
        lines.append(line)
    headers = ["op", "N x K", "dtype", "threads", "us", "GB/s", *rivals, "clone"]
    return render(headers, lines)
