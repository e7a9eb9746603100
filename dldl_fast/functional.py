"""The functions behind the modules: loss, its target, expectation, quantiles, hybrid pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dldl_fast import backends, ops, reference
from dldl_fast.cdf import cumulative, inverse
from dldl_fast.labels import as_label_grid, on_device, uniform_step
from dldl_fast.options import KINDS, LossOptions
from dldl_fast.schema import MAX_KERNEL_SIZE

_ROW_DTYPES = (torch.float32, torch.float64)
LOGITS_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class LossTerms(NamedTuple):
    """The loss and, per row and detached, what it is made of."""

    loss: Tensor
    """As reduced by `reduction`; the only differentiable member."""
    divergence: Tensor
    """D(p || p_hat) without `ld_weight`, [...]."""
    regression: Tensor
    """rho(y_hat - y) without `lambda_`, [...]."""
    expectation: Tensor
    """y_hat in float64, [...]; NaN for rows left out by `ignore_nan`."""


def label_distribution_loss(
    logits: Tensor,
    target: Tensor | None = None,
    *,
    labels: Tensor | Sequence[float],
    sigma: float | Tensor = 2.0,
    weight: Tensor | None = None,
    target_distribution: Tensor | None = None,
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
    return_terms: bool = False,
) -> Tensor | LossTerms:
    r"""Label distribution learning with expectation regression, as one fused operation.

    .. math::
        L_i = w_{ld}\, D(p \,\|\, \hat p) + \lambda\, \rho(\hat y - y)
        + w_{var}\, \textstyle\sum_k \hat p_k (l_k - \hat y)^2, \quad
        \hat p = \mathrm{softmax}(x), \quad \hat y = \textstyle\sum_k \hat p_k l_k

    See `dldl_fast.DLDLv2Loss` for the settings, the errors and the sources; the module checks its
    settings and its label grid once instead of in every call.

    Args:
        logits: [..., K], float32, float64, bfloat16 or float16, any strides.
        target: [...], any real dtype, in the unit of the labels. May be left out when
            ``target_distribution`` is given: its expectation is used then.
        labels: label grid, K increasing numbers. A float64 tensor is checked, and copied to the
            device of the logits, only once.
        sigma: width of the target distribution, a number or [...].
        weight: row weights, [...].
        target_distribution: [..., K], for example histograms of ratings; rows are normalised.
        lambda_: weight of the regression term (Eq. 12).
        ld_weight: weight of the divergence.
        variance_weight: weight of the variance of the predicted distribution.
        kind: shape of the target distribution.
        divergence: "kl" (Eq. 9), "ce" (Eq. 13) or "likelihood".
        regression: "l1" (Eq. 11), "l2" or "smooth_l1".
        smooth_l1_beta: transition point of "smooth_l1".
        reduction: "mean", "sum" or "none".
        out_of_range: "error", "clamp" or "keep".
        ignore_nan: leave rows with a NaN target out.
        validate: "auto", True or False.
        backend: "auto", "cpp", "cuda", "triton" or "reference".
        return_terms: also return the terms per row, from the same pass.

    Returns:
        The loss, or `LossTerms`. float64 for float64 logits, float32 otherwise.

    Example:
        >>> x = torch.zeros(2, 5)
        >>> terms = label_distribution_loss(
        ...     x, torch.tensor([1.0, 2.0]), labels=range(5), sigma=1.0, return_terms=True)
        >>> terms.expectation
        tensor([2., 2.], dtype=torch.float64)
        >>> terms.regression
        tensor([1., 0.])
    """
    options = LossOptions(
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
    if not isinstance(sigma, Tensor):
        sigma = check_sigma(sigma, kind)
    grid = as_label_grid(labels)
    return apply_loss(
        logits,
        target,
        sigma,
        weight,
        target_distribution,
        _beside(logits, grid),
        _step_for(logits, grid),
        options,
        backend,
        return_terms,
    )


def apply_loss(
    logits: Tensor,
    target: Tensor | None,
    sigma: float | Tensor,
    weight: Tensor | None,
    target_distribution: Tensor | None,
    labels: Tensor,
    step: float,
    options: LossOptions,
    backend: str,
    return_terms: bool,
) -> Tensor | LossTerms:
    """`label_distribution_loss` with settings and label grid that have been checked before."""
    n_labels = labels.numel()
    lead = _check_logits(logits, n_labels)
    if target is None and target_distribution is None:
        raise ValueError("target is missing: give target [...] or target_distribution [..., K]")
    if target is not None:
        target = as_rows("target", target, logits, lead)
    if isinstance(sigma, Tensor):
        sigma = as_rows("sigma", sigma, logits, lead)
    if weight is not None:
        weight = as_rows("weight", weight, logits, lead)
    if target_distribution is not None:
        _check_row_tensor("target_distribution", target_distribution, logits, logits.shape)
        target_distribution = target_distribution.reshape(-1, n_labels)
        if target_distribution.dtype not in _ROW_DTYPES:
            target_distribution = target_distribution.to(torch.float32)
    flat = logits if logits.dim() == 2 else logits.reshape(-1, n_labels)
    inputs = (flat, target, sigma, weight, target_distribution, labels)
    terms: Tensor | None
    device_type = "cpu" if logits.is_cpu else logits.device.type  # the latter makes two objects
    name = backends.resolve(backend, device_type)
    if name == "reference":
        loss, terms = reference.label_distribution_loss(*inputs, options)
    else:
        loss, terms = ops.label_distribution_loss(
            *inputs, step, options, return_terms, backends.OPS[name]
        )
    if options.reduction == "none" and len(lead) != 1:
        loss = loss.reshape(lead)
    if not return_terms or terms is None:
        return loss
    divergence, regression, y_hat = (term.reshape(lead) for term in terms)
    return LossTerms(loss, divergence.to(loss.dtype), regression.to(loss.dtype), y_hat)


def expectation(
    logits: Tensor,
    labels: Tensor | Sequence[float],
    *,
    return_std: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Expectation of the predicted distribution, :math:`\hat y = \sum_k \hat p_k l_k`.

    Softmax and sum are one pass; the distribution is not stored. Differentiable.

    Args:
        logits: [..., K], float32, float64, bfloat16 or float16.
        labels: label grid, K increasing numbers. A float64 tensor is checked, and copied to the
            device of the logits, only once.
        return_std: also return the standard deviation of the predicted distribution, a measure
            of the uncertainty of each prediction, in the unit of the labels.
        backend: "auto", "cpp", "cuda", "triton" or "reference".

    Returns:
        [...] in float64, so that an offset of the grid costs no digits; or a pair of them.

    Raises:
        ValueError: if K is not the number of labels.
        TypeError: if logits are not floating point.

    Source:
        Eq. 10.

    Example:
        >>> expectation(torch.zeros(1, 101), range(101))
        tensor([50.], dtype=torch.float64)
    """
    grid = as_label_grid(labels)
    step = _step_for(logits, grid)
    lead = _check_logits(logits, len(grid))
    flat, grid = logits.reshape(-1, len(grid)), _beside(logits, grid)
    std: Tensor | None
    name = backends.resolve(backend, logits.device.type)
    if name == "reference":
        mean, std = reference.expectation(flat, grid)
    else:
        mean, std = ops.expectation(flat, grid, step, return_std, backends.OPS[name])
    mean = mean.reshape(lead)
    return (mean, std.reshape(lead)) if return_std and std is not None else mean


