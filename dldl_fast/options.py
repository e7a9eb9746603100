"""The settings of the loss, checked once and passed to every backend unchanged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# The position of a name is its number in the schema of the op and in csrc/options.h.
KINDS = ("gaussian", "gaussian_pdf", "gaussian_bin", "two_hot", "one_hot", "laplace")
DIVERGENCES = ("kl", "ce", "likelihood")
REGRESSIONS = ("l1", "l2", "smooth_l1")
REDUCTIONS = ("none", "mean", "sum")
OUT_OF_RANGE = ("error", "clamp", "keep")


@dataclass(frozen=True)
class LossOptions:
    """Settings of the label-distribution loss; see `dldl_fast.DLDLv2Loss` for their meaning.

    Raises:
        ValueError: naming the first setting that makes no sense.
    """

    lambda_: float = 1.0
    ld_weight: float = 1.0
    variance_weight: float = 0.0
    kind: str = "gaussian"
    divergence: str = "kl"
    regression: str = "l1"
    smooth_l1_beta: float = 1.0
    reduction: str = "mean"
    out_of_range: str = "error"
    ignore_nan: bool = False
    validate: bool | str = "auto"
    codes: tuple[float | int | bool, ...] = field(init=False, repr=False)
    """The settings as the ops take them, from `lambda_` to `ignore_nan`."""

    def __post_init__(self) -> None:
        """Check the settings and encode them."""
        for name, valid in (
            ("kind", KINDS),
            ("divergence", DIVERGENCES),
            ("regression", REGRESSIONS),
            ("reduction", REDUCTIONS),
            ("out_of_range", OUT_OF_RANGE),
            ("validate", ("auto", True, False)),
        ):
            value = getattr(self, name)
            if value not in valid:
                choices = ", ".join(repr(choice) for choice in valid)
                raise ValueError(f"{name} must be one of {choices}, got {value!r}")
        for name in ("lambda_", "ld_weight", "variance_weight"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and >= 0, got {value}")
        if not 0 < self.smooth_l1_beta < math.inf:
            raise ValueError(
                f"smooth_l1_beta must be finite and > 0, got {self.smooth_l1_beta}; "
                "for a beta of 0 use regression='l1'"
            )
        codes = (
            float(self.lambda_),
            float(self.ld_weight),
            float(self.variance_weight),
            KINDS.index(self.kind),
            DIVERGENCES.index(self.divergence),
            REGRESSIONS.index(self.regression),
            float(self.smooth_l1_beta),
            REDUCTIONS.index(self.reduction),
            OUT_OF_RANGE.index(self.out_of_range),
            bool(self.ignore_nan),
        )
        object.__setattr__(self, "codes", codes)

    def validates(self, on_cpu: bool) -> bool:
        """Whether bad values raise: always on the CPU unless switched off, elsewhere on demand."""
        return on_cpu if self.validate == "auto" else bool(self.validate)
