"""The ops: their schemas, shapes for tracing, and autograd for a direct call or torch.compile.

Every op exists in two namespaces with one schema: `dldl_fast`, the compiled kernels of csrc/, and
`dldl_fast_triton`, those of dldl_fast/triton.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dldl_fast.options import REDUCTIONS

Row = Tensor | None

_LOSS_INPUTS = (
    "Tensor logits, Tensor? target, float sigma_number, Tensor? sigma, Tensor? weight, "
    "Tensor? target_distribution, Tensor labels, float label_step, float lambda_, "
    "float ld_weight, float variance_weight, int kind, int divergence, int regression, "
    "float smooth_l1_beta, int reduction, int out_of_range, bool ignore_nan, bool validate"
)

# label_step is the distance of the labels where they are known to be equally spaced, else 0: on a
# GPU finding out would take a kernel of its own.
SCHEMAS = {
    # The loss as reduced; the gradient [N, K] if needs_grad, before weights; the factor that it
    # still lacks, None where it lacks none; divergence, regression and expectation of each row,
    # [3, N], if return_terms.
    "label_distribution_loss": f"({_LOSS_INPUTS}, bool return_terms, bool needs_grad) -> "
    "(Tensor loss, Tensor? grad_logits, Tensor? scale, Tensor? terms)",
    "label_distribution_loss_backward": f"(Tensor grad_loss, {_LOSS_INPUTS}) -> Tensor",
    # grad_logits[i] *= grad_loss * scale * weight[i]
    "scale_rows_": "(Tensor(a!) grad_logits, Tensor grad_loss, Tensor? scale, Tensor? weight) "
    "-> ()",
    # The standard deviation is None unless return_std.
    "expectation": "(Tensor logits, Tensor labels, float label_step, bool return_std) -> "
    "(Tensor mean, Tensor? std)",
    "expectation_backward": "(Tensor? grad_mean, Tensor? grad_std, Tensor logits, Tensor labels, "
    "float label_step) -> Tensor",
    # Which value each window chose, if needs_grad: i * kernel_size + j in choice_bits(kernel_size)
    # bits. Windows are in the order of their values in memory; earlier ones in lower bits.
    "hybrid_pool2d": "(Tensor x, int kernel_size, bool needs_grad) -> "
    "(Tensor pooled, Tensor? choices)",
    "hybrid_pool2d_backward": "(Tensor grad_pooled, Tensor choices, SymInt height, SymInt width, "
    "int kernel_size, bool channels_last) -> Tensor",
}


class Ops(NamedTuple):
    """The ops of one namespace, looked up once: that costs more than a small kernel."""

    label_distribution_loss: Any
    label_distribution_loss_backward: Any
    scale_rows_: Any
    expectation: Any
    expectation_backward: Any
    hybrid_pool2d: Any
    hybrid_pool2d_backward: Any


MAX_KERNEL_SIZE = 65536
"""Height and width of a window of hybrid pooling: its choice has 32 bits."""


def choice_bits(kernel_size: int) -> int:
    """Bits that hold the choice of a window, a number below kernel_size^2."""
    return next(bits for bits in (2, 4, 8, 16, 32) if kernel_size**2 <= 2**bits)


def choice_bytes(n_windows: int, kernel_size: int) -> int:
    """Bytes of the choices of all windows."""
    return (n_windows * choice_bits(kernel_size) + 7) // 8


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel are neighbours; else the op works in NCHW order."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def define(namespace: str) -> Ops:
    """Define the ops of a namespace; their kernels are registered elsewhere."""
    library = torch.library.Library(namespace, "DEF")
    _kept.append(library)
    for name, schema in SCHEMAS.items():
        library.define(name + schema)
    ops = Ops(*(getattr(getattr(torch.ops, namespace), name).default for name in SCHEMAS))
    _register_shapes(namespace)
    _register_autograd(namespace, ops)
    return ops


def implement(namespace: str, module: str, device_types: tuple[str, ...]) -> None:
    """Register the functions of a module as kernels; it is imported when the first one runs."""
    library = torch.library.Library(namespace, "IMPL")
    _kept.append(library)
    for name in SCHEMAS:
        for device_type in device_types:
            library.impl(name, _imported_late(module, name), device_type.upper())


_kept: list[torch.library.Library] = []  # what a Library registers ends with it


def _imported_late(module: str, name: str) -> Callable[..., Any]:
    def kernel(*args: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args)

    return kernel


def _register_shapes(namespace: str) -> None:
    @torch.library.register_fake(f"{namespace}::label_distribution_loss")
    def _(logits: Tensor, *args: Any) -> tuple[Tensor | None, ...]:
        *inputs, return_terms, needs_grad = args
        weight, reduction, ignore_nan = inputs[3], REDUCTIONS[inputs[14]], inputs[16]
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

    @torch.library.register_fake(f"{namespace}::label_distribution_loss_backward")
    def _(grad_loss: Tensor, logits: Tensor, *args: Any) -> Tensor:
        return logits.new_empty(logits.shape)

    @torch.library.register_fake(f"{namespace}::scale_rows_")
    def _(grad_logits: Tensor, grad_loss: Tensor, scale: Tensor | None, weight: Row) -> None:
        return None

    @torch.library.register_fake(f"{namespace}::expectation")
    def _(
        logits: Tensor, labels: Tensor, step: float, return_std: bool
    ) -> tuple[Tensor, Tensor | None]:
        rows = logits.shape[:1]
        return (
            logits.new_empty(rows, dtype=torch.float64),
            logits.new_empty(rows, dtype=torch.float64) if return_std else None,
        )

    @torch.library.register_fake(f"{namespace}::expectation_backward")
    def _(grad_mean: Row, grad_std: Row, logits: Tensor, labels: Tensor, step: float) -> Tensor:
        return logits.new_empty(logits.shape)

    @torch.library.register_fake(f"{namespace}::hybrid_pool2d")
    def _(x: Tensor, kernel_size: int, needs_grad: bool) -> tuple[Tensor, Tensor | None]:
        n, c, height, width = x.shape
        windows = n * c * (height // kernel_size) * (width // kernel_size)
        n_bytes = choice_bytes(windows, kernel_size)
        choices = x.new_empty((n_bytes,), dtype=torch.uint8) if needs_grad else None
        return x.new_empty((n, c)), choices

    @torch.library.register_fake(f"{namespace}::hybrid_pool2d_backward")
    def _(
        grad_pooled: Tensor, choices: Tensor, height: int, width: int, k: int, channels_last: bool
    ) -> Tensor:
        n, c = grad_pooled.shape
        if channels_last:
            return grad_pooled.new_empty((n, height, width, c)).permute(0, 3, 1, 2)
        return grad_pooled.new_empty((n, c, height, width))


def save_inputs(ctx: Any, logits: Tensor, others: tuple[Any, ...]) -> None:
    """Keep what `recompute` needs."""
    target, number, sigma, weight, target_distribution, labels, *settings = others
    ctx.save_for_backward(logits, target, sigma, weight, target_distribution)
    ctx.settings = number, labels, settings


def recompute(ops: Ops, ctx: Any, grad_loss: Tensor) -> Tensor:
    """The gradient of the loss from its inputs."""
    logits, target, sigma, weight, target_distribution = ctx.saved_tensors
    number, labels, settings = ctx.settings
    return ops.label_distribution_loss_backward(  # type: ignore[no-any-return]
        grad_loss, logits, target, number, sigma, weight, target_distribution, labels, *settings
    )


def _register_autograd(namespace: str, ops: Ops) -> None:
    def loss_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        logits, *others = inputs
        save_inputs(ctx, logits, tuple(others[:-2]))
        ctx.mark_non_differentiable(*(t for t in output[1:] if t is not None))

    def loss_backward(ctx: Any, grad_loss: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        # Of 21 arguments the first one is differentiated.
        return (recompute(ops, ctx, grad_loss), *[None] * 20)

    torch.library.register_autograd(
        f"{namespace}::label_distribution_loss", loss_backward, setup_context=loss_setup
    )

    def expectation_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.step = inputs[2]

    def expectation_backward(
        ctx: Any, grad_mean: Row, grad_std: Row
    ) -> tuple[Tensor, None, None, None]:
        grad_logits = ops.expectation_backward(grad_mean, grad_std, *ctx.saved_tensors, ctx.step)
        return grad_logits, None, None, None

    torch.library.register_autograd(
        f"{namespace}::expectation", expectation_backward, setup_context=expectation_setup
    )

    def pool_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        x, kernel_size, _ = inputs
        ctx.save_for_backward(output[1])
        ctx.others = x.shape[2], x.shape[3], kernel_size, is_channels_last(x)
        if output[1] is not None:
            ctx.mark_non_differentiable(output[1])

    def pool_backward(ctx: Any, grad_pooled: Tensor, _: Row) -> tuple[Tensor, None, None]:
        (choices,) = ctx.saved_tensors
        if choices is None:
            raise RuntimeError(
                f"{namespace}::hybrid_pool2d kept nothing for backward: give it needs_grad=True"
            )
        return ops.hybrid_pool2d_backward(grad_pooled, choices, *ctx.others), None, None

    torch.library.register_autograd(
        f"{namespace}::hybrid_pool2d", pool_backward, setup_context=pool_setup
    )

    def no_double_backward(name: str) -> None:
        def raise_error(ctx: Any, *grads: Tensor) -> None:
            raise RuntimeError(
                f"double backward through {name} is not supported: its gradient is computed by a "
                "kernel that has no derivative of its own; use backend='reference' for gradient "
                "penalties and second derivatives"
            )

        torch.library.register_autograd(f"{namespace}::{name}_backward", raise_error)

    no_double_backward("label_distribution_loss")
    no_double_backward("expectation")
    no_double_backward("hybrid_pool2d")
