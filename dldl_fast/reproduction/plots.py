"""The picture of a table, and of the labels of data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from dldl_fast.figures import new_figure, quiet
from dldl_fast.reproduction.measurements import Measurements
from dldl_fast.reproduction.paper import PaperTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#2a6fbb", "#e07b27", "#3f8f4f", "#9c4f96", "#8a6d3b", "#5f6368")
_STYLES = list(zip(_COLOURS, "osD^vP", strict=True))


def plot_table(path: Path, paper: PaperTable, found: Measurements) -> None:
    """Mean absolute errors: the paper's in one panel, those measured in another.

    Two panels, since another data set has another scale; every series says whose it is.

    Args:
        path: picture to write.
        paper: the table of the paper.
        found: what was measured.
    """
    rows = list(dict.fromkeys([*paper.rows, *found.values]))
    printed = {
        f"paper: {column.title()}": [paper.value(row, column) for row in rows]
        for column in paper.columns
        if column.metric == "mae"
    }
    measured = {
        f"measured: {column.title()}": [found.values.get(row, {}).get(column) for row in rows]
        for column in found.columns()
        if column.metric == "mae"
    }
    figure = new_figure(11.0, 2.0 + 0.32 * len(rows))
    figure.suptitle(paper.title)
    left, right = figure.subplots(1, 2, sharey=True)
    _points(left, printed, "what the paper prints", _STYLES[: len(printed)])
    # Other colours than those of the paper's data sets, which these are not.
    _points(right, measured, "measured here", _STYLES[len(printed) :])
    left.set_yticks(range(len(rows)), rows)
    left.set_ylim(len(rows) - 0.5, -0.5)
    figure.savefig(path)


def _points(
    axes: Axes,
    series: Mapping[str, Sequence[float | None]],
    title: str,
    styles: Sequence[tuple[str, str]],
) -> None:
    for (name, values), (colour, marker) in zip(series.items(), cycle(styles), strict=False):
        places = [place for place, value in enumerate(values) if value is not None]
        axes.plot(
            [value for value in values if value is not None],
            places,
            marker,
            color=colour,
            label=name,
            ms=6,
            alpha=0.85,
        )
    axes.set(title=title, xlabel="MAE")
    axes.set_xlim(0, None)  # so that a small difference looks small
    quiet(axes)
    if series:
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def plot_histograms(path: Path, panels: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]) -> None:
    """Shares of the images by label, one panel for every unit, as in Fig. 1.

    Args:
        path: picture to write.
        panels: by unit, and in it by name of the data set: centres of the bins and shares, [B].
    """
    figure = new_figure(6.0 * len(panels), 4.2)
    axes_of = figure.subplots(1, len(panels), squeeze=False)[0]
    for number, (axes, (unit, sets)) in enumerate(zip(axes_of, panels.items(), strict=True)):
        for colour, (name, (centres, shares)) in zip(cycle(_COLOURS), sets.items(), strict=False):
            axes.plot(centres.numpy(), 100 * shares.numpy(), "-", color=colour, label=name)
            axes.fill_between(centres.numpy(), 100 * shares.numpy(), color=colour, alpha=0.15)
        axes.set(title=f"({chr(97 + number)})", xlabel=unit, ylabel="share of the rows in %")
        axes.set_ylim(0, None)
        quiet(axes)
        axes.legend(frameon=False)
    figure.savefig(path)
