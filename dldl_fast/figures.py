"""Empty figures to draw on, and what all axes have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dldl_fast.data.base import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, *, dpi: int = 130, extra: str = "faces") -> Figure:
    """An empty figure of so many inches.

    Args:
        width: in inches.
        height: in inches.
        dpi: pixels of an inch.
        extra: that brings matplotlib to whoever draws, for the error.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    try:
        # Drawn without pyplot, hence without a display and without global state.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            f"pictures need the package 'matplotlib'; run: pip install 'dldl_fast[{extra}]'"
        ) from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Axes, *, grid: Literal["both", "x", "y"] = "both") -> None:
    """A light grid behind what is drawn, and no frame above and to the right."""
    axes.grid(axis=grid, color="#e8eaed")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
