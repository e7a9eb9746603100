"""Which kernels could be loaded, and calling them.

The loss and the expectation are called by one path in eager mode and by another under
torch.compile:

- eager: `_LabelDistributionLoss` lets the forward op write the gradient and hands that buffer over
  in the backward pass, scaled in place. Nothing of size N x K is kept or computed a second time.
- torch.compile, and a direct call of the op: the formula registered in dldl_fast/schema.py
  recomputes the gradient in the backward op, since a compiler may neither see a mutated buffer nor
  run backward once only.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from dldl_fast.build_info import build_info
from dldl_fast.options import LossOptions
from dldl_fast.schema import Ops, Row, define, implement, recompute, save_inputs

MIN_TORCH = (2, 10)
MIN_TORCH_CUDA = (2, 13)
MIN_TRITON = (3, 4)
"""Older ones do not read the annotation tl.float64: they pass numbers as float32."""


def library_file(library: str) -> str | None:
    """Path of a compiled library of this package, or None if it was not built."""
    spec = importlib.util.find_spec(f"dldl_fast.{library}")
    return None if spec is None else spec.origin


def _is_older(version: str, needed: tuple[int, int]) -> bool:
    return tuple(int(part) for part in version.split(".")[:2]) < needed


def _load(library: str, needed: tuple[int, int], missing: str) -> str | None:
    """Load a compiled library; return why that failed, or None."""
    path = library_file(library)
    if path is None:
        return missing
    if _is_older(torch.__version__, needed):
        version = ".".join(map(str, needed))
        return f"it needs torch >= {version}, this is {torch.__version__}: install a newer torch"
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        return f"{path} does not load ({error}): install dldl_fast again beside this torch"
    return None


load_error = _load(
    "_C",
    MIN_TORCH,
    build_info().no_extension
    or "the compiled library is not part of this installation: install a C++ compiler and "
    "run `pip install` again without DLDL_FAST_NO_EXT=1",
)


def load_cuda() -> str | None:
    """Load the CUDA kernels, which takes no device; return why that failed, or None."""
    if load_error is not None:
        return load_error
    missing = "they are not part of this installation: install dldl_fast again"
    return _load("_C_cuda", MIN_TORCH_CUDA, build_info().no_cuda or missing)


cuda_load_error = (
    load_cuda()
    if torch.version.cuda is not None
    else f"torch {torch.__version__} is built without CUDA: install one that is"
)


def find_triton() -> str | None:
    """Why Triton cannot serve, or None; it is not imported for that."""
    if importlib.util.find_spec("triton") is None:
        return (
            "Triton is not installed: `pip install triton` (for Linux; comes with torch for CUDA)"
        )
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return None  # under another name, as beside a nightly build of torch
    if _is_older(version, MIN_TRITON):
        needed = ".".join(map(str, MIN_TRITON))
        return (
            f"it needs triton >= {needed}, this is {version}: install torch >= 2.8, which has one"
        )
    return None


triton_load_error = find_triton()
# TRITON_INTERPRET=1 runs its kernels without a GPU, for those who look for a mistake.
TRITON_DEVICES = ("cuda", "cpu") if os.environ.get("TRITON_INTERPRET") == "1" else ("cuda",)

compiled_ops = define("dldl_fast")
triton_ops = define("dldl_fast_triton")
implement("dldl_fast_triton", "dldl_fast.triton", TRITON_DEVICES)


def label_distribution_loss(
    logits: Tensor,
    target: Row,
    sigma: float | Tensor,
    weight: Row,
    target_distribution: Tensor | None,
    labels: Tensor,
    step: float,
    options: LossOptions,
    return_terms: bool,
    ops: Ops,
) -> tuple[Tensor, Tensor | None]:
    """Loss and, if asked for, float64 terms [3, N]; arguments as in the reference."""
    number, rows = (0.0, sigma) if isinstance(sigma, Tensor) else (sigma, None)
    validate = options.validates(logits.is_cpu)
    inputs = (target, number, rows, weight, target_distribution, labels, step)
    others = (*inputs, *options.codes, validate)
    if torch.compiler.is_compiling():
        loss, _, _, terms = ops.label_distribution_loss(logits, *others, return_terms, False)
        return loss, terms
    try:
        if logits.requires_grad and torch.is_grad_enabled():
            result = _LabelDistributionLoss.apply(  # type: ignore[no-untyped-call]
                logits, others, return_terms, ops
            )
            return result if return_terms else (result, None)
        op = ops.label_distribution_loss
        loss, _, _, terms = _below_autograd(op, logits, *others, return_terms, False)
    except RuntimeError as error:
        if (text := str(error)).startswith(VALUE_ERROR):
            raise ValueError(text.removeprefix(VALUE_ERROR)) from None
        raise
    return loss, terms


def expectation(
    logits: Tensor, labels: Tensor, step: float, return_std: bool, ops: Ops
) -> tuple[Tensor, Tensor | None]:
    """Expectation and, if asked for, standard deviation of logits [N, K], float64 [N]."""
    if torch.compiler.is_compiling():
        return ops.expectation(logits, labels, step, return_std)  # type: ignore[no-any-return]
    if logits.requires_grad and torch.is_grad_enabled():
        result = _Expectation.apply(logits, labels, step, return_std, ops)  # type: ignore[no-untyped-call]
        return result if return_std else (result, None)
    return _below_autograd(ops.expectation, logits, labels, step, return_std)  # type: ignore[no-any-return]


def hybrid_pool2d(x: Tensor, kernel_size: int, ops: Ops) -> Tensor:
    """Mean over the windows' maxima of x [N, C, H, W]."""
    needs_grad = x.requires_grad and torch.is_grad_enabled()
    pooled: Tensor = ops.hybrid_pool2d(x, kernel_size, needs_grad)[0]
    return pooled


