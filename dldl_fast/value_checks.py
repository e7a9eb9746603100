"""Which rows of a batch hold values that make no sense, and the error for the first of them.

The CPU kernel does the same checks with the same texts in csrc/cpu/row_checks.h.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dldl_fast.options import LossOptions


def bad_rows(
    target: Tensor | None,
    sigma: Tensor,
    weight: Tensor,
    target_distribution: Tensor | None,
    labels: Tensor,
    options: LossOptions,
) -> Tensor:
    """Boolean [N], True where a row is bad; inputs are float64 [N] and [N, K], ignored rows filled.

    Raises:
        ValueError: naming the argument, the first bad row and its value, if the options ask for it.
    """
    checks: list[tuple[Tensor, Tensor, str]] = []
    if target is not None:
        hint = "" if options.ignore_nan else "; ignore_nan=True leaves rows with a NaN target out"
        checks.append((~torch.isfinite(target), target, f"target must be finite{hint}"))
        if options.out_of_range == "error":
            outside = (target < labels[0]) | (target > labels[-1])
            checks.append((outside, target, OUTSIDE))
    if target_distribution is None:
        positive = options.kind == "gaussian_pdf"
        wrong = (sigma <= 0 if positive else sigma < 0) | ~torch.isfinite(sigma)
        checks.append((wrong, sigma, SIGMA_PDF if positive else SIGMA))
    else:
        wrong = ~((target_distribution >= 0) & torch.isfinite(target_distribution))
        first_wrong = wrong.to(torch.int8).argmax(-1, keepdim=True)
        value = target_distribution.gather(-1, first_wrong).squeeze(-1)
        total = target_distribution.sum(-1)
        checks.append((wrong.any(-1), value, DISTRIBUTION))
        checks.append((~((total > 0) & torch.isfinite(total)), total, DISTRIBUTION_SUM))
    checks.append((~((weight >= 0) & torch.isfinite(weight)), weight, WEIGHT))
    bad = torch.stack([wrong for wrong, _, _ in checks]).any(0)
    if raises(options, bad) and bool(bad.any()):
        row = int(bad.nonzero()[0])
        got, text = next((float(v[row]), text) for wrong, v, text in checks if wrong[row])
        if text is OUTSIDE:
            text = OUTSIDE.format(first=float(labels[0]), last=float(labels[-1]))
        raise ValueError(f"{text}, got {got:g} at row {row}")
    return bad


def raises(options: LossOptions, rows: Tensor) -> bool:
    """Whether bad rows raise here; in a graph that torch.compile traces they can only give NaN."""
    return options.validates(rows.is_cpu) and not torch.compiler.is_compiling()


OUTSIDE = (
    "target must lie on the label grid [{first:g}, {last:g}] "
    "(out_of_range='clamp' or 'keep' accepts others)"
)
SIGMA = "sigma must be finite and >= 0"
SIGMA_PDF = "sigma must be finite and > 0 for kind='gaussian_pdf'"
WEIGHT = "weight must be finite and >= 0"
DISTRIBUTION = "target_distribution must hold finite values >= 0"
DISTRIBUTION_SUM = "target_distribution rows must have a positive finite sum"
UNDERFLOW = (
    "kind='gaussian_pdf' has no mass on the label grid (S = 0; kind='gaussian' is normalised) "
    "for this target"
)
