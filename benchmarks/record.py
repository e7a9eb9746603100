"""Measurements, the machine they come from, and the CSV files that keep them."""

from __future__ import annotations

import csv
import dataclasses
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar, get_type_hints

import cpuinfo
import rich.box
import torch
from rich.console import Console
from rich.table import Table

import dldl_fast

from .variants import kernel_problem

RESULTS = Path(__file__).parent / "results"
M = TypeVar("M")


@dataclass(frozen=True)
class Measurement:
    """One variant on one problem: a time, or (in ``peak_buffers``) a memory figure."""

    op: str
    direction: str
    rows: int
    labels: int
    dtype: str
    threads: int = 1
    variant: str = "dldl_fast"
    calls: int = 0
    median_us: float = 0.0
    q20_us: float = 0.0
    q80_us: float = 0.0
    gb_per_s: float = 0.0
    peak_buffers: float | None = None

    @property
    def group(self) -> tuple[str, str, int, int, str, int]:
        """What the variants of one comparison share."""
        return (self.op, self.direction, self.rows, self.labels, self.dtype, self.threads)


def with_quantiles(blank: Any, seconds: Sequence[float]) -> Any:
    """Fill in the time of single calls, as quantiles 20, 50 and 80."""
    fifths = quantiles(seconds, n=5, method="inclusive") if len(seconds) > 1 else seconds * 4
    return dataclasses.replace(
        blank,
        calls=len(seconds),
        median_us=round(median(seconds) * 1e6, 2),
        q20_us=round(fifths[0] * 1e6, 2),
        q80_us=round(fifths[3] * 1e6, 2),
    )


def with_times(blank: Any, seconds: Sequence[float], bytes_min: int) -> Any:
    """The same, and the bytes that must move over the median."""
    gb_per_s = round(bytes_min / median(seconds) * 1e-9, 3)
    return dataclasses.replace(with_quantiles(blank, seconds), gb_per_s=gb_per_s)


@dataclass(frozen=True)
class Run:
    """Where, when and with which versions a set of measurements was made."""

    date: str
    command: str
    cpu: str
    cores: int
    instruction_set: str
    system: str
    python: str
    torch: str
    dldl_fast: str
    load_1min: float | None


def describe_run(command: str) -> Run:
    """The present machine and versions; call it before measuring, for the load average."""
    return Run(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        cpu=cpuinfo.get_cpu_info().get("brand_raw", platform.processor()),
        cores=os.cpu_count() or 1,
        instruction_set="" if kernel_problem() else torch.ops.dldl_fast.cpu_capability(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        dldl_fast=dldl_fast.__version__,
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def append_csv(path: Path, run: Run, measurements: Sequence[Any]) -> None:
    """Add the measurements to a CSV, one line each; a new file gets its header first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = (*dataclasses.fields(run), *dataclasses.fields(measurements[0]))
    columns = [field.name for field in fields]
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(dataclasses.asdict(run) | dataclasses.asdict(m) for m in measurements)


def read_newest_run(path: Path, kind: type[M]) -> tuple[dict[str, str], list[M]]:
    """The last run in a CSV: its columns about the machine, and its measurements.

    Raises:
        SystemExit: if there is no such file, or nothing in it.
    """
    if not path.exists():
        raise SystemExit(f"there is no {path}: run the benchmarks first, see benchmarks/README.md")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise SystemExit(f"{path} holds no measurements")
    last = max(row["date"] for row in rows)
    types = get_type_hints(kind)
    measurements = [
        kind(**{name: _parse(row[name], types[name]) for name in types})
        for row in rows
        if row["date"] == last
    ]
    run = next(row for row in rows if row["date"] == last)
    return {field.name: run[field.name] for field in dataclasses.fields(Run)}, measurements


def _parse(text: str, kind: Any) -> Any:
    if kind in (int, float, str):
        return kind(text)
    return float(text) if text else None  # float | None


def render(headers: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first two columns to the left, the others to the right."""
    table = Table(box=rich.box.MARKDOWN)
    for i, header in enumerate(headers):
        table.add_column(header, justify="right" if i > 1 else "left", no_wrap=True)
    for line in lines:
        table.add_row(*map(str, line))
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().strip().splitlines())
