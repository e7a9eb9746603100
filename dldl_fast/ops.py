"""The compiled ops: loading the library, shapes for tracing, and autograd.

An op is called by one path in eager mode and by another under torch.compile:

- eager: `_LabelDistributionLoss` lets the forward op write the gradient and hands that buffer over
  in the backward pass, scaled in place. Nothing of size N x K is kept or computed a second time.
- torch.compile, and a direct call of the op: the formula registered below recomputes the gradient
  in the backward op, since a compiler may neither see a mutated buffer nor run backward once only.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from dldl_fast.build_info import build_info
from dldl_fast.options import REDUCTIONS, LossOptions

MIN_TORCH = (2, 10)
MIN_TORCH_CUDA = (2, 13)

_Row = Tensor | None


def library_file(library: str) -> str | None:
    """Path of a compiled library of this package, or None if it was not built."""
    spec = importlib.util.find_spec(f"dldl_fast.{library}")
    return None if spec is None else spec.origin


def _load(library: str, needed: tuple[int, int], missing: str) -> str | None:
    """Load a compiled library; return why that failed, or None."""
    path = library_file(library)
    if path is None:
        return missing
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < needed:
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


def label_distribution_loss(
    logits: Tensor,
    target: _Row,
    sigma: float | Tensor,
    weight: _Row,
    target_distribution: Tensor | None,
    labels: Tensor,
    step: float,
    options: LossOptions,
    return_terms: bool,
) -> tuple[Tensor, Tensor | None]:
    """Loss and, if asked for, float64 terms [3, N]; arguments as in the reference."""
    number, rows = (0.0, sigma) if isinstance(sigma, Tensor) else (sigma, None)
    validate = options.validates(logits.is_cpu)
    inputs = (target, number, rows, weight, target_distribution, labels, step)
    others = (*inputs, *options.codes, validate)
    if torch.compiler.is_compiling():
        loss, _, _, terms = torch.ops.dldl_fast.label_distribution_loss(
            logits, *others, return_terms, False
        )
        return loss, terms
    try:
        if logits.requires_grad and torch.is_grad_enabled():
            result = _LabelDistributionLoss.apply(  # type: ignore[no-untyped-call]
                logits, others, return_terms
            )
            return result if return_terms else (result, None)
        loss, _, _, terms = _below_autograd(_loss_op, logits, *others, return_terms, False)
    except RuntimeError as error:
        if (text := str(error)).startswith(VALUE_ERROR):
            raise ValueError(text.removeprefix(VALUE_ERROR)) from None
        raise
    return loss, terms


def expectation(
    logits: Tensor, labels: Tensor, step: float, return_std: bool
) -> tuple[Tensor, Tensor | None]:
    """Expectation and, if asked for, standard deviation of logits [N, K], float64 [N]."""
    if torch.compiler.is_compiling():
        return torch.ops.dldl_fast.expectation(logits, labels, step, return_std)  # type: ignore[no-any-return]
    if logits.requires_grad and torch.is_grad_enabled():
        result = _Expectation.apply(logits, labels, step, return_std)  # type: ignore[no-untyped-call]
        return result if return_std else (result, None)
    return _below_autograd(_expectation_op, logits, labels, step, return_std)  # type: ignore[no-any-return]


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
        ctx: Any, logits: Tensor, others: tuple[Any, ...], return_terms: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        loss: Tensor
        loss, ctx.grad_logits, ctx.scale, terms = _below_autograd(
            _loss_op, logits, *others, return_terms, True
        )
        _save(ctx, logits, others)
        ctx.is_final = ctx.scale is None and loss.dim() == 0 and others[3] is None
        ctx.set_materialize_grads(False)
        if not return_terms:
            return loss
        ctx.mark_non_differentiable(terms)
        return loss, terms

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor | None, *_: None) -> tuple[Tensor | None, None, None]:
        if grad_loss is None:
            return None, None, None
        grad_logits, ctx.grad_logits = ctx.grad_logits, None
        if grad_logits is None or torch.is_grad_enabled():
            # A second backward pass, or one that is itself recorded (create_graph=True).
            grad_logits = _recompute(ctx, grad_loss)
        elif not (ctx.is_final and grad_loss.is_cpu and grad_loss.item() == 1):
            _scale(grad_logits, grad_loss, ctx.scale, ctx.saved_tensors[3])
        return grad_logits, None, None


def _save(ctx: Any, logits: Tensor, others: tuple[Any, ...]) -> None:
    target, number, sigma, weight, target_distribution, labels, *settings = others
    ctx.save_for_backward(logits, target, sigma, weight, target_distribution)
    ctx.settings = number, labels, settings


def _recompute(ctx: Any, grad_loss: Tensor) -> Tensor:
    logits, target, sigma, weight, target_distribution = ctx.saved_tensors
    number, labels, settings = ctx.settings
    return torch.ops.dldl_fast.label_distribution_loss_backward(  # type: ignore[no-any-return]
        grad_loss, logits, target, number, sigma, weight, target_distribution, labels, *settings
    )


class _Expectation(torch.autograd.Function):
    """Eager mode: the same formula as registered for the op, called in less time."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, step: float, return_std: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        mean, std = _below_autograd(_expectation_op, logits, labels, step, return_std)
        ctx.save_for_backward(logits, labels)
        ctx.step = step
        ctx.set_materialize_grads(False)
        return (mean, std) if return_std else mean

    @staticmethod
    def backward(
        ctx: Any, grad_mean: Tensor | None, grad_std: Tensor | None = None
    ) -> tuple[Tensor, None, None, None]:
        args = grad_mean, grad_std, *ctx.saved_tensors, ctx.step
        if torch.is_grad_enabled():  # create_graph=True: a second derivative has to raise
            return _expectation_backward_op(*args), None, None, None
        return _below_autograd(_expectation_backward_op, *args), None, None, None


