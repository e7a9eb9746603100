"""A line of `results/gpu_static.csv`, and the file itself."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

LABELS = (16, 41, 64, 101, 128, 256, 401, 1024)
PLANE_SIZES = (49, 196)  # 7 x 7 and 14 x 14, of images of 112 x 112 and 224 x 224
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# Executed with both; the counts at LARGE_ROWS lie on the line through them.
HALF_ROWS, ROWS, LARGE_ROWS = 2048, 4096, 65536
LOSS = "label_distribution_loss"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One op of one source on one problem; eager PyTorch has no figures of compiled kernels.

    Of hybrid pooling, N is the number of planes and K the values of each.

    Threads to stores are those of the kernel over the rows, spills those of all kernels of the op.
    Loads and stores are instructions in the machine code by bits per lane. What is counted is
    counted in PTX, and the sum over all launches.
    """

    kernel: str
    source: str
    dtype: str
    K: int
    N: int
    rows_executed: int | None = None
    arch: str | None = None
    toolkit: str | None = None
    launches: int
    threads: int | None = None
    registers: int | None = None
    spill_bytes: int | None = None
    static_shared: int | None = None
    dynamic_shared: int | None = None
    occupancy: float | None = None
    global_loads: str | None = None
    global_stores: str | None = None
    shared_loads: str | None = None
    shared_stores: str | None = None
    bytes_min: int
    bytes_asked: int
    bytes_sectors: int
    sector_ratio: float
    warp_instr_per_element: float | None = None
    shuffles_per_row: float | None = None
    bank_conflicts_per_row: float | None = None
    memory_us: float
    issue_us: float | None = None
    predicted_us: float
    binds: str
    floor_us: float


def write_lines(path: Path, lines: list[Line]) -> None:
    """The CSV, written anew."""
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = [field.name for field in dataclasses.fields(Line)]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(dataclasses.asdict, lines))


def read_lines(path: Path) -> list[Line]:
    """What `write_lines` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Line(**{name: _value(text) for name, text in row.items()}) for row in rows]


def _value(text: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text or None
