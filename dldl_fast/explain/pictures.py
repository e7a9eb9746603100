"""The pictures that `dldl-fast explain` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.evaluation import GroupRow
from dldl_fast.explain.occlusion import Occlusion
from dldl_fast.explain.score_overlay import score_overlay
from dldl_fast.figures import new_figure
from dldl_fast.metrics.distributions import CALIBRATION_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _GREY, _INK = "#2a6fbb", "#9aa0a6", "#202124"
_DPI = 120


@dataclass(frozen=True)
class ShownFace:
    """A face with what was predicted for it.

    Attributes:
        pixels: uint8 [S, S, 3].
        target: true value.
        value: predicted value.
        scores: its score map; None: it is not shown.
    """

    pixels: NDArray[np.uint8]
    target: float
    value: float
    scores: Tensor | None = None


def score_map_figure(rows: Sequence[tuple[str, Sequence[ShownFace]]], unit: str) -> Figure:
    """Every face above its score map, with predicted value and label (Figs. 6 and 7).

    Args:
        rows: faces side by side, and the title above them.
        unit: of the labels.
    """
    columns = max(len(faces) for _, faces in rows)
    figure = new_figure(max(1.7 * columns, 6.0), 4.1 * len(rows), dpi=_DPI)
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, faces) in zip(parts, rows, strict=True):
        part.suptitle(f"{title} ({unit}: predicted, label)", fontsize=10)
        cells = part.subplots(2, columns, squeeze=False)
        for axes in cells.flat:
            axes.set_axis_off()
        for (face_axes, map_axes), one in zip(cells.T, faces, strict=False):
            _show(face_axes, one.pixels)
            face_axes.set_title(_values(one), fontsize=9)
            if one.scores is not None:
                _show(map_axes, np.asarray(score_overlay(one.pixels, one.scores)))
    return figure


def gallery_figure(rows: Sequence[tuple[str, Sequence[ShownFace]]], unit: str) -> Figure:
    """Rows of faces with true and predicted values, each with a title (Figs. 4 and 5)."""
    columns = max(len(faces) for _, faces in rows)
    figure = new_figure(1.5 * columns, 2.2 * len(rows), dpi=_DPI)
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, faces) in zip(parts, rows, strict=True):
        part.suptitle(f"{title} ({unit}: predicted, true)", fontsize=10)
        for axes in (cells := part.subplots(1, columns, squeeze=False)[0]):
            axes.set_axis_off()
        for axes, one in zip(cells, faces, strict=False):
            _show(axes, one.pixels)
            axes.set_title(_values(one), fontsize=9)
    return figure


def occlusion_figure(found: Occlusion, mean_face: NDArray[np.uint8], unit: str) -> Figure:
    """Mean face, and the relative loss with squares and with stripes hidden over it (Fig. 8).

    Args:
        found: what was measured.
        mean_face: uint8 [H, W, 3].
        unit: of the labels.
    """
    figure = new_figure(10.5, 3.6, dpi=_DPI)
    plain, squares, stripes = figure.subplots(1, 3)
    _show(plain, mean_face)
    plain.set_title(f"mean of {found.count:,} faces, MAE {found.mae:.3g} {unit}", fontsize=10)
    grey = np.repeat(mean_face.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    height, width = grey.shape[:2]
    stripe_map = found.stripes[:, None].expand(-1, found.squares.shape[1])
    for axes, losses, title in (
        (squares, found.squares, "a square hidden"),
        (stripes, stripe_map, "a stripe hidden"),
    ):
        _show(axes, grey)
        bound = max(float(losses.abs().max()), 1e-9)
        drawn = axes.imshow(
            100 * losses.numpy(),
            cmap="coolwarm",
            vmin=-100 * bound,
            vmax=100 * bound,
            alpha=0.6,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
        axes.set_title(f"{title}: growth of the MAE in %", fontsize=10)
        figure.colorbar(drawn, ax=axes, fraction=0.046)
    return figure


def curves_figure(
    observed: Tensor,
    coverage: Tensor,
    risk: Tensor,
    groups: Sequence[GroupRow],
    unit: str,
) -> Figure:
    """Reliability, risk against coverage, and the error of every group of labels.

    Args:
        observed: shares of the rows at the levels of `CALIBRATION_LEVELS`.
        coverage: as `risk_coverage` gives it.
        risk: likewise.
        groups: errors of the label groups.
        unit: of the labels.
    """
    figure = new_figure(13.0, 3.8, dpi=_DPI)
    reliability, selective, by_group = figure.subplots(1, 3)
    reliability.plot([0, 1], [0, 1], color=_GREY, linestyle="--", label="perfect")
    reliability.plot(CALIBRATION_LEVELS, observed, color=_BLUE, label="model")
    reliability.set(
        title="Reliability of the distributions",
        xlabel="predicted cumulative probability",
        ylabel="observed share",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    reliability.legend(frameon=False)
    selective.plot(coverage, risk, color=_BLUE)
    selective.set(
        title="Risk and coverage",
        xlabel="share of rows, smallest predicted deviation first",
        ylabel=f"their MAE ({unit})",
        xlim=(0, 1),
        ylim=(0, None),
    )
    names = [f"{row.group}\n(n = {row.count})" for row in groups]
    by_group.bar(names, [row.mae for row in groups], color=_BLUE)
    by_group.set(title=f"Error by true value ({unit})", ylabel=f"MAE ({unit})")
    by_group.tick_params(axis="x", rotation=45)
    for axes in (reliability, selective, by_group):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_color(_INK)
    return figure


def _show(axes: Axes, pixels: NDArray[np.uint8]) -> None:
    axes.imshow(pixels)
    axes.set_axis_off()


def _values(face: ShownFace) -> str:
    return f"{face.value:.1f}, {face.target:.1f}"
