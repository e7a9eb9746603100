"""Measurements on a GPU and the machine they come from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from ..record import Measurement, Run, describe_run, render
from .variants import OURS, VARIANTS


@dataclass(frozen=True)
class GpuRun(Run):
    """A run with its GPU."""

    gpu: str
    compute_capability: str
    l2_mib: float
    cuda: str


def describe_gpu_run(command: str) -> GpuRun:
    """The present machine, its current GPU, and versions."""
    properties = torch.cuda.get_device_properties()
    return GpuRun(
        **dataclasses.asdict(describe_run(command)),
        gpu=properties.name,
        compute_capability=f"{properties.major}.{properties.minor}",
        l2_mib=properties.L2_cache_size / 2**20,
        cuda=torch.version.cuda or "",
    )


@dataclass(frozen=True)
class GpuMeasurement(Measurement):
    """A time of the device, for one state of its L2 cache."""

    cache: str = ""
    host_us: float = 0.0
    of_copy: float | None = None

    @property
    def group(self) -> tuple[object, ...]:
        """What the variants of one comparison share."""
        return (*super().group, self.cache)


def summary_table(measurements: list[GpuMeasurement]) -> str:
    """One line per group: microseconds of each variant, and the speed of ours beside a copy's."""
    groups: dict[tuple[object, ...], dict[str, GpuMeasurement]] = {}
    for m in measurements:
        groups.setdefault(m.group, {})[m.variant] = m
    lines = []
    for group in groups.values():
        first = next(iter(group.values()))
        line = [
            first.op,
            first.direction,
            f"{first.rows} x {first.labels}",
            first.dtype,
            first.cache,
        ]
        line += [f"{group[v].median_us:.1f}" if v in group else "-" for v in VARIANTS]
        shares = [group[v].of_copy if v in group else None for v in OURS]
        line += ["-" if share is None else f"{share:.2f}" for share in shares]
        lines.append(line)
    shares_of = [f"{backend} / copy" for backend in OURS]
    return render(["op", "direction", "N x K", "dtype", "L2", *VARIANTS, *shares_of], lines)
