"""The lines of a comparison's table: methods, or DLDL-v2 with other hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from dldl_fast.comparison.data import ComparisonData
from dldl_fast.comparison.two_stage import MEDIAN, TWO_STAGE
from dldl_fast.labels import label_grid, uniform_step
from dldl_fast.methods import method_names

REFERENCE = "dldl-v2"
"""The method that all others are tested against."""

SWEEPS = ("lambda", "label_step")


class EntryError(ValueError):
    """Methods or hyper-parameters that cannot be compared."""


@dataclass(frozen=True)
class Entry:
    """What is trained and becomes one line of the table.

    Attributes:
        name: unique; also the name of its folder.
        method: name of a method.
        labels: float64 [K], the label grid.
        settings: keyword arguments of the method.
    """

    name: str
    method: str
    labels: Tensor
    settings: Mapping[str, float] = field(default_factory=dict)


def known_methods(data: ComparisonData) -> tuple[str, ...]:
    """Names that can be compared on the data: ``all`` of them, in the order of the table."""
    two_stage = () if data.features is None else tuple(TWO_STAGE)
    return (MEDIAN, *two_stage, *method_names())


def method_entries(names: Sequence[str], data: ComparisonData) -> list[Entry]:
    """One entry for each method; the reference is always among them.

    Args:
        names: methods, or ``["all"]``.
        data: what they are compared on.

    Raises:
        EntryError: naming the method that there is not.
    """
    known = known_methods(data)
    chosen = set(known if list(names) == ["all"] else names) | {REFERENCE}
    for name in chosen:
        if name in TWO_STAGE and data.features is None:
            raise EntryError(f"method {name!r} needs features, and {data.name} has images")
        if name not in known:
            raise EntryError(f"methods must be 'all' or of {', '.join(known)}; got {name!r}")
    return [Entry(name, name, data.labels) for name in known if name in chosen]


def parse_sweep(texts: Sequence[str]) -> dict[str, list[float]]:
    """Values by hyper-parameter, of texts such as ``lambda=0.01,0.1``.

    Raises:
        EntryError: naming the text that is none.

    Example:
        >>> parse_sweep(["lambda=0.1,1", "label_step=2"])
        {'lambda': [0.1, 1.0], 'label_step': [2.0]}
    """
    sweep: dict[str, list[float]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        try:
            numbers = [float(value) for value in values.split(",")]
        except ValueError:
            numbers = [math.nan]
        least = 0.0 if name == "lambda" else math.ulp(0.0)
        if name not in SWEEPS or not all(least <= n < math.inf for n in numbers):
            raise EntryError(
                "a sweep is lambda=NUMBER,NUMBER,... (>= 0) or label_step=NUMBER,... (> 0), "
                f"got {text!r}"
            )
        if name in sweep:
            raise EntryError(f"{name} is given twice; separate its values by commas")
        sweep[name] = numbers
    return sweep


def sweep_entries(sweep: Mapping[str, Sequence[float]], data: ComparisonData) -> list[Entry]:
    """DLDL-v2 with one hyper-parameter at a time away from its default, as in Table 7.

    The defaults, lambda = 1 and the step of the data's label grid, come first. With another step
    the last label may come to lie up to one step higher, so that the old one is not left out.

    Raises:
        EntryError: for a step where the label grid of the data has none, or leaves one label.
    """
    first, last = float(data.labels[0]), float(data.labels[-1])
    step = uniform_step(data.labels)
    # A grid that was made from the range of the data has a step such as 3.21000000000001.
    default = _sweep_entry(1.0, round(step, 9), data.labels)
    entries = {default.name: default}
    for value in sweep.get("lambda", ()):
        entry = _sweep_entry(value, round(step, 9), data.labels)
        entries.setdefault(entry.name, entry)
    for value in sweep.get("label_step", ()):
        if math.isclose(value, step, rel_tol=1e-6):
            continue
        count = math.ceil((last - first) / value - 1e-6)
        try:
            labels = label_grid(first, first + value * count, value)
        except ValueError as error:
            raise EntryError(f"label_step {value:g}: {error}") from error
        entry = _sweep_entry(1.0, value, labels)
        entries.setdefault(entry.name, entry)
    return list(entries.values())


def _sweep_entry(lambda_: float, step: float, labels: Tensor) -> Entry:
    name = f"lambda={lambda_:g}, step={step:g}, K={len(labels)}"
    return Entry(name, REFERENCE, labels, {"lambda_": lambda_})


def describe_labels(labels: Tensor) -> list[float]:
    """First and last label and their number; all of them for an uneven grid.

    Example:
        >>> describe_labels(label_grid(0, 100))
        [0.0, 100.0, 101]
    """
    if uniform_step(labels):
        return [float(labels[0]), float(labels[-1]), len(labels)]
    return [float(label) for label in labels]
