"""Draw the README's plot from the newest full run: ``python -m benchmarks.plot``."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

RESULTS = Path(__file__).parent / "results"

# Variant: label, colour, marker. Colours tell apart under colour blindness (Okabe and Ito).
STYLES = {
    "hl_gauss": ("hl-gauss-pytorch*", "#CC79A7", "v"),
    "eager": ("eager PyTorch", "#D55E00", "s"),
    "cross_entropy": ("F.cross_entropy, soft targets*", "#E69F00", "D"),
    "compile": ("torch.compile", "#009E73", "^"),
    "dldl_fast": ("dldl_fast (this library)", "#0072B2", "o"),
    "clone": ("logits.clone(), the limit", "#777777", ""),
}
Row = dict[str, str]


def newest_run(path: Path) -> list[Row]:
    """Loss, forward+backward, float32, one thread, of the last run that has them."""
    wanted = {"op": "loss", "direction": "forward+backward", "dtype": "float32", "threads": "1"}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if wanted.items() <= row.items()]
    if not rows:
        raise SystemExit(f"{path} holds no float32 forward+backward times of the loss")
    last = max(row["date"] for row in rows)
    return [row for row in rows if row["date"] == last]


def draw_panel(axes: Axes, rows: list[Row], labels: str) -> None:
    """Time per row over the number of rows, for one number of labels."""
    for variant, (label, colour, marker) in STYLES.items():
        points = sorted(
            (int(row["rows"]), float(row["median_us"]) * 1e3 / int(row["rows"]))
            for row in rows
            if row["labels"] == labels and row["variant"] == variant
        )
        if not points:
            continue
        ours = variant == "dldl_fast"
        axes.plot(
            *zip(*points, strict=True),
            label=label,
            color=colour,
            marker=marker,
            markersize=6 if ours else 4.5,
            linewidth=2.6 if ours else 1.4,
            linestyle="--" if variant == "clone" else "-",
            zorder=3 if ours else 2,
        )
        if ours:
            annotate_speedup(axes, points, rows, labels)
    axes.set(xscale="log", yscale="log", title=f"K = {labels} labels", xlabel="rows N")
    sizes = sorted({int(row["rows"]) for row in rows})
    axes.set_xlim(sizes[0] / 2.2, sizes[-1] * 2.2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def annotate_speedup(
    axes: Axes, points: list[tuple[int, float]], rows: list[Row], labels: str
) -> None:
    """Write at each point of this library how many times eager PyTorch takes."""
    eager = {
        int(row["rows"]): float(row["median_us"]) * 1e3 / int(row["rows"])
        for row in rows
        if row["labels"] == labels and row["variant"] == "eager"
    }
    for size, nanoseconds in points:
        if size in eager:
            axes.annotate(
                f"{eager[size] / nanoseconds:.1f}×",
                (size, nanoseconds),
                xytext=(0, -15),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color=STYLES["dldl_fast"][1],
            )


def main() -> None:
    """Read the CSV and write the PNG."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("--csv", type=Path, default=RESULTS / "suite.csv", help="file to read")
    parser.add_argument("--out", type=Path, default=RESULTS / "speed.png", help="file to write")
    args = parser.parse_args()
    rows = newest_run(args.csv)
    labels = sorted({row["labels"] for row in rows}, key=int)
    figure, panels = plt.subplots(
        1, len(labels), figsize=(4.1 * len(labels), 4.7), sharey=True, squeeze=False
    )
    for axes, count in zip(panels[0], labels, strict=True):
        draw_panel(axes, rows, count)
    panels[0][0].set_ylabel("time per row (ns), lower is better")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.suptitle("Loss and gradient of one step, float32, one thread", fontsize=13)
    figure.legend(
        handles, names, loc="lower center", ncols=3, frameon=False, bbox_to_anchor=(0.5, 0.09)
    )
    run = rows[0]
    notes = (
        "Blue figures: times faster than eager PyTorch. * leaves out the expectation term.",
        f"{run['cpu']} ({run['instruction_set']}), torch {run['torch']}, "
        f"dldl_fast {run['dldl_fast']}, {run['date'][:10]}",
    )
    figure.text(0.5, 0.02, "\n".join(notes), ha="center", fontsize=8.5, color="#555555")
    figure.tight_layout(rect=(0, 0.2, 1, 1))
    figure.savefig(args.out, dpi=150, facecolor="white")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
