"""Hybrid pooling: the problems, the byte model, the variants, and the bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dldl_fast.functional import hybrid_pool2d

from .judge import JUDGED_HEADERS, Judged, at_least, at_most
from .record import render
from .variants import Step, compiled

KERNEL_SIZE = 2
# The maps of ThinAgeNet for images of 224 and 112, batches of 32; those of VGG-16's fourth block.
SHAPES = ((32, 256, 14, 14), (32, 512, 7, 7), (8, 256, 28, 28))
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
VARIANTS = ("dldl_fast", "eager", "compile", "clone")

# Least speed-up over eager and torch.compile, and the most time in clones, at SHAPES[0].
BARS = {"contiguous": (6.5, 5.0, 3.2), "channels_last": (3.4, 2.4, 3.2)}

Pool = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PoolMeasurement:
    """The time of one variant, forward and backward, float32, windows of 2x2."""

    shape: str
    layout: str
    variant: str
    threads: int = 1
    calls: int = 0
    median_us: float = 0.0
    q20_us: float = 0.0
    q80_us: float = 0.0
    gb_per_s: float = 0.0


def shape_name(shape: Sequence[int]) -> str:
    """``32x256x14x14``."""
    return "x".join(map(str, shape))


# Byte model, with B = N*C*H*W*4 for the maps: a step must read them (B), write their gradient (B),
# write N*C means and read N*C incoming gradients. This library moves the windows' choices besides,
# N*C*H*W/16 bytes written and read. `clone` moves 2B.
def bytes_min(shape: Sequence[int]) -> int:
    """Bytes that any implementation must move in a step."""
    images, channels, height, width = shape
    return 4 * images * channels * (2 * height * width + 2)


def eager_pool(x: Tensor) -> Tensor:
    """The usual two calls."""
    return F.max_pool2d(x, KERNEL_SIZE).mean((2, 3))


def _dldl_fast(x: Tensor) -> Tensor:
    return hybrid_pool2d(x, KERNEL_SIZE)


POOLS: dict[str, Callable[[], Pool]] = {
    "dldl_fast": lambda: _dldl_fast,
    "eager": lambda: eager_pool,
    "compile": lambda: compiled(eager_pool),
}


def make_maps(shape: Sequence[int], layout: str) -> Tensor:
    """Random maps that require a gradient."""
    maps = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return maps.contiguous(memory_format=LAYOUTS[layout]).requires_grad_()


def pool_step(variant: str, maps: Tensor) -> Step:
    """Forward and backward of one variant; `clone` copies the maps and computes nothing."""
    if variant == "clone":
        return maps.detach().clone
    return training_step(POOLS[variant](), maps)


def training_step(pool: Pool, maps: Tensor) -> Step:
    """Forward and backward, with the same incoming gradient each time."""
    incoming = torch.randn(maps.shape[:2], generator=torch.Generator().manual_seed(1))

    def step() -> None:
        maps.grad = None
        pool(maps).backward(incoming)

    return step


def verify(maps: Tensor) -> None:
    """Raise if this library and eager torch disagree, before any of them is timed."""
    results = []
    for variant in ("dldl_fast", "eager"):
        pool = POOLS[variant]()
        training_step(pool, maps)()
        results.append((pool(maps).detach(), maps.grad))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def bars_table(measurements: list[PoolMeasurement]) -> str:
    """Bars and figures side by side."""
    groups: dict[tuple[str, str], dict[str, float]] = {}
    for m in measurements:
        groups.setdefault((m.shape, m.layout), {})[m.variant] = m.median_us
    lines: list[Judged] = []
    for (shape, layout), us in groups.items():
        barred = shape == shape_name(SHAPES[0])
        eager, by_compile, clones = BARS[layout] if barred else (None, None, None)
        where = f"{shape} {layout}"
        ours = us["dldl_fast"]
        lines.append(at_least(where, "times faster than eager", us["eager"] / ours, eager))
        if "compile" in us:
            speedup = us["compile"] / ours
            lines.append(at_least(where, "times faster than compile", speedup, by_compile))
        lines.append(at_most(where, "time in clones", ours / us["clone"], clones))
    return render(["maps", *JUDGED_HEADERS], lines)


def times_table(measurements: list[PoolMeasurement]) -> str:
    """The times behind the ratios."""
    lines = [
        (
            f"{m.shape} {m.layout}",
            m.variant,
            *(f"{us:.1f}" for us in (m.median_us, m.q20_us, m.q80_us)),
            f"{m.gb_per_s:.2f}",
            m.calls,
        )
        for m in measurements
    ]
    return render(["maps", "variant", "median us", "20 %", "80 %", "GB/s", "calls"], lines)


def pool_tables(measurements: list[PoolMeasurement]) -> str:
    """Both."""
    return f"{bars_table(measurements)}\n\n{times_table(measurements)}"
