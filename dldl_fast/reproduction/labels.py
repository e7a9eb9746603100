"""Figs. 1 and 2: the labels of data sets, and how a label is encoded."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dldl_fast.data import label_spec_of, load_orl_age
from dldl_fast.data.sets import open_source
from dldl_fast.encodings import cdf, pdf, ranking_code
from dldl_fast.labels import label_grid
from dldl_fast.reproduction.encodings_figure import AGE, SIGMAS, draw_encodings
from dldl_fast.reproduction.job import Job
from dldl_fast.reproduction.measurements import MEASURED, PAPER, Cell, Sheet
from dldl_fast.reproduction.paper import DATA_TITLES, SIZES
from dldl_fast.reproduction.plots import plot_histograms
from dldl_fast.reproduction.report import Outcome
from dldl_fast.reproduction.sources import differing_data

_BINS = 40
"""Of labels that are neither whole numbers nor years."""

_SMALLEST = 32


def fig1(job: Job) -> Outcome:
    """How the labels of data sets are distributed."""
    panels: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
    numbers: list[list[Cell]] = []
    lines: dict[str, list[Cell]] = {}
    notes = []
    for source in job.sources:
        name, unit, target, note = _labels_of(source)
        notes.append((name, note))
        centres, counts = histogram(target, 1.0 if unit == "years" else None)
        shares = counts / len(target)
        panels.setdefault(unit, {})[name] = (centres, shares)
        rows = zip(centres.tolist(), counts.tolist(), shares.tolist(), strict=True)
        numbers += [[name, unit, centre, int(count), share] for centre, count, share in rows]
        lines[name] = [len(target), f"{target.min():.3g} to {target.max():.3g} {unit}"]
    sheet: list[list[Cell]] = []
    for name in dict.fromkeys([*SIZES, *lines]):
        images, range_ = SIZES.get(name, (None, None))
        measured = lines.get(name, [None, None])
        why = "" if name in lines else f"not among the data; give --data {name}:FOLDER"
        title = DATA_TITLES.get(name, name)
        sheet.append([title, images, measured[0], range_, measured[1], why])
    headers = [
        "",
        f"images {PAPER}",
        f"rows {MEASURED}",
        f"label range {PAPER}",
        f"label range {MEASURED}",
        "why not measured",
    ]
    return Outcome(
        sheet=Sheet(headers, sheet),
        draw=lambda path: plot_histograms(path, panels),
        differences=[
            *differing_data(notes, list(SIZES)),
            "The paper prints no numbers of its Fig. 1 but those of Table 1, which stand in the "
            "table; its text sees peaks near 2 and 26 years in ChaLearn16 and near 20 and 40 in "
            "Morph, and one peak in ChaLearn15.",
        ],
        numbers=Sheet(["data", "unit", "label", "count", "share"], numbers),
        facts={"data": dict(notes)},
    )


def histogram(target: Tensor, width: float | None = None) -> tuple[Tensor, Tensor]:
    """Centres of bins and how many labels are in each, float64 [B].

    Args:
        target: labels, [N].
        width: of the bins, which lie around its multiples; None: 1 for whole labels, else a
            fortieth of their range.

    Example:
        >>> [part.tolist() for part in histogram(torch.tensor([1.2, 3.0, 2.8]), 1.0)]
        [[1.0, 2.0, 3.0], [1.0, 0.0, 2.0]]
    """
    target = target.double()
    low, high = float(target.min()), float(target.max())
    if width is None:
        whole = bool((target == target.round()).all())
        width = 1.0 if whole else (high - low) / _BINS
    first, last = math.floor(low / width + 0.5), math.floor(high / width + 0.5)
    places = torch.floor(target / width + 0.5).long() - first
    counts = torch.bincount(places, minlength=last - first + 1).double()
    return width * torch.arange(first, last + 1, dtype=torch.float64), counts


def _labels_of(source: str) -> tuple[str, str, Tensor, str]:
    """Name, unit, labels and note of a data set; no picture of the user's is decoded."""
    if source == "orl-age":
        spec = label_spec_of(source)
        faces = load_orl_age(spec.grid(), image_size=_SMALLEST)
        target = torch.cat([faces.train.target, faces.test.target])
        return faces.name, faces.unit, target, faces.note
    if source in ("diabetes", "head-roll") or source.endswith(".mat"):
        from dldl_fast.comparison import load_comparison_data

        data = load_comparison_data(source)
        return data.name, f"labels of {data.name}", data.target, data.note
    table = open_source(source, spec=label_spec_of(source))
    return table.name, table.spec.unit, table.target, table.note


def fig2(job: Job) -> Outcome:
    """Label distribution, cumulative distribution and ranking code of an age of 50."""
    labels, y = label_grid(0, 100), torch.tensor(AGE)
    code = ranking_code(y, labels)
    numbers: list[list[Cell]] = []
    lines: list[list[Cell]] = []
    for sigma in SIGMAS:
        p, c = pdf(y, labels, sigma), cdf(y, labels, sigma)
        # The code has no value at the last label: nothing is above it.
        codes: list[Cell] = [*code.tolist(), None]
        for label, p_k, c_k, code_k in zip(
            labels.tolist(), p.tolist(), c.tolist(), codes, strict=True
        ):
            numbers.append([sigma, label, p_k, c_k, 1 - c_k, code_k])
        distance = (1 - c[:-1] - code).abs()
        lines.append([f"sigma = {sigma:g}", float(distance.sum()), int((distance > 0.01).sum())])
    headers = [
        "",
        f"distance of 1 - c and the ranking code, summed over the labels {MEASURED}",
        f"labels where they differ by more than 0.01 {MEASURED}",
    ]
    return Outcome(
        sheet=Sheet(headers, lines),
        draw=draw_encodings,
        differences=[
            "Data: none; the curves are Eqs. 1 and 2 and the ranking code of section 3.2 for a "
            "face of 50 years, labels 0 to 100.",
            "The paper prints no numbers here, and its text does not say which standard "
            "deviations it draws: those of this picture are 1, 2, 5 and 10 years.",
        ],
        remarks=["The smaller sigma is, the closer 1 - c is to the ranking code (Eq. 4)."],
        numbers=Sheet(["sigma", "label", "p", "c", "1 - c", "ranking code"], numbers),
    )
