"""Draw the newest runs of networks and pooling: ``python -m benchmarks.network_plot``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .network_variants import NETWORKS, TIMED_ALONE, NetworkMeasurement
from .paper import PAPER
from .plot import STYLES
from .pool_variants import LAYOUTS, SHAPES, VARIANTS, PoolMeasurement, shape_name
from .record import RESULTS, read_newest_run

GREY, ORANGE, BLUE = "#777777", STYLES["eager"][1], STYLES["dldl_fast"][1]
POOL_LABELS = {"dldl_fast": "HybridPool2d (this library)", "clone": "clone(), the limit"}


def draw_bars(
    axes: Axes,
    groups: Sequence[str],
    series: Sequence[tuple[str, str, Sequence[float | None]]],
    digits: int,
) -> None:
    """Groups of bars with their values above: label, colour and heights of each series."""
    width = 0.8 / len(series)
    for i, (label, colour, heights) in enumerate(series):
        known = [(j, height) for j, height in enumerate(heights) if height is not None]
        bars = axes.bar(
            [j + (i - (len(series) - 1) / 2) * width for j, _ in known],
            [height for _, height in known],
            width * 0.92,
            color=colour,
            label=label,
        )
        axes.bar_label(bars, fmt=f"%.{digits}f", fontsize=7.5, padding=1)
    axes.set_xticks(range(len(groups)), groups)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8.5)


def draw_ratios(axes: Axes, those: list[NetworkMeasurement]) -> None:
    """How many times faster than VGG-16 the other networks are, beside the paper's GPU."""
    networks = [name for name in NETWORKS if name != "VGG16"]

    def ratios(variant: str) -> list[float | None]:
        us = {m.network: m.median_us for m in those if m.variant == variant}
        return [
            us["VGG16"] / us[name] if {"VGG16", name} <= us.keys() else None for name in networks
        ]

    paper = [PAPER["VGG16"].milliseconds / PAPER[name].milliseconds for name in networks]
    series = [
        ("eager", ORANGE, ratios("eager")),
        ("optimised", BLUE, ratios("optimised")),
        ("the paper's, on an M40 GPU", GREY, paper),
    ]
    draw_bars(axes, networks, series, digits=1)
    axes.set_ylabel("ratio of times, higher is better")


def draw_runners(axes: Axes, those: list[NetworkMeasurement]) -> None:
    """Images per second of the one network that everything runs."""
    alone = sorted((m for m in those if m.network == TIMED_ALONE), key=lambda m: -m.median_us)
    names = [f"{m.variant}\n({m.path})" if m.path else m.variant for m in alone]
    speeds = [m.batch / m.median_us * 1e6 for m in alone]
    draw_bars(axes, names, [(TIMED_ALONE, BLUE, speeds)], digits=1)
    axes.set_ylabel("images/s, higher is better")
    axes.tick_params(axis="x", labelsize=8)


def draw_pooling(axes: Axes, measurements: list[PoolMeasurement]) -> None:
    """Forward and backward of hybrid pooling."""
    us = {(m.shape, m.layout, m.variant): m.median_us for m in measurements}
    places = [(shape_name(shape), layout) for shape in SHAPES for layout in LAYOUTS]
    series = [
        (
            POOL_LABELS.get(variant, STYLES[variant][0]),
            STYLES[variant][1],
            [us[(*place, variant)] / 1e3 if (*place, variant) in us else None for place in places],
        )
        for variant in sorted(VARIANTS, key=list(STYLES).index)
    ]
    draw_bars(axes, [f"{shape}\n{layout}" for shape, layout in places], series, digits=1)
    axes.set_title("Hybrid pooling, forward and backward, float32, one thread", fontsize=11)
    axes.set_ylabel("ms, lower is better")


def main() -> None:
    """Read the CSV files and write the PNG."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network_plot", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "networks.png", help="file to write")
    args = parser.parse_args()
    run, measurements = read_newest_run(RESULTS / "networks.csv", NetworkMeasurement)
    pool_run, pooling = read_newest_run(RESULTS / "hybrid_pool2d.csv", PoolMeasurement)
    forward = [m for m in measurements if m.part == "forward"]
    batch = max(m.batch for m in forward)
    those = [m for m in forward if m.batch == batch]
    precisions = " and ".join(sorted({m.precision for m in those}))
    figure, panels = plt.subplot_mosaic([["ratios", "runners"], ["pooling", "pooling"]])
    figure.set_size_inches(10.5, 8)
    draw_ratios(panels["ratios"], those)
    draw_runners(panels["runners"], those)
    draw_pooling(panels["pooling"], pooling)
    what = f"forward, {batch} images of {those[0].size} x {those[0].size}, {precisions}"
    panels["ratios"].set_title(f"Times faster than VGG-16\n{what}", fontsize=11)
    panels["runners"].set_title(f"{TIMED_ALONE}, run by\n{what}", fontsize=11)
    notes = [
        f"{title}: {r['cpu']} ({r['instruction_set']}), {r['cores']} cores, torch {r['torch']}, "
        f"dldl_fast {r['dldl_fast']}, {r['date'][:10]}"
        for title, r in (("Networks", run), ("Pooling", pool_run))
    ]
    figure.text(0.5, 0.012, "\n".join(notes), ha="center", fontsize=8, color="#555555")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(args.out, dpi=130, facecolor="white")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
