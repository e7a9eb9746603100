"""Empty figures to draw on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dldl_fast.data.base import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, *, extra: str = "faces") -> Figure:
    """An empty figure of so many inches.

    Args:
        width: in inches.
        height: in inches.
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
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure
