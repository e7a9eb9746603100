"""The ``measure`` fixture and the closing summary of the benchmark suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from .cases import Case, Compare, Keep, Measure, command, dtype_name
from .interleave import interleave
from .method_variants import MethodMeasurement, method_tables
from .network_tables import network_tables
from .network_variants import NetworkMeasurement
from .pool_variants import PoolMeasurement, pool_tables
from .record import Measurement, Run, describe_run, render, with_times
from .report import report
from .variants import LOSS_VARIANTS, Direction, Step

collect_ignore = ["plot.py"]  # needs matplotlib

MEASUREMENTS = pytest.StashKey[list[Any]]()
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


@pytest.fixture
def compare(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Compare:
    """``compare(contenders, rounds, fill_in)`` times steps that are interleaved.

    Contenders are measurements without their times and the steps that they are of;
    ``fill_in(measurement, seconds)`` gives what is recorded. What pytest-benchmark sees and shows
    is the duration of the whole comparison.
    """

    def run(
        contenders: Sequence[tuple[Any, Step]],
        rounds: int,
        fill_in: Callable[[Any, list[float]], Any],
    ) -> None:
        steps = [(blank.threads, step) for blank, step in contenders]
        times = benchmark.pedantic(interleave, (steps, rounds), rounds=1)
        for (blank, _), seconds in zip(contenders, times, strict=True):
            request.config.stash[MEASUREMENTS].append(fill_in(blank, seconds))

    return run


@pytest.fixture
def keep(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Keep:
    """``keep(measure)`` records what ``measure()`` returns: no time, that of a process at most."""

    def run(measure: Callable[[], object]) -> None:
        request.config.stash[MEASUREMENTS].append(benchmark.pedantic(measure, rounds=1))

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--quick``."""
    parser.addoption(
        "--quick", action="store_true", help="the same as DLDL_FAST_BENCH=quick in the environment"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Note the machine, before its load is ours, and start the list of measurements."""
    if config.option.quick:
        os.environ["DLDL_FAST_BENCH"] = "quick"
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
    """Print figures and ratios, and append to the CSV files (not in smoke mode)."""

    def section(
        kind: type, file: str, title: str, legend: str, table_of: Callable[[list[Any]], str]
    ) -> None:
        found = [m for m in config.stash[MEASUREMENTS] if type(m) is kind]
        report(terminalreporter, title, legend, table_of, found, config.stash[RUN], file)

    section(
        Measurement,
        "suite.csv",
        "dldl_fast beside its rivals",
        "us: median of dldl_fast. GB/s: bytes that must move / time (byte model: variants.py).\n"
        "eager .. hl_gauss: how many times faster dldl_fast is. clone: its time in clones.\n",
        summary_table,
    )
    section(
        PoolMeasurement,
        "hybrid_pool2d.csv",
        "hybrid pooling",
        "Forward and backward, float32, one thread. Byte model: pool_variants.py.\n",
        pool_tables,
    )
    section(
        MethodMeasurement,
        "methods.csv",
        "methods",
        "Forward and backward of the losses, float32, one thread.\n",
        method_tables,
    )
    section(
        NetworkMeasurement,
        "networks.csv",
        "networks",
        "Medians of single calls, on all cores; the paper's times are those of an NVIDIA M40.\n",
        network_tables,
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
