"""Draw the pictures of docs/loss.md beside this file: ``python docs/figures/loss.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dldl_fast.figures import new_figure, quiet
from dldl_fast.functional import label_distribution, label_distribution_loss
from dldl_fast.labels import label_grid

LABELS = label_grid(0, 100)
X = LABELS.tolist()
INK, PREDICTION = "#202124", "#9aa0a6"
COLOURS = ("#0b3d91", "#2a6fbb", "#e07b27", "#9c4f96")


def style(axes: Axes, title: str, ylabel: str = "") -> None:
    """Quiet axes over the labels."""
    axes.set(title=title, xlabel="label (years)", ylabel=ylabel)
    quiet(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)


def draw_targets() -> Figure:
    """Target distributions: of several widths, at the end of the grid, of all kinds."""
    figure = new_figure(13.0, 3.9)
    width, end, kinds = figure.subplots(1, 3)
    for sigma, colour in zip((0.25, 1.0, 2.0, 8.0), COLOURS, strict=True):
        p = label_distribution(torch.tensor(50.2), LABELS, sigma)
        width.plot(X, p, "o-", ms=3, lw=1.2, color=colour, label=rf"$\sigma$ = {sigma:g}")
        p = label_distribution(torch.tensor(2.0), LABELS, sigma)
        end.plot(X, p, "o-", ms=3, lw=1.2, color=colour)
    named = ("gaussian", "gaussian_bin", "two_hot", "laplace")
    for kind, colour in zip(named, COLOURS, strict=True):
        p = label_distribution(torch.tensor(50.2), LABELS, 1.0, kind=kind)
        kinds.plot(X, p, "o-", ms=3, lw=1.2, color=colour, label=f'"{kind}"')
    width.set(xlim=(32, 68))
    end.set(xlim=(-1, 20))
    kinds.set(xlim=(45, 56))
    style(width, "y = 50.2, several widths", "$p_k$")
    style(end, "y = 2, the same widths")
    style(kinds, r"y = 50.2, $\sigma$ = 1, several kinds")
    return figure


def gradient(logits: Tensor, y: Tensor, sigma: float, lambda_: float, ld_weight: float) -> Tensor:
    """What a step adds to the logits, for a step of one: minus the gradient."""
    logits = logits.clone().requires_grad_()
    loss = label_distribution_loss(
        logits, y, labels=LABELS, sigma=sigma, lambda_=lambda_, ld_weight=ld_weight
    )
    assert isinstance(loss, Tensor)
    (slope,) = torch.autograd.grad(loss, logits)
    return -slope


def draw_gradients() -> Figure:
    """One wrong prediction, its target, and both terms of the step, for several settings."""
    figure = new_figure(13.0, 6.2)
    y = torch.tensor(50.2, dtype=torch.float64)
    logits = -0.5 * ((LABELS - 56) / 5) ** 2
    settings = ((2.0, 1.0), (8.0, 1.0), (2.0, 0.1), (2.0, 0.0))
    panels = figure.subplots(2, len(settings), sharex=True, sharey="row")
    for (above, below), (sigma, lambda_) in zip(panels.T, settings, strict=True):
        above.fill_between(X, logits.softmax(-1), color=PREDICTION, alpha=0.5, lw=0)
        above.plot(X, logits.softmax(-1), color=PREDICTION, label=r"prediction $\hat p$")
        above.plot(X, label_distribution(y, LABELS, sigma), color=INK, label="target $p$")
        below.axhline(0, color=INK, lw=0.6)
        for name, colour, lambda_used, ld_weight in (
            ("distribution", COLOURS[1], 0.0, 1.0),
            ("expectation", COLOURS[2], lambda_, 0.0),
        ):
            step = gradient(logits, y, sigma, lambda_used, ld_weight)
            below.bar(X, step.tolist(), color=colour, alpha=0.55, width=0.9, label=name)
        step = gradient(logits, y, sigma, lambda_, 1.0)
        below.plot(X, step, color=INK, lw=1.4, label="both")
        style(above, rf"$\sigma$ = {sigma:g}, $\lambda$ = {lambda_:g}")
        style(below, "")
        above.set(xlabel="", xlim=(32, 76))
    for axes in panels[:, 1:].flat:
        axes.get_legend().remove()
    panels[0, 0].set(ylabel="probability")
    panels[1, 0].set(ylabel=r"step of the logits, $-\partial L / \partial x$")
    return figure


def main(folder: Path) -> None:
    """Write both pictures into a folder."""
    draw_targets().savefig(folder / "loss_targets.png")
    draw_gradients().savefig(folder / "loss_gradients.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
