"""The paper's Fig. 2, as the command `dldl-fast encodings` draws it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dldl_fast.encodings import cdf, pdf, ranking_code
from dldl_fast.figures import new_figure, quiet
from dldl_fast.files import replace_file
from dldl_fast.labels import label_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AGE = 50.0
"""The age whose encodings are shown, in years."""

SIGMAS = {1.0: "#0b3d91", 2.0: "#2a6fbb", 5.0: "#e07b27", 10.0: "#9c4f96"}
"""Standard deviations in years, and the colours of their curves."""

_INK = "#202124"


def draw_encodings(path: Path) -> None:
    """Draw p.d.f., c.d.f., and 1 - c.d.f. with the ranking code of an age of 50, several sigmas.

    Args:
        path: picture to write; its ending (.png, .svg, .pdf) is the format. Its folder is made.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        ValueError: if matplotlib knows no format with that ending.
        OSError: if the file cannot be written.
    """
    labels, y = label_grid(0, 100), torch.tensor(AGE)
    figure = new_figure(12.0, 3.8)
    density, cumulative, ranking = figure.subplots(1, 3)
    for sigma, colour in SIGMAS.items():
        name = rf"$\sigma$ = {sigma:g}"
        c = cdf(y, labels, sigma)
        _curve(density, labels, pdf(y, labels, sigma), colour, name)
        _curve(cumulative, labels, c, colour, name)
        _curve(ranking, labels[:-1], 1 - c[:-1], colour, name)
    _curve(ranking, labels[:-1], ranking_code(y, labels), _INK, "ranking code")
    density.set(title="(a) p.d.f.: label distribution $p$", ylabel="$p_k$", ylim=(0, None))
    cumulative.set(title="(b) c.d.f. $c$", ylabel="$c_k$")
    ranking.set(title="(c) $1 - c$ and the ranking code", ylabel="$1 - c_k$ or code")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, figure.savefig)


def _curve(axes: Axes, labels: Tensor, values: Tensor, colour: str, name: str) -> None:
    """A dot for every label: an encoding has no values between them."""
    axes.plot(labels.numpy(), values.numpy(), "o-", color=colour, label=name, ms=2.5, lw=1.2)
    # Where the curves differ; further out all are 0 or 1.
    axes.set(xlabel="label (years)", xlim=(AGE - 25, AGE + 25))
    quiet(axes)
    axes.legend(frameon=False)
