"""What the labels of a data set are: grid, unit, and how far a label is uncertain."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dldl_fast.labels import label_grid

GROUPS = "groups"
"""The unit of labels that are the numbers of groups with an order, such as age groups."""


@dataclass(frozen=True)
class LabelSpec:
    """The labels of a data set.

    Attributes:
        label_min: first label.
        label_max: last label.
        label_step: distance between neighbours.
        sigma: standard deviation of the target distribution of an image that has none of its own.
        unit: of all these, in the plural.

    Source:
        Section 4.1 for the paper's data sets.

    Example:
        >>> LabelSpec(1, 5, 0.1, sigma=0.5, unit="points").grid().shape
        torch.Size([41])
    """

    label_min: float
    label_max: float
    label_step: float
    sigma: float
    unit: str

    def grid(self) -> Tensor:
        """The label grid, float64 [K]."""
        return label_grid(self.label_min, self.label_max, self.label_step)


AGES = LabelSpec(0, 100, 1, sigma=2.0, unit="years")
"""The paper's labels for ages; sigma is that of MORPH."""
