"""Speed of the GPU kernels without a GPU or a clock: ``python -m benchmarks.gpu_static``.

ptxas compiles the PTX of every kernel for an H100 and tells its registers, spills and accesses. An
interpreter executes the same PTX and counts bytes, sectors, instructions, shuffles and bank
conflicts. From the counts follow the least times that memory and issue slots allow.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.progress import Progress

from _build.cuda_toolkit import find_toolkit
from tests.ptx.runtime import Launch
from tests.ptx.traffic import SECTOR

from . import gpu_model
from .cases import dtype_name
from .eager_kernels import eager_cost
from .gpu_disassembly import Binary, assemble, widths
from .gpu_launches import KERNELS, SOURCES, Kernel, Problem, launches_of
from .gpu_lines import DTYPES, HALF_ROWS, LABELS, LARGE_ROWS, LOSS, ROWS, Line, write_lines
from .gpu_table import page
from .record import RESULTS


@dataclass(frozen=True)
class Counts:
    """What is counted of one launch."""

    blocks: float
    bytes_asked: float
    bytes_sectors: float
    warp_instructions: float
    shuffles: float
    bank_conflicts: float

    @classmethod
    def of(cls, launch: Launch) -> Counts:
        """Those of an executed launch."""
        c = launch.counters
        return cls(
            launch.blocks,
            c.bytes_loaded + c.bytes_stored,
            SECTOR * (c.sectors_loaded + c.sectors_stored),
            c.warp_instructions,
            c.shuffles,
            c.bank_conflicts,
        )

    def extended(self, half: Counts) -> Counts:
        """At LARGE_ROWS, where these are at ROWS and `half` at HALF_ROWS."""
        steps = (LARGE_ROWS - ROWS) / (ROWS - HALF_ROWS)
        pairs = zip(dataclasses.astuple(half), dataclasses.astuple(self), strict=True)
        return Counts(*(b + (b - a) * steps for a, b in pairs))

    @property
    def memory_us(self) -> float:
        """Least time for the sectors."""
        return gpu_model.memory_us(self.bytes_sectors)

    @property
    def issue_us(self) -> float:
        """Least time for the instructions."""
        return gpu_model.issue_us(self.warp_instructions, self.blocks)


class Binaries:
    """The machine code of kernels; each text is compiled once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kernels: dict[str, dict[str, Binary]] = {}

    def of(self, launch: Launch) -> Binary:
        """That of the kernel that was launched."""
        if launch.text not in self._kernels:
            self._kernels[launch.text] = assemble(launch.text, self._folder)
        return self._kernels[launch.text][launch.kernel]


def code_columns(launches: list[Launch], binaries: Binaries) -> dict[str, Any]:
    """The columns of a line that are the same for any number of rows."""
    first = launches[0]
    binary = binaries.of(first)
    resources, accesses = binary.resources, binary.accesses
    shared = resources.static_shared + first.dynamic_shared
    return {
        "arch": binary.architecture,
        "toolkit": f"CUDA {find_toolkit().version}",
        "launches": len(launches),
        "threads": first.threads,
        "registers": resources.registers,
        "spill_bytes": sum(binaries.of(launch).resources.spill_bytes for launch in launches),
        "static_shared": resources.static_shared,
        "dynamic_shared": first.dynamic_shared,
        "occupancy": gpu_model.occupancy(resources.registers, first.threads, shared),
        "global_loads": widths(accesses, ("LDG", "LD")),
        "global_stores": widths(accesses, ("STG", "ST")),
        "shared_loads": widths(accesses, ("LDS",)),
        "shared_stores": widths(accesses, ("STS",)),
    }


def count_columns(counts: list[Counts], bytes_min: int, problem: Problem) -> dict[str, Any]:
    """The columns of a line that are counted, summed over launches."""
    memory, issue = sum(c.memory_us for c in counts), sum(c.issue_us for c in counts)
    sectors = sum(c.bytes_sectors for c in counts)
    elements = problem.rows * problem.labels
    return {
        "bytes_min": bytes_min,
        "bytes_asked": round(sum(c.bytes_asked for c in counts)),
        "bytes_sectors": round(sectors),
        "sector_ratio": round(sectors / bytes_min, 4),
        "warp_instr_per_element": round(sum(c.warp_instructions for c in counts) / elements, 4),
        "shuffles_per_row": round(sum(c.shuffles for c in counts) / problem.rows, 3),
        "bank_conflicts_per_row": round(sum(c.bank_conflicts for c in counts) / problem.rows, 3),
        "memory_us": round(memory, 3),
        "issue_us": round(issue, 3),
        "predicted_us": round(sum(max(c.memory_us, c.issue_us) for c in counts), 3),
        "binds": "memory" if memory >= issue else "issue",
        "floor_us": round(gpu_model.memory_us(bytes_min), 3),
    }


def kernel_lines(
    name: str, source: str, launchers: Any, problem: Problem, binaries: Binaries
) -> Iterator[Line]:
    """One op as it was executed, and extended to LARGE_ROWS."""
    kernel: Kernel = KERNELS[name]
    half = launches_of(launchers, kernel, problem._replace(rows=HALF_ROWS))
    launches = launches_of(launchers, kernel, problem)
    counted = [Counts.of(launch) for launch in launches]
    extended = [c.extended(Counts.of(h)) for c, h in zip(counted, half, strict=True)]
    code = code_columns(launches, binaries)
    for rows, counts in ((ROWS, counted), (LARGE_ROWS, extended)):
        sized = problem._replace(rows=rows)
        columns = count_columns(counts, kernel.bytes_min(sized), sized)
        yield Line(
            kernel=name,
            source=source,
            dtype=dtype_name(problem.dtype),
            K=problem.labels,
            N=rows,
            rows_executed=ROWS,
            **code,
            **columns,
        )


def eager_line(problem: Problem) -> Line:
    """The loss of eager PyTorch, forward and backward, as if each byte were moved once."""
    cost = eager_cost(*problem)
    least = KERNELS[LOSS].bytes_min(problem)
    time = round(gpu_model.memory_us(cost.bytes), 3)
    return Line(
        kernel="eager",
        source="torch",
        dtype=dtype_name(problem.dtype),
        K=problem.labels,
        N=problem.rows,
        launches=cost.kernels,
        bytes_min=least,
        bytes_asked=cost.bytes,
        bytes_sectors=cost.bytes,
        sector_ratio=round(cost.bytes / least, 4),
        memory_us=time,
        predicted_us=time,
        binds="memory",
        floor_us=round(gpu_model.memory_us(least), 3),
    )


def measure(folder: Path) -> list[Line]:
    """All lines, in the order of the CSV."""
    binaries, lines = Binaries(folder), []
    runs = [
        (source, name, Problem(ROWS, size, dtype))
        for source, (name, kernel) in product(SOURCES, KERNELS.items())
        for dtype, size in product(DTYPES, kernel.sizes)
    ]
    launchers_of = {name: make(folder, gpu_model.ARCHITECTURE) for name, make in SOURCES.items()}
    with Progress() as progress:
        task = progress.add_task("kernels", total=len(runs))
        for source, name, problem in runs:
            lines += kernel_lines(name, source, launchers_of[source], problem, binaries)
            progress.advance(task)
    for dtype, size, rows in product(DTYPES, LABELS, (ROWS, LARGE_ROWS)):
        lines.append(eager_line(Problem(rows, size, dtype)))
    return lines


def main() -> None:
    """Measure, write the CSV and the page, and print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_static", description=__doc__)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(Path(folder))
    write_lines(RESULTS / "gpu_static.csv", lines)
    text = page(lines)
    (RESULTS / "gpu_static.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
