"""The lines of `benchmarks.gpu_static` beside their bars, and as a page to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .gpu_lines import LARGE_ROWS, LOSS, PLANE_SIZES, Line
from .record import render

_SHOWN = ("float32", "bfloat16")
_LAUNCHES = {
    LOSS: 2,
    "scale_rows_": 1,
    "expectation": 1,
    "expectation_backward": 1,
    "hybrid_pool2d": 1,
    "hybrid_pool2d_backward": 1,
}

_HEAD = """\
# The GPU kernels without a GPU or a clock

Made by `python -m benchmarks.gpu_static` with {toolkit}; all lines are in `gpu_static.csv`, and
[README.md](../README.md#gpu-kernels-without-a-clock) says how each figure comes about. Nothing here
was timed. Instructions are those of the executed PTX; ptxas makes others of them. Times are the
least that 3.35 TB/s and four instructions per clock on each of 132 SMs allow, at 1.755 GHz and
N = 65536, and know no latency.
"""


class Bar(NamedTuple):
    """A figure that has to be at most something.

    Args:
        name: What it is.
        limit: Its bound.
        worst: The largest one there is.
        where: Data type and K of that one.
    """

    name: str
    limit: float
    worst: float
    where: str

    @property
    def reached(self) -> bool:
        """Whether the worst one is within the bound."""
        return self.worst <= self.limit


def bars(lines: list[Line]) -> list[Bar]:
    """All bars, of all sources that the lines are about."""
    eager = {_problem(line): line for line in lines if line.kernel == "eager"}
    sources = dict.fromkeys(line.source for line in lines if line.kernel != "eager")
    found = []
    for source in sources:
        own = [line for line in lines if line.source == source]
        found += [bar._replace(name=f"{source} {bar.name}") for bar in _bars_of(own, eager)]
    return found


def _problem(line: Line) -> tuple[str, int, int]:
    return line.dtype, line.K, line.N


def _bars_of(lines: list[Line], eager: dict[tuple[str, int, int], Line]) -> Iterator[Bar]:
    """Those of one source."""

    def of(kernel: str) -> list[Line]:
        return [line for line in lines if line.kernel == kernel]

    scaled = {_problem(line): line.bytes_sectors for line in of("scale_rows_")}

    def over_eager(line: Line) -> float:
        # Where the incoming gradient is 1, only float16 has anything to scale.
        own = line.bytes_sectors + (scaled[_problem(line)] if line.dtype == "float16" else 0)
        return own / eager[_problem(line)].bytes_sectors

    def over_eager_scaled(line: Line) -> float:
        own = line.bytes_sectors + scaled[_problem(line)]
        return own / eager[_problem(line)].bytes_sectors

    yield _worst("spilled bytes", 0, lines, lambda line: line.spill_bytes)
    for kernel, launches in _LAUNCHES.items():
        yield _worst(f"launches of {kernel}", launches, of(kernel), lambda line: line.launches)
    for kernel in _LAUNCHES:
        sizes = PLANE_SIZES if kernel.startswith("hybrid_pool2d") else (101, 401, 1024)
        some = [line for line in of(kernel) if line.dtype in _SHOWN and line.K in sizes]
        name = f"sectors of {kernel} over the least; K = {', '.join(map(str, sizes))}"
        yield _worst(name, 1.05, some, lambda line: line.sector_ratio)
    for dtype in _SHOWN:
        some = [line for line in of(LOSS) if _problem(line) == (dtype, 101, LARGE_ROWS)]
        yield _worst(f"predicted time of {LOSS} over its floor", 1.3, some, _over_floor)
    losses = [line for line in of(LOSS) if line.dtype != "float64"]
    yield _worst("bytes of loss.backward() over eager PyTorch's", 0.1, losses, over_eager)
    name = "the same for an incoming gradient other than 1"
    yield _worst(name, 0.1, losses, over_eager_scaled)


def _worst(name: str, limit: float, lines: list[Line], figure: Callable[[Line], Any]) -> Bar:
    line = max(lines, key=figure)
    return Bar(name, limit, figure(line), f"{line.dtype}, K = {line.K}")


def _over_floor(line: Line) -> float:
    return line.predicted_us / line.floor_us


def page(lines: list[Line]) -> str:
    """A Markdown page: the bars, then the figures of float32 and bfloat16."""
    large = [line for line in lines if line.N == LARGE_ROWS and line.dtype in _SHOWN]
    # Sources side by side.
    large.sort(key=lambda line: (_SHOWN.index(line.dtype), line.K))
    losses = [line for line in large if line.kernel == LOSS]
    pools = [line for line in large if line.kernel.startswith("hybrid_pool2d")]
    shown = {LOSS, "eager", *(line.kernel for line in pools)}
    others = [line for line in large if line.kernel not in shown and line.K > 64]
    others.sort(key=lambda line: line.kernel)
    eager = [line for line in large if line.kernel == "eager"]
    parts = [
        _HEAD.format(toolkit=losses[0].toolkit),
        "## Bars\n\nOver all K and data types that a bar is about: sectors and time of float32 and "
        "bfloat16, bytes beside eager\nPyTorch's of all but float64.\n",
        _bar_table(bars(lines)),
        "\n## The loss with its gradient and the mean: what ptxas makes of it for sm_90\n",
        "Loads and stores are instructions in the machine code, by bits per lane; the kernel of "
        "csrc/cuda holds the code\nof all kinds of targets, and of float32, bfloat16 and float16 "
        "at once.\n",
        _code_table(losses),
        "\n## The loss: what is counted, a row\n",
        _count_table(losses),
        "\n## The other kernels, K > 64\n",
        _count_table(others),
        "\n## Hybrid pooling in NCHW: what is counted, a plane\n",
        "N is the number of planes, K the values of each: 7 x 7 and 14 x 14.\n",
        _count_table(pools),
        "\n## Eager PyTorch, the loss forward and backward\n",
        _eager_table(eager),
    ]
    return "\n".join(parts) + "\n"


def _bar_table(found: list[Bar]) -> str:
    rows = [
        (b.name, b.where, f"<= {b.limit}", f"{b.worst:.3g}", "yes" if b.reached else "NO")
        for b in found
    ]
    return render(["figure", "largest at", "bar", "counted", "reached"], rows)


def _table(columns: dict[str, Callable[[Line], Any]], lines: list[Line]) -> str:
    return render(list(columns), ([cell(line) for cell in columns.values()] for line in lines))


_NAMES: dict[str, Callable[[Line], Any]] = {
    "kernel": lambda line: f"{line.source} {line.kernel}",
    "type": lambda line: line.dtype,
    "K": lambda line: line.K,
}


def _code_table(lines: list[Line]) -> str:
    columns = _NAMES | {
        "registers": lambda line: line.registers,
        "spills": lambda line: line.spill_bytes,
        "occupancy": lambda line: f"{line.occupancy:.0%}",
        "shared memory, static + dynamic": lambda line: (
            f"{line.static_shared} + {line.dynamic_shared}"
        ),
        "global loads": lambda line: line.global_loads,
        "global stores": lambda line: line.global_stores,
    }
    return _table(columns, lines)


def _count_table(lines: list[Line]) -> str:
    columns = _NAMES | {
        "least bytes": lambda line: f"{line.bytes_min / line.N:.0f}",
        "asked for": lambda line: f"{line.bytes_asked / line.N:.0f}",
        "in sectors": lambda line: f"{line.bytes_sectors / line.N:.0f}",
        "ratio": lambda line: f"{line.sector_ratio:.3f}",
        "instr. / element": lambda line: f"{line.warp_instr_per_element:.2f}",
        "shuffles": lambda line: f"{line.shuffles_per_row:.1f}",
        "conflicts": lambda line: f"{line.bank_conflicts_per_row:.1f}",
        "memory us": lambda line: f"{line.memory_us:.1f}",
        "issue us": lambda line: f"{line.issue_us:.1f}",
        "binds": lambda line: line.binds,
        "time / floor": lambda line: f"{_over_floor(line):.2f}",
    }
    return _table(columns, lines)


def _eager_table(lines: list[Line]) -> str:
    columns = _NAMES | {
        "kernels": lambda line: line.launches,
        "bytes a row": lambda line: f"{line.bytes_sectors / line.N:.0f}",
        "over the least": lambda line: f"{line.sector_ratio:.1f}",
        "memory us": lambda line: f"{line.memory_us:.0f}",
    }
    return _table(columns, lines)
