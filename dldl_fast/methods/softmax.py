"""Methods with a softmax over K outputs, whose loss is one call of the fused kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dldl_fast.functional import expectation
from dldl_fast.loss import DLDLv2Loss
from dldl_fast.methods.base import ROW_SETTINGS, Labels, Method
from dldl_fast.reference import accumulation_dtype

_COMMON = (*ROW_SETTINGS, "backend")


class FusedMethod(Method):
    """A method whose outputs become K logits for `dldl_fast.DLDLv2Loss`.

    The distribution is the softmax of the logits, and its expectation the prediction.
    """

    def __init__(self, labels: Labels, settings: Mapping[str, Any], **fixed: Any) -> None:
        """Settings are the user's; fixed ones make the method what it is."""
        super().__init__(labels, settings)
        self.criterion = DLDLv2Loss(labels=self.labels, **fixed, **settings)

    def forward(
        self,
        outputs: Tensor,
        target: Tensor,
        sigma: float | Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """See `Method.loss`."""
        if "sigma" not in self.settings:
            sigma = None
        loss: Tensor = self.criterion(self._logits(outputs), target, sigma, weight)
        return loss

    def decode(self, outputs: Tensor) -> Tensor:
        """Expectation of the distribution (Eq. 10); differentiable."""
        value = expectation(self._logits(outputs), self.labels, backend=self.criterion.backend)
        assert isinstance(value, Tensor)  # for the type checker: a pair only with return_std
        return value

    def distribution(self, outputs: Tensor) -> Tensor:
        """Softmax of the logits (Eq. 8), [..., K] in float32, or float64 for float64 outputs."""
        logits = self._logits(outputs)
        return torch.softmax(logits.to(accumulation_dtype(logits)), -1)

    def _logits(self, outputs: Tensor) -> Tensor:
        self._check_outputs(outputs)
        return outputs


class DLDLv2(FusedMethod):
    r"""Label distribution learning with expectation regression: ``dldl-v2``.

    .. math::
        L = \mathrm{KL}(p \,\|\, \hat p) + \lambda |\hat y - y|

    Args:
        labels: label grid, K increasing numbers.
        settings: those of `dldl_fast.DLDLv2Loss`, from ``sigma`` to ``variance_weight``,
            and ``out_of_range``, ``ignore_nan``, ``validate``, ``backend``.

    Source:
        Eqs. 9 to 12.

    Example:
        >>> method = DLDLv2(range(101), sigma=2.0)
        >>> outputs = torch.zeros(8, method.out_features)
        >>> round(method.loss(outputs, torch.full((8,), 30.0)).item(), 4)
        22.503
        >>> round(method.decode(outputs)[0].item(), 4)
        50.0
    """

    name = "dldl-v2"
    settings = (
        "sigma",
        "lambda_",
        "ld_weight",
        "kind",
        "divergence",
        "regression",
        "smooth_l1_beta",
        "variance_weight",
        *_COMMON,
    )

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings)


class DLDLv2Official(FusedMethod):
    r"""DLDL-v2 with the weighting of the released code: ``dldl-v2-official``.

    .. math::
        L = \frac{1}{K} \mathrm{KL}(p \,\|\, \hat p) + \lambda |\hat y - y|

    Args:
        labels: label grid, K increasing numbers.
        settings: as for `DLDLv2`, without ``ld_weight``.

    Source:
        The authors' KL criterion, which divides by labels and rows; see `DLDLv2Loss.official`.

    Example:
        >>> loss = DLDLv2Official(range(101)).loss(torch.zeros(1, 101), torch.tensor([30.0]))
        >>> round(loss.item(), 4)
        20.0248
    """

    name = "dldl-v2-official"
    settings = tuple(setting for setting in DLDLv2.settings if setting != "ld_weight")

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, ld_weight=1 / len(labels))


class DLDL(FusedMethod):
    r"""Label distribution learning alone, :math:`L = \mathrm{KL}(p \,\|\, \hat p)`: ``dldl``.

    Args:
        labels: label grid, K increasing numbers.
        settings: ``sigma``, ``kind``, ``divergence``, ``out_of_range``, ``ignore_nan``,
            ``validate``, ``backend``, as for `dldl_fast.DLDLv2Loss`.

    Source:
        Eq. 9; Eq. 12 with lambda = 0.

    Example:
        >>> loss = DLDL(range(101)).loss(torch.zeros(1, 101), torch.tensor([30.0]))
        >>> round(loss.item(), 4)
        2.503
    """

    name = "dldl"
    settings = ("sigma", "kind", "divergence", *_COMMON)

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, lambda_=0.0)


