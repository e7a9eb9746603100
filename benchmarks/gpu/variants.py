"""What is timed on a GPU: this library's backends beside their rivals, and a copy, the limit."""

from __future__ import annotations

import functools
import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor

import dldl_fast
from dldl_fast import backends

from ..variants import (
    LOSSES,
    SIGMA,
    Direction,
    LossFactory,
    LossFn,
    Problem,
    Step,
    bytes_min,
    step_of,
    target_distribution,
)

OURS = ("cuda", "triton")
"""Backends of this library that compute CUDA tensors."""


def _ours(problem: Problem, backend: str) -> LossFn:
    return dldl_fast.DLDLv2Loss(labels=problem.grid.cpu(), sigma=SIGMA, backend=backend)


def _liger(problem: Problem) -> LossFn:
    """Liger-Kernel's divergence of a target that is built in the call; no expectation term."""
    from liger_kernel.transformers import LigerKLDIVLoss

    divergence = LigerKLDIVLoss(reduction="batchmean")

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        log_p_hat = F.log_softmax(logits, 1, dtype=torch.float32)
        return divergence(log_p_hat, target_distribution(target, problem.grid))

    return loss


FACTORIES: dict[str, LossFactory] = {
    **{backend: functools.partial(_ours, backend=backend) for backend in OURS},
    "eager": LOSSES["eager"],
    "compile": LOSSES["compile"],
    "liger": _liger,
}
VARIANTS = ("copy", *FACTORIES)  # the copy first: the others are compared with it


def gpu_step(variant: str, problem: Problem, direction: Direction) -> Step:
    """One step of a variant; the caller holds ``torch.no_grad()`` around a forward."""
    if variant == "copy":
        logits = problem.logits.detach()
        there = torch.empty_like(logits)
        return lambda: there.copy_(logits)
    return step_of(FACTORIES[variant](problem), problem, direction)


def bytes_moved(variant: str, problem: Problem, direction: Direction) -> int:
    """Bytes that a step must move; a copy reads and writes the logits in either direction."""
    rows, labels = problem.logits.shape
    itemsize = problem.logits.itemsize
    if variant == "copy":
        return 2 * rows * labels * itemsize
    return bytes_min(rows, labels, itemsize, direction)


def skip_reason(variant: str) -> str:
    """Why a variant cannot run here; empty where it can."""
    packages = {"liger": "liger_kernel", "compile": "triton"}
    package = packages.get(variant)
    if package is not None and importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install {package.replace('_', '-')}"
    if variant not in OURS:
        return ""
    found = {status.name: status for status in backends.status()}
    if variant not in found:
        return f"this version of dldl_fast has no backend {variant!r}"
    return found[variant].reason