# The kernel's way to say that an error is about a value given by the user.
VALUE_ERROR = "ValueError: "


def _below_autograd(op: Any, *args: Any) -> Any:
    # The formulas registered for the ops would only cost time here.
    with torch._C._AutoDispatchBelowAutograd():
        return op(*args)


class _LabelDistributionLoss(torch.autograd.Function):
    """Eager mode: forward writes the gradient, backward scales it in place and gives it away."""

    # Only the logits are differentiated: everything else travels in one tuple, and terms are
    # returned only if asked for, since every argument and result costs time.
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, others: tuple[Any, ...], return_terms: bool, ops: Ops
    ) -> Tensor | tuple[Tensor, Tensor]:
        loss: Tensor
        loss, ctx.grad_logits, ctx.scale, terms = _below_autograd(
            ops.label_distribution_loss, logits, *others, return_terms, True
        )
        save_inputs(ctx, logits, others)
        ctx.ops = ops
        ctx.is_final = ctx.scale is None and loss.dim() == 0 and others[3] is None
        ctx.set_materialize_grads(False)
        if not return_terms:
            return loss
        ctx.mark_non_differentiable(terms)
        return loss, terms

    @staticmethod
    def backward(
        ctx: Any, grad_loss: Tensor | None, *_: None
    ) -> tuple[Tensor | None, None, None, None]:
        if grad_loss is None:
            return None, None, None, None
        grad_logits, ctx.grad_logits = ctx.grad_logits, None
        if grad_logits is None or torch.is_grad_enabled():
            # A second backward pass, or one that is itself recorded (create_graph=True).
            grad_logits = recompute(ctx.ops, ctx, grad_loss)
        elif not (ctx.is_final and grad_loss.is_cpu and grad_loss.item() == 1):
            ctx.ops.scale_rows_(grad_logits, grad_loss, ctx.scale, ctx.saved_tensors[3])
        return grad_logits, None, None, None


class _Expectation(torch.autograd.Function):
    """Eager mode: the same formula as registered for the op, called in less time."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, step: float, return_std: bool, ops: Ops
    ) -> Tensor | tuple[Tensor, Tensor]:
        mean, std = _below_autograd(ops.expectation, logits, labels, step, return_std)
        ctx.save_for_backward(logits, labels)
        ctx.step = step
        ctx.ops = ops
        ctx.set_materialize_grads(False)
        return (mean, std) if return_std else mean

    @staticmethod
    def backward(
        ctx: Any, grad_mean: Tensor | None, grad_std: Tensor | None = None
    ) -> tuple[Tensor, None, None, None, None]:
        op = ctx.ops.expectation_backward
        args = grad_mean, grad_std, *ctx.saved_tensors, ctx.step
        if torch.is_grad_enabled():  # create_graph=True: a second derivative has to raise
            return op(*args), None, None, None, None
        return _below_autograd(op, *args), None, None, None, None