class DEX(FusedMethod):
    r"""Deep expectation: ``dex``.

    .. math::
        L = -\ln \hat p_{k(y)}, \quad k(y) = \arg\min_k |l_k - y|

    Args:
        labels: label grid, K increasing numbers. The lower label is the nearest one on a tie.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, ``backend``, as for
            `dldl_fast.DLDLv2Loss`.

    Source:
        Section 4.5.4, DEX.

    Example:
        >>> loss = DEX(range(101)).loss(torch.zeros(1, 101), torch.tensor([30.2]))
        >>> round(loss.item(), 4)  # ln 101
        4.6151
    """

    name = "dex"
    settings = _COMMON

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, kind="one_hot", divergence="ce", lambda_=0.0)


class DEXReleased(FusedMethod):
    r"""DEX as the authors of DLDL-v2 ran it: ``dex-released``.

    .. math::
        L = -\hat p_{k(y)}, \quad k(y) = \arg\min_k |l_k - y|

    The probability itself in place of its logarithm, so that rows which are far off hardly
    learn. It is here to show that difference. Arguments are those of `DEX`.

    Source:
        The released code of DLDL-v2: softmax, followed by a criterion that wants its logarithm.

    Example:
        >>> loss = DEXReleased(range(4)).loss(torch.zeros(1, 4), torch.tensor([2.0]))
        >>> round(loss.item(), 4)
        -0.25
    """

    name = "dex-released"
    settings = _COMMON

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, kind="one_hot", divergence="likelihood", lambda_=0.0)


class ERL1(FusedMethod):
    r"""Expectation regression alone, :math:`L = |\hat y - y|`: ``er-l1``.

    Args:
        labels: label grid, K increasing numbers.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, ``backend``, as for
            `dldl_fast.DLDLv2Loss`.

    Source:
        Eq. 11; section 4.5.4, ER.

    Example:
        >>> loss = ERL1(range(101)).loss(torch.zeros(1, 101), torch.tensor([53.0]))
        >>> round(loss.item(), 4)
        3.0
    """

    name = "er-l1"
    settings = _COMMON

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, regression="l1", kind="one_hot", ld_weight=0.0)


class ERL2(FusedMethod):
    r"""Expectation regression, squared, :math:`L = (\hat y - y)^2`: ``er-l2``.

    Arguments are those of `ERL1`.

    Example:
        >>> loss = ERL2(range(101)).loss(torch.zeros(1, 101), torch.tensor([53.0]))
        >>> round(loss.item(), 4)
        9.0
    """

    name = "er-l2"
    settings = _COMMON

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, regression="l2", kind="one_hot", ld_weight=0.0)


class ERSmooth(FusedMethod):
    r"""Expectation regression, smoothed: ``er-smooth``.

    .. math::
        L = \begin{cases} (\hat y - y)^2 / 2\beta & \text{if } |\hat y - y| < \beta \\
        |\hat y - y| - \beta / 2 & \text{otherwise} \end{cases}

    Args:
        labels: label grid, K increasing numbers.
        settings: ``smooth_l1_beta`` (beta, in the unit of the labels, 1), and those of `ERL1`.

    Example:
        >>> loss = ERSmooth(range(101)).loss(torch.zeros(1, 101), torch.tensor([53.0]))
        >>> round(loss.item(), 4)
        2.5
    """

    name = "er-smooth"
    settings = ("smooth_l1_beta", *_COMMON)

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, regression="smooth_l1", kind="one_hot", ld_weight=0.0)


class MeanVariance(FusedMethod):
    r"""Mean-variance loss: ``mean-variance``.

    .. math::
        L = -\ln \hat p_{k(y)} + \lambda_1 \frac{(\hat y - y)^2}{2} + \lambda_2 v, \quad
        k(y) = \arg\min_k |l_k - y|, \quad v = \sum_k \hat p_k (l_k - \hat y)^2

    Args:
        labels: label grid, K increasing numbers.
        mean_weight: :math:`\lambda_1`, >= 0, in one over the squared unit of the labels.
        variance_weight: :math:`\lambda_2`, >= 0, in the same unit.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, ``backend``, as for
            `dldl_fast.DLDLv2Loss`.

    Raises:
        ValueError: if a weight is negative or not finite.

    Source:
        Pan et al., Mean-Variance Loss for Deep Age Estimation from a Face, CVPR 2018; the weights
        are the paper's.

    Example:
        >>> loss = MeanVariance(range(3)).loss(torch.zeros(1, 3), torch.tensor([0.0]))
        >>> round(loss.item(), 4)  # ln 3 + 0.2 / 2 + 0.05 * 2 / 3
        1.2319
    """

    name = "mean-variance"
    settings = ("mean_weight", "variance_weight", *_COMMON)

    def __init__(
        self,
        labels: Labels,
        *,
        mean_weight: float = 0.2,
        variance_weight: float = 0.05,
        **settings: Any,
    ) -> None:
        if not 0 <= mean_weight < math.inf:
            raise ValueError(f"mean_weight must be finite and >= 0, got {mean_weight}")
        super().__init__(
            labels,
            settings,
            kind="one_hot",
            divergence="ce",
            regression="l2",
            lambda_=mean_weight / 2,
            variance_weight=variance_weight,
        )


