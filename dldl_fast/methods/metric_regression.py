"""Metric regression: one output, which is the value itself on another scale."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from dldl_fast.methods.base import ROW_SETTINGS, Labels, Method
from dldl_fast.methods.rows import check_rows, weighted_mean
from dldl_fast.options import LossOptions


class _MetricRegression(Method):
    settings = ROW_SETTINGS
    has_distribution = False
    power: ClassVar[int]

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings)
        self.out_features = 1
        self.options = LossOptions(**settings)
        first, last = self._ends
        self._middle, self._half = (first + last) / 2, (last - first) / 2

    def forward(
        self,
        outputs: Tensor,
        target: Tensor,
        sigma: float | Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """See `Method.loss`; sigma is ignored."""
        self._check_outputs(outputs)
        rows = check_rows(outputs, target, weight, self.labels, self._ends, self.options)
        # In float64, so that a grid far from 0 costs no digits.
        scaled = ((rows.target.double() - self._middle) / self._half).to(rows.outputs.dtype)
        error = torch.tanh(rows.outputs) - scaled.unsqueeze(-1)
        return weighted_mean(error.abs() if self.power == 1 else error.square(), rows)

    def decode(self, outputs: Tensor) -> Tensor:
        """Value between the first and the last label that tanh of the output stands for."""
        self._check_outputs(outputs)
        return self._middle + self._half * torch.tanh(outputs.squeeze(-1).double())


class MRL2(_MetricRegression):
    r"""Metric regression with the squared error: ``mr-l2``.

    .. math::
        L = (\tanh o - t)^2, \quad t = 2 \, \frac{y - l_1}{l_K - l_1} - 1, \quad
        \hat y = l_1 + \frac{\tanh o + 1}{2} (l_K - l_1)

    Args:
        labels: label grid, K increasing numbers, of which only the ends matter.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, as for `dldl_fast.DLDLv2Loss`.

    Source:
        Section 4.5.4, MR; no factor of 1/2, as in the released code.

    Example:
        >>> method = MRL2(labels=range(101))
        >>> method.decode(torch.zeros(1, 1)), method.loss(torch.zeros(1, 1), torch.tensor([75.0]))
        (tensor([50.], dtype=torch.float64), tensor(0.2500))
    """

    name = "mr-l2"
    power = 2


class MRL1(_MetricRegression):
    r"""Metric regression with the absolute error: ``mr-l1``.

    .. math::
        L = |\tanh o - t|, \quad t = 2 \, \frac{y - l_1}{l_K - l_1} - 1

    Arguments and decoder are those of `MRL2`.

    Source:
        Section 4.5.4, MR.

    Example:
        >>> MRL1(labels=range(101)).loss(torch.zeros(1, 1), torch.tensor([75.0]))
        tensor(0.5000)
    """

    name = "mr-l1"
    power = 1