def quantile(
    logits: Tensor, labels: Tensor | Sequence[float], q: float | Sequence[float]
) -> Tensor:
    r"""Quantiles of the predicted distribution; ``q=0.5`` is its median.

    .. math::
        Q(q) = \min \{ l_k : \hat F_k \ge q \}, \quad
        \hat F_k = \sum_{j \le k} \hat p_j, \quad \hat p = \mathrm{softmax}(x)

    The inverse of the cumulative distribution, without interpolation: a quantile is always one of
    the labels. The median of this kind has the smallest expected absolute error, and of two labels
    that are equally good it is the lower one. ``q=0`` gives the smallest label with a probability
    above 0, ``q=1`` the largest. What the rounding of the sum can explain,
    :math:`2.2 \cdot 10^{-16} K`, counts neither as a difference nor as a probability.

    Args:
        logits: [..., K], float32, float64, bfloat16 or float16; -inf is a probability of 0.
        labels: label grid, K increasing numbers.
        q: a number in [0, 1], or Q of them in any order.

    Returns:
        float64, in the unit of the labels: [...] for a number, [Q, ...] for a sequence, as
        torch.quantile. Piecewise constant, hence without gradient. NaN for rows whose softmax is.

    Raises:
        ValueError: if K is not the number of labels or q is outside [0, 1].
        TypeError: if logits are not floating point or q is not made of numbers.

    Source:
        The decoding of the age benchmark of Paplham and Franc (arXiv:2307.04570), for q = 0.5:
        the label with the smallest expected absolute error.

    Example:
        >>> logits = torch.tensor([[0.1, 0.2, 0.4, 0.3]]).log()
        >>> quantile(logits, [10, 20, 30, 40], 0.5)
        tensor([30.], dtype=torch.float64)
        >>> low, high = quantile(logits, [10, 20, 30, 40], [0.05, 0.95])
        >>> low.item(), high.item()
        (10.0, 40.0)
    """
    levels = _check_levels(q)
    grid = as_label_grid(labels)
    _check_logits(logits, len(grid))
    double = reference.double_dtype(logits.device)
    cdf = cumulative(torch.softmax(logits.detach().to(double), -1))
    at = torch.tensor(levels, dtype=double, device=logits.device)
    found = inverse(cdf, _beside(logits, grid), at)
    return found[0] if isinstance(q, int | float) else found