class SORD(FusedMethod):
    r"""Soft labels for ordinal regression: ``sord``.

    .. math::
        L = -\sum_k p_k \ln \hat p_k, \quad
        p_k = \frac{\exp(-\alpha \, d(l_k, y))}{\sum_j \exp(-\alpha \, d(l_j, y))}

    With the squared distance p is the Gaussian of DLDL with :math:`\sigma = 1 / \sqrt{2 \alpha}`.

    Args:
        labels: label grid, K increasing numbers.
        alpha: :math:`\alpha > 0`, in one over the unit of the distance.
        distance: d, ``"absolute"`` or ``"squared"``.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, ``backend``, as for
            `dldl_fast.DLDLv2Loss`.

    Raises:
        ValueError: if alpha is not finite and > 0, or for another distance.

    Source:
        Diaz and Marathe, Soft Labels for Ordinal Regression, CVPR 2019.

    Example:
        >>> loss = SORD(range(3)).loss(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([2.0]))
        >>> round(loss.item(), 4)
        0.8324
    """

    name = "sord"
    settings = ("alpha", "distance", *_COMMON)

    def __init__(
        self, labels: Labels, *, alpha: float = 1.0, distance: str = "absolute", **settings: Any
    ) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be finite and > 0, got {alpha}")
        if distance not in ("absolute", "squared"):
            raise ValueError(f"distance must be one of 'absolute', 'squared', got {distance!r}")
        absolute = distance == "absolute"
        super().__init__(
            labels,
            settings,
            kind="laplace" if absolute else "gaussian",
            sigma=1 / alpha if absolute else 1 / math.sqrt(2 * alpha),
            divergence="ce",
            lambda_=0.0,
        )


class HLGauss(FusedMethod):
    r"""Histogram loss with a Gaussian: ``hl-gauss``.

    .. math::
        L = -\sum_k p_k \ln \hat p_k, \quad
        p_k \propto \Phi\left(\frac{l_k + r_k - y}{\sigma}\right)
        - \Phi\left(\frac{l_k - r_{k-1} - y}{\sigma}\right)

    :math:`r_k` is half the distance to the next label: p is the mass of a normal distribution in
    the cell of each label, over all cells.

    Args:
        labels: label grid, K increasing numbers: the centres of the cells.
        settings: ``sigma`` in the unit of the labels (2), ``out_of_range``, ``ignore_nan``,
            ``validate``, ``backend``, as for `dldl_fast.DLDLv2Loss`.

    Source:
        Imani and White, Improving Regression Performance with Distributional Losses, ICML 2018.

    Example:
        >>> loss = HLGauss(range(101)).loss(torch.zeros(1, 101), torch.tensor([30.0]))
        >>> round(loss.item(), 4)
        4.6151
    """

    name = "hl-gauss"
    settings = ("sigma", *_COMMON)

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, kind="gaussian_bin", divergence="ce", lambda_=0.0)


class TwoHot(FusedMethod):
    r"""Distribution focal loss: ``two-hot``.

    .. math::
        L = -\frac{l_{k+1} - y}{l_{k+1} - l_k} \ln \hat p_k
        - \frac{y - l_k}{l_{k+1} - l_k} \ln \hat p_{k+1}, \quad l_k \le y \le l_{k+1}

    Args:
        labels: label grid, K increasing numbers.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, ``backend``, as for
            `dldl_fast.DLDLv2Loss`.

    Source:
        Li et al., Generalized Focal Loss, NeurIPS 2020, Eq. 6, on any label grid.

    Example:
        >>> loss = TwoHot(range(3)).loss(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([0.25]))
        >>> round(loss.item(), 4)
        2.1576
    """

    name = "two-hot"
    settings = _COMMON

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings, kind="two_hot", divergence="ce", lambda_=0.0)
