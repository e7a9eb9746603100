"""One output, and a binomial distribution over the labels made from it."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dldl_fast.labels import on_device
from dldl_fast.methods.base import Labels
from dldl_fast.methods.softmax import DEX, FusedMethod
from dldl_fast.reference import accumulation_dtype


class Unimodal(FusedMethod):
    r"""Binomial distribution over the labels: ``unimodal``.

    .. math::
        L = -\ln \hat p_{k(y)}, \quad k(y) = \arg\min_k |l_k - y|, \quad
        \hat p = \mathrm{softmax}(q / \tau), \quad
        q_k = \ln \binom{K - 1}{k - 1} + (k - 1) \ln s(o) + (K - k) \ln s(-o)

    with :math:`s` the sigmoid. :math:`\hat p` has one peak, whatever the output is, and the
    prediction is its expectation. The labels' order counts, not their distances.

    Args:
        labels: label grid, K increasing numbers.
        temperature: :math:`\tau > 0`; below 1 the distribution is narrower than a binomial one.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, ``backend``, as for
            `dldl_fast.DLDLv2Loss`.

    Raises:
        ValueError: if the temperature is not finite and > 0.

    Source:
        Beckham and Pal, Unimodal Probability Distributions for Deep Ordinal Classification, ICML
        2017: the binomial one with cross-entropy, and a temperature that is not learned.

    Example:
        >>> Unimodal(range(4)).distribution(torch.zeros(1, 1))
        tensor([[0.1250, 0.3750, 0.3750, 0.1250]])
    """

    name = "unimodal"
    settings = ("temperature", *DEX.settings)

    def __init__(self, labels: Labels, *, temperature: float = 1.0, **settings: Any) -> None:
        super().__init__(labels, settings, kind="one_hot", divergence="ce", lambda_=0.0)
        self.out_features = 1
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be finite and > 0, got {temperature}")
        self.temperature = float(temperature)
        below = torch.arange(len(self.labels), dtype=torch.float64)
        above = below.flip(0)
        log_choose = torch.lgamma(below[-1] + 1) - torch.lgamma(below + 1) - torch.lgamma(above + 1)
        self._coefficients = torch.stack([log_choose, below, above]) / self.temperature

    def _logits(self, outputs: Tensor) -> Tensor:
        self._check_outputs(outputs)
        o = outputs.to(accumulation_dtype(outputs))
        log_choose, below, above = on_device(self._coefficients, o.device).to(o.dtype)
        # Two logarithms instead of below * o: no large numbers near the peak, which would cost
        # the digits that tell neighbouring labels apart.
        logits: Tensor = log_choose + below * F.logsigmoid(o) + above * F.logsigmoid(-o)
        return logits