def label_distribution(
    target: Tensor,
    labels: Tensor | Sequence[float],
    sigma: float | Tensor = 2.0,
    kind: str = "gaussian",
) -> Tensor:
    r"""Target distribution p that the loss compares with, for looking at and testing.

    .. math::
        p_k = \frac{\exp(-(l_k - y)^2 / 2\sigma^2)}{\sum_j \exp(-(l_j - y)^2 / 2\sigma^2)}
        \quad \text{for kind "gaussian"}

    Args:
        target: [...], any real dtype, finite; may lie outside the labels.
        labels: label grid, K increasing numbers.
        sigma: width in the unit of the labels, a number or [...], >= 0 (> 0 for "gaussian_pdf").
        kind: see `dldl_fast.DLDLv2Loss`.

    Returns:
        [..., K] in float64.

    Raises:
        ValueError: for a bad sigma, a target that is not finite or an unknown kind.

    Source:
        Eq. 1, normalised as in the released code; "gaussian_pdf" is Eq. 1 to the letter.

    Example:
        >>> label_distribution(torch.tensor(1.0), [0, 1, 2], sigma=0.5)
        tensor([0.1065, 0.7870, 0.1065], dtype=torch.float64)
    """
    LossOptions(kind=kind)  # for its check of the name
    grid = as_label_grid(labels).to(target.device)
    y = target.detach().to(grid.dtype)
    if not isinstance(sigma, Tensor):
        sigma = check_sigma(sigma, kind)
    s = torch.as_tensor(sigma, dtype=grid.dtype, device=target.device).detach().expand(y.shape)
    if not bool(torch.isfinite(y).all()):
        raise ValueError("target must be finite")
    low = s <= 0 if kind == KINDS[1] else s < 0
    if bool((low | ~torch.isfinite(s)).any()):
        raise ValueError(f"sigma must be finite and >= 0 (> 0 for 'gaussian_pdf'), got {s}")
    return reference.label_distribution(y, grid, s, kind)


def hybrid_pool2d(x: Tensor, kernel_size: int = 2, *, backend: str = "auto") -> Tensor:
    r"""Hybrid pooling: max over each window, then the mean over the windows, in one pass.

    .. math::
        z_{n,c} = \frac{1}{h w} \sum_{a=0}^{h-1} \sum_{b=0}^{w-1}
        \max_{0 \le i, j < k} x_{n,c,ka+i,kb+j}, \quad
        h = \lfloor H / k \rfloor, \; w = \lfloor W / k \rfloor

    The same as ``max_pool2d(x, k).mean((2, 3))``: rows and columns beyond the last whole window
    are left out, of equal maxima the first one gets the gradient, and a NaN makes its plane NaN.
    The sum is accumulated in float32 (float64 for float64). Differentiable once; kept for backward
    is the choice of each window (2 bits for a kernel of 2, 4 up to 4, 8 up to 16), not the input.

    Args:
        x: [N, C, H, W], float32, float64, bfloat16 or float16. Contiguous and channels_last inputs
            are read as they are, others are copied first.
        kernel_size: k, height and width of a window and its stride; 1 is plain average pooling.
        backend: "auto", "cpp", "cuda", "triton" or "reference".

    Returns:
        [N, C] in the type of x.

    Raises:
        TypeError: if x is no tensor of these types or the kernel size is no integer.
        ValueError: if x has another number of dimensions, or H or W is smaller than a window.
        RuntimeError: if the named backend cannot serve, or in double backward (the reference
            supports it).

    Source:
        Section 3.4, with k = 2.

    Example:
        >>> hybrid_pool2d(torch.arange(16.0).reshape(1, 1, 4, 4))  # mean of 5, 7, 13, 15
        tensor([[10.]])
    """
    _check_pooled(x, kernel_size)
    name = backends.resolve(backend, x.device.type)
    if name == "reference":
        return reference.hybrid_pool2d(x, kernel_size)
    return ops.hybrid_pool2d(x, kernel_size, backends.OPS[name])