def _register() -> None:
    """Shapes for tracing, and autograd for the ops themselves."""
    library = "dldl_fast"

    @torch.library.register_fake(f"{library}::label_distribution_loss")
    def _(logits: Tensor, *args: Any) -> tuple[Tensor | None, ...]:
        *inputs, return_terms, needs_grad = args
        weight, reduction, ignore_nan = inputs[3], REDUCTIONS[inputs[13]], inputs[15]
        n = logits.shape[0]
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        scale_later = logits.dtype == torch.float16 or (
            reduction == "mean" and (weight is not None or ignore_nan)
        )
        return (
            logits.new_empty((n,) if reduction == "none" else (), dtype=dtype),
            logits.new_empty(logits.shape) if needs_grad else None,
            logits.new_empty((), dtype=torch.float64) if scale_later else None,
            logits.new_empty((3, n), dtype=torch.float64) if return_terms else None,
        )

    @torch.library.register_fake(f"{library}::label_distribution_loss_backward")
    def _(grad_loss: Tensor, logits: Tensor, *args: Any) -> Tensor:
        return logits.new_empty(logits.shape)

    @torch.library.register_fake(f"{library}::scale_rows_")
    def _(grad_logits: Tensor, grad_loss: Tensor, scale: Tensor | None, weight: _Row) -> None:
        return None

    @torch.library.register_fake(f"{library}::expectation")
    def _(
        logits: Tensor, labels: Tensor, step: float, return_std: bool
    ) -> tuple[Tensor, Tensor | None]:
        rows = logits.shape[:1]
        return (
            logits.new_empty(rows, dtype=torch.float64),
            logits.new_empty(rows, dtype=torch.float64) if return_std else None,
        )

    @torch.library.register_fake(f"{library}::expectation_backward")
    def _(grad_mean: _Row, grad_std: _Row, logits: Tensor, labels: Tensor, step: float) -> Tensor:
        return logits.new_empty(logits.shape)

    def loss_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        logits, *others = inputs
        _save(ctx, logits, tuple(others[:-2]))
        ctx.mark_non_differentiable(*(t for t in output[1:] if t is not None))

    def loss_backward(ctx: Any, grad_loss: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        # Of 20 arguments the first one is differentiated.
        return (_recompute(ctx, grad_loss), *[None] * 19)

    torch.library.register_autograd(
        f"{library}::label_distribution_loss", loss_backward, setup_context=loss_setup
    )

    def expectation_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.step = inputs[2]

    def expectation_backward(
        ctx: Any, grad_mean: _Row, grad_std: _Row
    ) -> tuple[Tensor, None, None, None]:
        grad_logits = _expectation_backward_op(grad_mean, grad_std, *ctx.saved_tensors, ctx.step)
        return grad_logits, None, None, None

    torch.library.register_autograd(
        f"{library}::expectation", expectation_backward, setup_context=expectation_setup
    )

    def no_double_backward(name: str) -> None:
        def raise_error(ctx: Any, *grads: Tensor) -> None:
            raise RuntimeError(
                f"double backward through {name} is not supported: its gradient is computed by a "
                "kernel that has no derivative of its own; use backend='reference' for gradient "
                "penalties and second derivatives"
            )

        torch.library.register_autograd(f"{library}::{name}_backward", raise_error)

    no_double_backward("label_distribution_loss")
    no_double_backward("expectation")


if load_error is None:
    _register()
    # Bound once: looking an overload up costs more than a small kernel.
    _loss_op = torch.ops.dldl_fast.label_distribution_loss.default
    _expectation_op = torch.ops.dldl_fast.expectation.default
    _expectation_backward_op = torch.ops.dldl_fast.expectation_backward.default
    _scale = torch.ops.dldl_fast.scale_rows_.default
