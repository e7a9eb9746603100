"""DLDLv2Loss: the loss as a module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from dldl_fast import backends
from dldl_fast.functional import apply_loss, check_sigma
from dldl_fast.labels import as_label_grid, label_grid, uniform_step
from dldl_fast.options import LossOptions


class DLDLv2Loss(nn.Module):
    r"""Label distribution learning with expectation regression (DLDL-v2).

    For row i with logits x, scalar target y, standard deviation sigma and labels l:

    .. math::
        L_i = w_{ld}\, D(p \,\|\, \hat p) + \lambda\, \rho(\hat y - y) + w_{var} V, \quad
        \hat p = \mathrm{softmax}(x), \quad \hat y = \sum_k \hat p_k l_k, \quad
        V = \sum_k \hat p_k (l_k - \hat y)^2

    One kernel computes softmax, target distribution, divergence, expectation and the gradient

    .. math::
        \partial L_i / \partial x = w_{ld} (S \hat p - p)
        + \lambda \rho'(\hat y - y)\, \hat p \circ (l - \hat y)
        + w_{var}\, \hat p \circ ((l - \hat y)^2 - V), \quad S = \textstyle\sum_k p_k

    and never stores p. Its derivative is 0 where ``y_hat == y`` with the L1 regression.

    Args:
        label_min: first label, in the unit of the target.
        label_max: last label.
        label_step: distance between neighbours; ``label_max - label_min`` must be a multiple.
        labels: any increasing grid, equally spaced or not, instead of the three numbers.
        sigma: standard deviation of the target distribution where the call gives none, >= 0;
            for ``"laplace"`` its scale.
        lambda_: weight of the regression term. 0 is DLDL.
        ld_weight: weight of the divergence. 0 is expectation regression alone.
        variance_weight: weight of the variance V of the predicted distribution, in the squared unit
            of the labels. The mean-variance loss is ``kind="one_hot"``, ``divergence="ce"``,
            ``regression="l2"``, ``lambda_=0.1``, ``variance_weight=0.05``.
        kind: shape of the target distribution p around y.

            - ``"gaussian"``: Eq. 1 normalised over the labels, as in the released code.
            - ``"gaussian_pdf"``: Eq. 1 to the letter. Its sum S is 1 only far from the ends of a
              grid of step 1; the divergence may be negative. Needs sigma > 0.
            - ``"gaussian_bin"``: normal mass of each label's cell (borders at the midpoints, the
              end cells as wide outside as inside), renormalised.
            - ``"two_hot"``: linear between the two neighbours of y; sigma is not used.
            - ``"one_hot"``: the nearest label, the lower one on a tie; with ``lambda_=0`` DEX.
            - ``"laplace"``: exp(-abs(l - y) / sigma), normalised over the labels; with
              ``divergence="ce"``, ``lambda_=0`` and sigma = 1 / alpha SORD of absolute distances.

        divergence: ``"kl"`` (Eq. 9); ``"ce"`` (Eq. 13), which leaves out the entropy of p and has
            the same gradient; or ``"likelihood"``, :math:`-\sum_k p_k \hat p_k`, whose gradient is
            :math:`\hat p \circ (\sum_k p_k \hat p_k - p)`: with ``kind="one_hot"`` what the
            authors' code of the DEX baseline minimises.
        regression: rho: ``"l1"`` (Eq. 11), ``"l2"`` (the square) or ``"smooth_l1"``, as in torch.
        smooth_l1_beta: where ``"smooth_l1"`` changes from square to linear, > 0.
        reduction: with row weights w: ``"mean"`` is sum(w L) / sum(w), 0 where all weights are 0;
            ``"sum"`` is sum(w L); ``"none"`` is w L. A row of weight 0 is left out, whatever its
            logits are.
        out_of_range: targets outside the grid raise (``"error"``), are moved to its ends
            (``"clamp"``), or are used as they are (``"keep"``), without NaN however far away.
        ignore_nan: rows with a NaN target are left out of loss, gradient and mean.
        validate: whether a bad value raises. ``"auto"``: on the CPU yes; elsewhere it would force
            a synchronisation, so there, and with False, a bad row gives NaN in its loss and
            gradient. True: always.
        backend: ``"cpp"`` or ``"cuda"`` (compiled kernels), ``"triton"`` (CUDA tensors),
            ``"reference"`` (plain torch, any device, second derivatives), or ``"auto"``: the
            environment variable DLDL_FAST_BACKEND if set, else the fastest that works.

    Shape:
        logits [..., K] in float32, float64, bfloat16 or float16 with any strides, computed in
        float32 (float64 for float64) without a copy, also under autocast; target, sigma and weight
        [...] of any real dtype; target_distribution [..., K]. The loss is float32 (float64 for
        float64 logits).

    Raises:
        ValueError: naming the argument and, for values, the first bad row and what it holds.
        TypeError: for arguments that are not real-valued tensors.

    Numerics:
        Target mass below 1e-11 of the row's largest (7.1 sigma out; 25.3 for ``"laplace"``) counts
        as 0, and 0 * (-inf) as 0, so logits of -inf there are harmless; elsewhere they make the
        loss inf, but for ``"likelihood"``, which is finite for any logits.

    Source:
        Gao et al., Learning Expectation of Label Distribution for Facial Age and Attractiveness
        Estimation; Eqs. 1, 8 to 13 and 17. The variance: Pan et al., Mean-Variance Loss for Deep
        Age Estimation from a Face, CVPR 2018. Laplace: Diaz and Marathe, Soft Labels for Ordinal
        Regression, CVPR 2019.

    Example:
        >>> import torch
        >>> criterion = DLDLv2Loss(0, 100, sigma=2.0)
        >>> logits = torch.zeros(8, 101, requires_grad=True)
        >>> loss = criterion(logits, torch.full((8,), 30.0))
        >>> loss.backward()
        >>> round(loss.item(), 4)
        22.503
    """

    def __init__(
        self,
        label_min: float = 0.0,
        label_max: float = 100.0,
        label_step: float = 1.0,
        *,
        labels: Tensor | Sequence[float] | None = None,
        sigma: float = 2.0,
        lambda_: float = 1.0,
        ld_weight: float = 1.0,
        variance_weight: float = 0.0,
        kind: str = "gaussian",
        divergence: str = "kl",
        regression: str = "l1",
        smooth_l1_beta: float = 1.0,
        reduction: str = "mean",
        out_of_range: str = "error",
        ignore_nan: bool = False,
        validate: bool | str = "auto",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.options = LossOptions(
            lambda_,
            ld_weight,
            variance_weight,
            kind,
            divergence,
            regression,
            smooth_l1_beta,
            reduction,
            out_of_range,
            ignore_nan,
            validate,
        )
        self.sigma = check_sigma(sigma, kind)
        backends.check_name(backend)
        self.backend = backend
        # Neither parameter nor buffer: .half() would round the grid, and float64 cannot live on
        # every device.
        grid = label_grid(label_min, label_max, label_step) if labels is None else labels
        self.labels = as_label_grid(grid)
        self._labels_in_use = self.labels  # on the device of the last logits
        self._step = uniform_step(self.labels)

    @classmethod
    def official(
        cls,
        label_min: float = 0.0,
        label_max: float = 100.0,
        label_step: float = 1.0,
        *,
        labels: Tensor | Sequence[float] | None = None,
        **settings: Any,
    ) -> DLDLv2Loss:
        """The weighting of the authors' released code: the divergence is averaged over labels.

        That is Eq. 12 with ``ld_weight = 1 / K``; every other setting as in the constructor.

        Example:
            >>> DLDLv2Loss.official(0, 100).options.ld_weight == 1 / 101
            True
        """
        grid = label_grid(label_min, label_max, label_step) if labels is None else labels
        return cls(labels=grid, **{"ld_weight": 1.0 / len(grid), **settings})

    def forward(
        self,
        logits: Tensor,
        target: Tensor | None = None,
        sigma: float | Tensor | None = None,
        weight: Tensor | None = None,
        *,
        target_distribution: Tensor | None = None,
    ) -> Tensor:
        """Loss of logits [..., K] against target [...]; see the class for shapes and errors."""
        if sigma is None:
            sigma = self.sigma
        elif not isinstance(sigma, Tensor):
            sigma = check_sigma(sigma, self.options.kind)
        labels = self._labels_in_use
        if isinstance(logits, Tensor) and labels.device != logits.device:
            labels = self._labels_in_use = self.labels.to(logits.device)
        loss = apply_loss(
            logits,
            target,
            sigma,
            weight,
            target_distribution,
            labels,
            self._step,
            self.options,
            self.backend,
            return_terms=False,
        )
        assert isinstance(loss, Tensor)  # for the type checker: LossTerms only with return_terms
        return loss

    def extra_repr(self) -> str:
        """Label grid and the settings that differ from the defaults."""
        grid = f"labels=[{self.labels[0]:g} .. {self.labels[-1]:g}], K={len(self.labels)}"
        changed = [
            f"{setting.name}={value!r}"
            for setting in fields(self.options)
            if setting.init and (value := getattr(self.options, setting.name)) != setting.default
        ]
        return ", ".join([grid, f"sigma={self.sigma:g}", *changed])
