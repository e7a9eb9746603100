"""The problems, the byte model, and the variants that are timed on them.

Every variant is one step of training or evaluation on the same inputs: float32 targets ``y``,
``sigma = 2``, labels ``0 .. K-1``, mean over the rows. ``dldl_fast``, ``eager`` and ``compile``
compute the same loss (Kullback-Leibler divergence plus L1 distance of the expectation, Eq. 12 of
the paper). ``cross_entropy`` and ``hl_gauss`` leave the expectation out, so they do less work.
``clone`` computes nothing: it reads the logits and writes as many bytes to a fresh allocation.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import dldl_fast

Direction = Literal["forward", "forward+backward"]
Step = Callable[[], object]
LossFn = Callable[[Tensor, Tensor], Tensor]

DIRECTIONS: tuple[Direction, ...] = ("forward", "forward+backward")
SIGMA = 2.0


@dataclass(frozen=True)
class Problem:
    """Inputs of one step: logits [N, K] that require grad, targets [N], the label grid [K]."""

    logits: Tensor
    target: Tensor
    grid: Tensor


LossFactory = Callable[[Problem], LossFn]


@functools.lru_cache(maxsize=1)
def make_problem(rows: int, labels: int, dtype: torch.dtype, device: str = "cpu") -> Problem:
    """Random logits and targets; the last ones are kept, as many variants share them."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, labels, generator=generator).to(device, dtype).requires_grad_()
    target = torch.rand(rows, generator=generator).to(device) * (labels - 1)
    return Problem(logits, target, torch.arange(labels, dtype=torch.float32, device=device))


# Byte model of the loss, with B = N*K*itemsize for the logits; caches are ignored, and so is the
# read of a line before it is written (write-allocate).
#   forward (no_grad)  must move: read logits B, read targets 4N          this library: the same
#   forward+backward   must move: the same, and write the gradient B      this library: the same,
#                      since the mean's 1 / N is in the gradient already and the incoming gradient
#                      is 1 here; any other, weights, and float16 cost 2B more, to scale it in place
# GB/s in the tables is the bytes that must move divided by the time, for every variant alike, so
# a variant that moves more shows a lower figure. `clone` moves 2B in both directions.
def bytes_min(rows: int, labels: int, itemsize: int, direction: Direction) -> int:
    """Bytes that any implementation must move in a step."""
    passes = 1 if direction == "forward" else 2
    return passes * rows * labels * itemsize + 4 * rows


def target_distribution(target: Tensor, grid: Tensor) -> Tensor:
    """Eq. 1, normalised, by its formula."""
    p = torch.exp(-((grid - target[:, None]) ** 2) / (2 * SIGMA**2))
    return p / p.sum(1, keepdim=True)


def eager_loss(logits: Tensor, target: Tensor, grid: Tensor) -> Tensor:
    """Eq. 12 in few torch calls; half-precision logits are computed in float32, as the others."""
    p = target_distribution(target, grid)
    log_p_hat = F.log_softmax(logits, 1, dtype=torch.float32)
    expectation = (log_p_hat.exp() * grid).sum(1)
    return F.kl_div(log_p_hat, p, reduction="batchmean") + (expectation - target).abs().mean()


def _eager(problem: Problem) -> LossFn:
    return lambda logits, target: eager_loss(logits, target, problem.grid)


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``torch.compile`` for fixed shapes.

    The reset matters: past eight shapes of one function torch.compile would run it eagerly
    without a word; ``fullgraph=True`` would make that an error.
    """
    torch.compiler.reset()
    return torch.compile(function, dynamic=False, fullgraph=True)


def _compile(problem: Problem) -> LossFn:
    loss = compiled(eager_loss)
    return lambda logits, target: loss(logits, target, problem.grid)


def _cross_entropy(problem: Problem) -> LossFn:
    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), target_distribution(target, problem.grid))

    return loss


def _hl_gauss(problem: Problem) -> LossFn:
    from hl_gauss_pytorch import HLGaussLoss

    labels = problem.grid.numel()
    criterion = HLGaussLoss(0, labels - 1, labels, SIGMA, min_max_value_on_bin_center=True)
    return lambda logits, target: criterion(logits.float(), target)


def _dldl_fast(problem: Problem) -> LossFn:
    return dldl_fast.DLDLv2Loss(0.0, problem.grid.numel() - 1.0, 1.0, sigma=SIGMA)


LOSSES: dict[str, LossFactory] = {
    "dldl_fast": _dldl_fast,
    "eager": _eager,
    "compile": _compile,
    "cross_entropy": _cross_entropy,
    "hl_gauss": _hl_gauss,
}
LOSS_VARIANTS = (*LOSSES, "clone")


def clone_step(problem: Problem) -> Step:
    """The limit: the same bytes to the same fresh allocation, and no arithmetic."""
    return problem.logits.detach().clone


def loss_step(variant: str, problem: Problem, direction: Direction) -> Step:
    """One step of a loss variant; the caller holds ``torch.no_grad()`` around a forward."""
    if variant == "clone":
        return clone_step(problem)
    return step_of(LOSSES[variant](problem), problem, direction)


def step_of(loss: LossFn, problem: Problem, direction: Direction) -> Step:
    """One evaluation of a loss, or one training step with it."""
    logits, target = problem.logits, problem.target
    if direction == "forward":
        return lambda: loss(logits, target)

    def step() -> None:
        logits.grad = None
        loss(logits, target).backward()

    return step


def skip_reason(variant: str) -> str:
    """Why a variant cannot run here; empty where it can."""
    if variant == "hl_gauss" and importlib.util.find_spec("hl_gauss_pytorch") is None:
        return "hl_gauss_pytorch is not installed: pip install -e '.[bench]'"
    if variant == "compile":
        compilers = [os.environ.get("CXX", ""), "g++", "clang++"]
        if not any(map(shutil.which, filter(None, compilers))):
            return "torch.compile needs a C++ compiler: install g++ or clang++"
    if variant == "dldl_fast":
        return kernel_problem()
    return ""


def kernel_problem() -> str:
    """Why dldl_fast would not run its compiled kernels; empty where it would."""
    forced = os.environ.get("DLDL_FAST_BACKEND", "cpp")
    if forced not in ("", "auto", "cpp"):
        return f"DLDL_FAST_BACKEND={forced} forces another backend than the one to measure"
    backend = next(b for b in dldl_fast.backends.status() if b.name == "cpp")
    return "" if backend.available else f"the cpp backend is not available: {backend.reason}"


def verify(problem: Problem, candidate: LossFactory = _dldl_fast) -> None:
    """Raise if this library and eager torch disagree: a fast wrong answer is worth nothing."""
    values = []
    for factory in (_eager, candidate):
        loss = factory(problem)(problem.logits, problem.target)
        (gradient,) = torch.autograd.grad(loss, problem.logits)
        values.append((loss.detach(), gradient))
    (eager, eager_gradient), (ours, our_gradient) = values
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=0)
    tolerance = 1e-2 if problem.logits.dtype == torch.bfloat16 else 1e-4
    scale = eager_gradient.abs().max().item()
    torch.testing.assert_close(our_gradient, eager_gradient, rtol=tolerance, atol=tolerance * scale)