def _check_pooled(x: Tensor, kernel_size: int) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor, got {type(x).__name__}")
    if x.dtype not in LOGITS_DTYPES:
        raise TypeError(f"x must be float32, float64, bfloat16 or float16, got {x.dtype}")
    check_kernel_size(kernel_size)
    if x.dim() != 4 or x.shape[2] < kernel_size or x.shape[3] < kernel_size:
        raise ValueError(
            f"x must have shape [N, C, H, W] with H and W >= kernel_size = {kernel_size}, "
            f"got {list(x.shape)}"
        )


def _check_levels(q: float | Sequence[float]) -> list[float]:
    try:
        levels = [float(level) for level in ([q] if isinstance(q, int | float) else q)]
    except (TypeError, ValueError) as error:
        raise TypeError(f"q must be a number in [0, 1] or a sequence of them, got {q!r}") from error
    for level in levels:
        if not 0 <= level <= 1:
            raise ValueError(f"q must be in [0, 1], got {level:g}")
    return levels


def check_kernel_size(kernel_size: int) -> None:
    """Raise unless the size of a window is an integer that the kernels can serve."""
    if isinstance(kernel_size, bool) or not isinstance(kernel_size, int):
        raise TypeError(f"kernel_size must be an int, got {kernel_size!r}")
    if not 1 <= kernel_size <= MAX_KERNEL_SIZE:
        raise ValueError(f"kernel_size must be in [1, {MAX_KERNEL_SIZE}], got {kernel_size}")


def check_sigma(sigma: float, kind: str) -> float:
    """Return sigma as a float, or raise ValueError if no target distribution can have it."""
    sigma = float(sigma)
    if kind == "gaussian_pdf" and not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be finite and > 0 for kind='gaussian_pdf', got {sigma:g}")
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma must be finite and >= 0, got {sigma:g}")
    return sigma


def _step_for(logits: Tensor, grid: Tensor) -> float:
    # The CPU ops look for themselves, in less time than this takes.
    return 0.0 if not isinstance(logits, Tensor) or logits.is_cpu else uniform_step(grid)


def _beside(logits: Tensor, grid: Tensor) -> Tensor:
    # What is no tensor gets its error from _check_logits.
    return on_device(grid, logits.device) if isinstance(logits, Tensor) else grid


def _check_logits(logits: Tensor, n_labels: int) -> torch.Size:
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits must be a tensor, got {type(logits).__name__}")
    if logits.dtype not in LOGITS_DTYPES:
        raise TypeError(f"logits must be float32, float64, bfloat16 or float16, got {logits.dtype}")
    shape = logits.shape
    if len(shape) == 0 or shape[-1] != n_labels:
        raise ValueError(
            f"logits must have shape [..., {n_labels}] to match the {n_labels} labels, "
            f"got {list(shape)}"
        )
    return shape[:-1]


def as_rows(name: str, value: Tensor, logits: Tensor, lead: torch.Size) -> Tensor:
    """Check a per-row argument and return it as float32 or float64 [N]."""
    # What needs nothing done comes first, in few steps: with small batches they are what costs.
    if (
        isinstance(value, Tensor)
        and value.dtype in _ROW_DTYPES
        and value.shape == lead
        and value.device == logits.device
        and not value.requires_grad
    ):
        return value if len(lead) == 1 else value.reshape(-1)
    _check_row_tensor(name, value, logits, lead)
    return value.to(torch.float32 if value.is_floating_point() else torch.float64).reshape(-1)


def _check_row_tensor(name: str, value: Tensor, logits: Tensor, shape: torch.Size) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a tensor of shape {list(shape)}, got {type(value).__name__}"
        )
    if value.shape != shape:
        hint = ""
        if value.shape == (*shape, 1):
            hint = f"; use {name}.squeeze(-1)"
        raise ValueError(
            f"{name} must have shape {list(shape)} to match logits {list(logits.shape)}, "
            f"got {list(value.shape)}{hint}"
        )
    if value.device != logits.device:
        raise ValueError(f"{name} must be on {logits.device} like logits, got {value.device}")
    if value.is_complex():
        raise TypeError(f"{name} must be real, got {value.dtype}")
    if value.requires_grad:
        raise ValueError(
            f"{name} must not require grad: the loss is differentiated with respect to the logits "
            f"only; pass {name}.detach()"
        )
