"""The label grid: the ordered labels l_1 < ... < l_K that the K logits stand for (section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_LABELS = 100_000


def label_grid(label_min: float, label_max: float, label_step: float = 1.0) -> Tensor:
    r"""Uniform label grid :math:`l = [l_{min} : \Delta l : l_{max}]`, both ends included.

    Args:
        label_min: first label, in the unit of the target (years, degrees, points).
        label_max: last label; ``label_max - label_min`` must be a multiple of ``label_step``.
        label_step: distance between neighbours, > 0.

    Returns:
        float64 tensor of shape [K].

    Raises:
        ValueError: if the three numbers do not describe between 2 and 100,000 labels.

    Source:
        Section 4.1: ages are ``[0:1:100]``, attractiveness scores ``[1:.1:5]`` or ``[1:.1:7]``.

    Example:
        >>> label_grid(1.0, 5.0, 0.1).shape
        torch.Size([41])
    """
    for name, value in (
        ("label_min", label_min),
        ("label_max", label_max),
        ("label_step", label_step),
    ):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
    if label_step <= 0:
        raise ValueError(f"label_step must be > 0, got {label_step:g}")
    if label_max <= label_min:
        raise ValueError(
            f"label_max must be greater than label_min, got {label_max:g} <= {label_min:g}"
        )
    steps = (label_max - label_min) / label_step
    if steps > MAX_LABELS:
        raise ValueError(
            f"at most {MAX_LABELS:,} labels are supported, got about {steps:.3g} from "
            f"[{label_min:g} : {label_step:g} : {label_max:g}]; use a larger label_step"
        )
    count = round(steps)
    if count < 1 or abs(steps - count) > 1e-6 * count:
        raise ValueError(
            "label_max - label_min must be a multiple of label_step, "
            f"got {label_max - label_min:g} and {label_step:g}; "
            "pass labels=[...] for a grid of your own"
        )
    # Computed as l_min + k * step and not by repeated addition, so that 1 + 40 * 0.1 is 5.
    grid = label_min + label_step * torch.arange(count + 1, dtype=torch.float64, device="cpu")
    grid[-1] = label_max
    return as_label_grid(grid)


def as_label_grid(labels: Tensor | Sequence[float]) -> Tensor:
    """Check labels given by the user and return them as a float64 tensor of shape [K].

    Args:
        labels: increasing finite numbers, 2 to 100,000 of them; need not be equally spaced.

    Returns:
        float64 tensor of shape [K], on the device of ``labels`` (the CPU for a sequence).

    Raises:
        TypeError: if ``labels`` is not real-valued.
        ValueError: if it is not one-dimensional, finite and strictly increasing, or requires grad.

    Example:
        >>> as_label_grid([1, 2, 4, 8])
        tensor([1., 2., 4., 8.], dtype=torch.float64)
    """
    if isinstance(labels, Tensor):
        if _is_checked(labels):
            return labels
        grid = labels
    else:
        # As a list, since torch.compile turns no other sequence into a tensor.
        values = list(labels) if isinstance(labels, Sequence) else labels
        grid = torch.as_tensor(values, dtype=torch.float64, device="cpu")
    if grid.is_complex() or grid.dtype == torch.bool:
        raise TypeError(f"labels must be real numbers, got dtype {grid.dtype}")
    if grid.requires_grad:
        raise ValueError("labels must not require grad: the label grid is fixed; pass .detach()")
    if grid.dim() != 1:
        raise ValueError(f"labels must have shape [K], got {list(grid.shape)}")
    if not 2 <= len(grid) <= MAX_LABELS:
        raise ValueError(f"labels must hold 2 to {MAX_LABELS:,} values, got {len(grid)}")
    grid = grid.to(torch.float64).contiguous()
    if torch.compiler.is_compiling():
        # A graph cannot branch on values: checked when it runs, as a RuntimeError.
        in_order = (grid[1:] > grid[:-1]).all() & torch.isfinite(grid).all()
        torch._assert_async(in_order, "labels must be finite and strictly increasing")
        return grid
    if not bool(torch.isfinite(grid).all()):
        raise ValueError("labels must be finite")
    if not bool((grid[1:] > grid[:-1]).all()):
        k = int((grid[1:] <= grid[:-1]).nonzero()[0])
        raise ValueError(
            "labels must be strictly increasing, got "
            f"labels[{k}] = {float(grid[k]):g} and labels[{k + 1}] = {float(grid[k + 1]):g}"
        )
    _mark_checked(grid)
    return grid


def uniform_step(grid: Tensor) -> float:
    """Distance of neighbouring labels if it is the same for all (to within 1e-6 of it), else 0.

    While torch.compile traces, nothing is known of a grid: 0.

    Example:
        >>> uniform_step(label_grid(1, 5, 0.5)), uniform_step(as_label_grid([1, 2, 4]))
        (0.5, 0.0)
    """
    if torch.compiler.is_compiling():
        return 0.0
    remembered = getattr(grid, _STEP, None)
    if remembered is not None and remembered[0] == grid._version:
        return float(remembered[1])
    first, last = float(grid[0]), float(grid[-1])
    step = (last - first) / (len(grid) - 1)
    even = first + step * torch.arange(len(grid), dtype=grid.dtype, device=grid.device)
    if not bool(((grid - even).abs() < 1e-6 * step).all()):
        step = 0.0
    if not grid.is_inference():
        setattr(grid, _STEP, (grid._version, step))
    return step


def on_device(grid: Tensor, device: torch.device) -> Tensor:
    """The grid on a device; its last copy is remembered, since making one waits for the device.

    Example:
        >>> grid = label_grid(0, 4)
        >>> on_device(grid, torch.device("cpu")) is grid
        True
    """
    if grid.device == device or torch.compiler.is_compiling():
        return grid.to(device)
    remembered = getattr(grid, _COPY, None)
    if remembered is not None and remembered[0] == grid._version:
        copy: Tensor = remembered[1]
        if copy.device == device:
            return copy
    with torch.inference_mode(False):  # training may use it later
        copy = grid.to(device)
    if not grid.is_inference():
        setattr(grid, _COPY, (grid._version, copy))
    return copy


# The check reads all labels, which takes longer than a small batch: a grid remembers that it has
# passed, its step, and its copy on another device, until it is changed in place.
_VERSION, _STEP, _COPY = "_dldl_fast_checked_version", "_dldl_fast_step", "_dldl_fast_copy"


def _is_checked(grid: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False
    version = getattr(grid, _VERSION, None)
    return version is not None and bool(version == grid._version)


def _mark_checked(grid: Tensor) -> None:
    if not grid.is_inference():  # those count no versions
        setattr(grid, _VERSION, grid._version)
