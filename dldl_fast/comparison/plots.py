"""The pictures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from dldl_fast.comparison.statistics import Line
from dldl_fast.figures import new_figure, quiet

_BLUE, _ORANGE, _INK = "#2a6fbb", "#e07b27", "#202124"


def plot_errors(path: Path, title: str, lines: Sequence[Line], reference: str) -> None:
    """Mean absolute error of every entry, its spread, and the folds themselves.

    Args:
        path: picture to write.
        title: above it.
        lines: from top to bottom.
        reference: name of the entry that is marked.
    """
    figure = new_figure(8.0, 1.4 + 0.3 * len(lines), extra="compare")
    axes = figure.subplots()
    for place, line in enumerate(lines):
        score = line.scores["mae"]
        colour = _ORANGE if line.name == reference else _BLUE
        axes.plot(score.folds, [place] * len(score.folds), "|", color=colour, alpha=0.35, ms=9)
        axes.errorbar(score.mean, place, xerr=score.spread, fmt="o", color=colour, capsize=3)
        if line.name == reference:
            axes.axvline(score.mean, color=_ORANGE, lw=0.8, ls=":", zorder=0)
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set(title=title, xlabel="MAE: mean and standard deviation over the folds; ticks are folds")
    quiet(axes, grid="x")
    figure.savefig(path)


def plot_predictions(path: Path, target: Tensor, predictions: dict[str, Tensor]) -> None:
    """Predicted against true values, one panel for each entry.

    Args:
        path: picture to write.
        target: true values, [N].
        predictions: by title of the panel, [N], each by a model that has not seen the row.
    """
    count = len(predictions)
    figure = new_figure(4.6 * count, 4.6, extra="compare")
    ends = [float(target.min()), float(target.max())]
    panels = figure.subplots(1, count, sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, prediction) in zip(panels, predictions.items(), strict=True):
        axes.plot(target.numpy(), prediction.numpy(), ".", color=_BLUE, ms=4, alpha=0.4, mew=0)
        axes.plot(ends, ends, color=_INK, lw=0.8)
        axes.set(title=title, xlabel="true value")
        axes.set_aspect("equal")
        quiet(axes)
    panels[0].set_ylabel("predicted value")
    figure.savefig(path)
