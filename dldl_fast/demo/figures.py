"""The pictures of a face that the demo page shows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dldl_fast.prediction.result import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAR, _LINE, _QUIET = "#f2b705", "#1f2328", "#59636e"


def distribution_figure(prediction: Prediction, labels: Tensor, unit: str) -> Figure:
    """A bar per label, the value as a line, and the 90 % interval as a bar under the axis.

    Args:
        prediction: of a face.
        labels: label grid, [K].
        unit: of the labels.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(4.6, 2.2), layout="constrained", facecolor="none")
    axes = figure.subplots()
    grid, probabilities = labels.numpy(), prediction.distribution.numpy()
    width = float(np.diff(grid).min())
    axes.bar(grid, probabilities, width=width, color=_BAR, linewidth=0)
    axes.axvline(prediction.value, color=_LINE, linewidth=1.6)
    height = float(probabilities.max()) * 1.08
    axes.plot(
        [prediction.q05, prediction.q95],
        [-0.06 * height] * 2,
        color=_LINE,
        linewidth=3,
        solid_capstyle="butt",
    )
    axes.set_xlim(grid[0] - width / 2, grid[-1] + width / 2)
    axes.set_ylim(-0.12 * height, height)
    axes.locator_params("y", nbins=4)
    # The unit comes from a file: no formulas.
    axes.set_xlabel(unit, color=_QUIET, parse_math=False)
    axes.set_ylabel("probability", color=_QUIET)
    axes.tick_params(colors=_QUIET, labelsize=9, length=3)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= height])
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d1d9e0")
    return figure


def as_svg(figure: Figure) -> bytes:
    """The figure as a file."""
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    return file.getvalue()
