"""Hybrid pooling against torch's max_pool2d and mean, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dldl_fast import HybridPool2d
from dldl_fast.functional import hybrid_pool2d
from dldl_fast.schema import choice_bits, is_channels_last
from tests.cases import DTYPES, needs_cpp

INF, NAN = float("inf"), float("nan")
LAYOUTS = {
    "contiguous": lambda x: x.contiguous(),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    # Neither: copied.
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every second column": lambda x: x.repeat_interleave(2, 3)[..., ::2],
}
SIZES = {
    # N, C, H, W, kernel size
    "one window": (2, 3, 2, 2, 2),
    "fewer windows than lanes, last row and column left out": (3, 5, 7, 7, 2),
    "the paper's": (2, 33, 14, 14, 2),
    "several vectors and a rest": (1, 2, 6, 45, 2),
    "whole vectors, a column left out": (2, 19, 4, 33, 2),
    "average": (2, 9, 3, 5, 1),
    "4 bits a choice": (2, 9, 10, 11, 3),
    "8 bits a choice": (3, 3, 11, 16, 5),
    "16 bits a choice": (2, 3, 36, 19, 17),
    "32 bits a choice": (1, 2, 258, 257, 257),
}


def numbers(shape: tuple[int, ...]) -> Tensor:
    """Small integers, so that windows have ties."""
    return torch.randint(-2, 3, shape).double()


def oracle(x: Tensor, kernel_size: int, grad: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().double().contiguous().requires_grad_()
    pooled = F.max_pool2d(x, kernel_size).mean((2, 3))
    pooled.backward(grad.double())
    assert x.grad is not None
    return pooled.detach(), x.grad


def pool_and_grad(x: Tensor, grad: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    pooled = hybrid_pool2d(x, *args, **kwargs)
    pooled.backward(grad)
    assert x.grad is not None
    return pooled.detach(), x.grad


def assert_pooled(x: Tensor, kernel_size: int, backend: str) -> None:
    """Values to the last digit or two, gradients exactly where they belong."""
    grad = torch.randn(x.shape[:2]).to(x.dtype)
    got, got_grad = pool_and_grad(x, grad, kernel_size, backend=backend)
    want, want_grad = oracle(x, kernel_size, grad)
    assert got.dtype == got_grad.dtype == x.dtype
    epsilon = torch.finfo(x.dtype).eps
    tol = {"rtol": 4 * epsilon, "atol": 4 * torch.finfo(torch.float32).eps, "equal_nan": True}
    torch.testing.assert_close(got.double(), want, **tol)
    torch.testing.assert_close(got_grad.double(), want_grad, **tol)
    assert torch.equal(got_grad != 0, want_grad.to(x.dtype) != 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients(backend: str, size: str, dtype: torch.dtype, layout: str) -> None:
    *shape, kernel_size = SIZES[size]
    for values in (torch.randn(shape), numbers(tuple(shape))):
        assert_pooled(LAYOUTS[layout](values.to(dtype)), kernel_size, backend)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_nan_and_infinities(backend: str, kernel_size: int, layout: str) -> None:
    """A NaN makes its plane NaN; the last one of a window gets the gradient, as in torch."""
    x = torch.randn(4, 3, 12, 14)
    x[0, 1, 4:6, 3:6] = NAN
    x[1, :, :, 5] = INF
    x[2] = -INF
    x[3, 2, 0, 0], x[3, 2, 1, 1] = NAN, 1e30
    x = LAYOUTS[layout](x)
    assert_pooled(x, kernel_size, backend)
    got = hybrid_pool2d(x, kernel_size, backend=backend)
    assert got.isnan().nonzero().tolist() == [[0, 1], [3, 2]]
    assert got[2].tolist() == [-INF] * 3


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_one_nan_anywhere_in_a_window(backend: str, layout: str) -> None:
    """Each corner of a window, in whole vectors of windows and in those that a row ends in."""
    x = torch.randn(2, 8, 6, 22)  # 11 windows side by side
    for plane in range(8):
        column = 4 if plane < 4 else 18
        x[:, plane, 2 + plane // 2 % 2, column + plane % 2] = NAN
    assert_pooled(LAYOUTS[layout](x), 2, backend)


def test_storage_offset(backend: str) -> None:
    """Views whose first value lies anywhere in a vector."""
    for layout in ("contiguous", "channels_last"):
        x = LAYOUTS[layout](torch.randn(5, 3, 5, 9))
        assert_pooled(x[1:], 2, backend)
        assert_pooled(x[3:4], 2, backend)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (0, 0, 5, 2)])
def test_nothing_to_pool(backend: str, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, requires_grad=True)
    pooled = hybrid_pool2d(x, backend=backend)
    pooled.sum().backward()
    assert pooled.shape == shape[:2]
    assert x.grad is not None and x.grad.shape == shape


def test_many_planes_on_two_threads() -> None:
    """Every thread begins at a byte of the choices, also where a plane does not end at one."""
    torch.set_num_threads(2)  # the fixture one_thread sets it back
    for layout in ("contiguous", "channels_last"):
        for kernel_size in (2, 3):
            x = LAYOUTS[layout](torch.randn(41, 37, 7, 7))
            assert_pooled(x, kernel_size, "auto")


def test_large_planes_are_as_exact_as_small_ones(backend: str) -> None:
    x = torch.rand(1, 2, 2048, 2048) + 1
    for layout in ("contiguous", "channels_last"):
        got = hybrid_pool2d(LAYOUTS[layout](x), backend=backend)
        torch.testing.assert_close(got.double(), oracle(x, 2, got)[0], rtol=1e-6, atol=0)


def test_half_sums_do_not_overflow(backend: str) -> None:
    x = torch.full((1, 1, 40, 40), 6e4, dtype=torch.float16)
    assert hybrid_pool2d(x, backend=backend).item() == x[0, 0, 0, 0].item()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_gradient_has_the_layout_of_its_input(backend: str, layout: str) -> None:
    x = LAYOUTS[layout](torch.randn(2, 8, 6, 6))
    _, grad = pool_and_grad(x, torch.ones(2, 8), backend=backend)
    assert is_channels_last(grad) == (layout == "channels_last")


@needs_cpp
@pytest.mark.parametrize(
    ("kernel_size", "bits"), [(1, 2), (2, 2), (3, 4), (4, 4), (5, 8), (16, 8), (17, 16), (257, 32)]
)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_choices(layout: str, kernel_size: int, bits: int) -> None:
    """They are those of max_pool2d, in the fewest bits; nothing else is kept for backward."""
    assert choice_bits(kernel_size) == bits
    size = 2 * kernel_size + 1
    x = LAYOUTS[layout](numbers((3, 2, size, size)))
    pooled, choices = torch.ops.dldl_fast.hybrid_pool2d(x, kernel_size, True)
    _, indices = F.max_pool2d(x.contiguous(), kernel_size, return_indices=True)
    choice = indices // size % kernel_size * kernel_size + indices % size % kernel_size
    in_memory = choice.permute(0, 2, 3, 1) if layout == "channels_last" else choice
    kept = [(c >> b) & 1 for c in in_memory.flatten().tolist() for b in range(bits)]
    kept += [0] * (-len(kept) % 8)
    want = [sum(bit << i for i, bit in enumerate(kept[b : b + 8])) for b in range(0, len(kept), 8)]
    assert choices.tolist() == want
    assert torch.ops.dldl_fast.hybrid_pool2d(x, kernel_size, False)[1] is None
    tensors = kept_for_backward(lambda x: hybrid_pool2d(x, kernel_size), x)
    assert [t.dtype for t in tensors] == [torch.uint8]
    assert sum(t.numel() for t in tensors) == len(want)


def kept_for_backward(pool: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    tensors: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: tensors.append(t) or t, lambda t: t):
        pool(x.detach().requires_grad_())
    return tensors


@needs_cpp
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("plane", [14, 7, 28])
def test_kept_bytes_beside_the_indices_of_eager(plane: int, layout: str) -> None:
    """At most a twelfth of the int64 indices that max_pool2d keeps."""
    x = LAYOUTS[layout](torch.randn(2, 32, plane, plane))
    ours = kept_for_backward(hybrid_pool2d, x)
    eager = kept_for_backward(lambda x: F.max_pool2d(x, 2).mean((2, 3)), x)
    indices = [t for t in eager if t.dtype == torch.int64]
    assert len(indices) == 1
    assert 12 * sum(t.nbytes for t in ours) <= indices[0].nbytes


def test_gradcheck(backend: str) -> None:
    x = torch.randperm(2 * 3 * 5 * 6).double().reshape(2, 3, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: hybrid_pool2d(x, backend=backend), (x,))


@needs_cpp
def test_double_backward_raises() -> None:
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(hybrid_pool2d(x).square().sum(), x, create_graph=True)
    with pytest.raises(
        RuntimeError, match="double backward through hybrid_pool2d .* backend='reference'"
    ):
        grad.sum().backward()


@needs_cpp
def test_op_that_kept_nothing_says_so() -> None:
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    pooled, _ = torch.ops.dldl_fast.hybrid_pool2d(x, 2, False)
    with pytest.raises(RuntimeError, match="give it needs_grad=True"):
        pooled.sum().backward()


def test_backward_twice(backend: str) -> None:
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    pooled = hybrid_pool2d(x, backend=backend).sum()
    first, second = (torch.autograd.grad(pooled, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@needs_cpp
def test_opcheck() -> None:
    ops = torch.ops.dldl_fast
    for layout in ("contiguous", "channels_last"):
        x = LAYOUTS[layout](torch.randn(2, 3, 5, 6))
        torch.library.opcheck(ops.hybrid_pool2d.default, (x.clone().requires_grad_(), 2, True))
        torch.library.opcheck(ops.hybrid_pool2d.default, (x.bfloat16(), 3, False))
        _, choices = ops.hybrid_pool2d(x, 2, True)
        arguments = (torch.randn(2, 3), choices, 5, 6, 2, layout == "channels_last")
        torch.library.opcheck(ops.hybrid_pool2d_backward.default, arguments)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_compile(backend: str, layout: str) -> None:
    """One graph for all sizes."""
    torch._dynamo.reset()

    def step(x: Tensor) -> Tensor:
        return hybrid_pool2d(x.relu(), backend=backend).sin()

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 4, 6, 8), (3, 5, 9, 7)):
        x = LAYOUTS[layout](torch.randn(shape))
        got, want = x.clone().requires_grad_(), x.clone().requires_grad_()
        compiled(got).sum().backward()
        step(want).sum().backward()
        torch.testing.assert_close(got.grad, want.grad)
    torch._dynamo.reset()


@needs_cpp
def test_default_compiler() -> None:
    torch._dynamo.reset()
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), HybridPool2d())
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(torch.compile(net, fullgraph=True)(x), net(x))
    torch._dynamo.reset()


def test_autocast_keeps_the_type_of_what_comes_in(backend: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(2, 3, 4, 4).to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = hybrid_pool2d(x, backend=backend)
        want = F.max_pool2d(x, 2).mean((2, 3))
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("x", "kernel_size", "error", "message"),
    [
        ([1.0], 2, TypeError, "x must be a tensor, got list"),
        (
            torch.zeros(1, 1, 4, 4, dtype=torch.int64),
            2,
            TypeError,
            "x must be float32, .* torch.int64",
        ),
        (torch.zeros(1, 4, 4), 2, ValueError, r"x must have shape \[N, C, H, W\] .* \[1, 4, 4\]"),
        (torch.zeros(1, 1, 1, 4), 2, ValueError, r"H and W >= kernel_size = 2, got \[1, 1, 1, 4\]"),
        (torch.zeros(1, 1, 4, 2), 3, ValueError, r"H and W >= kernel_size = 3, got \[1, 1, 4, 2\]"),
        (torch.zeros(1, 1, 4, 4), 0, ValueError, r"kernel_size must be in \[1, 65536\], got 0"),
        (torch.zeros(1, 1, 4, 4), 2.0, TypeError, "kernel_size must be an int, got 2.0"),
        (torch.zeros(1, 1, 4, 4), True, TypeError, "kernel_size must be an int, got True"),
    ],
)
def test_wrong_arguments(
    backend: str, x: Any, kernel_size: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        hybrid_pool2d(x, kernel_size, backend=backend)


@needs_cpp
def test_ops_check_their_arguments() -> None:
    """Called directly, nothing outside of a tensor is read or written."""
    ops = torch.ops.dldl_fast
    with pytest.raises(RuntimeError, match=r"x must have shape \[N, C, H, W\]"):
        ops.hybrid_pool2d(torch.zeros(2, 4, 4), 2, False)
    with pytest.raises(RuntimeError, match="x must be float32, float64, bfloat16 or float16"):
        ops.hybrid_pool2d(torch.ones(1, 2, 4, 4, dtype=torch.int32), 2, False)
    with pytest.raises(RuntimeError, match="kernel_size must be in"):
        ops.hybrid_pool2d(torch.zeros(1, 2, 4, 4), 0, False)
    grad, choices = torch.zeros(2, 4), torch.zeros(7, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="choices must be the 8 bytes"):
        ops.hybrid_pool2d_backward(grad, choices, 4, 4, 2, False)
    with pytest.raises(RuntimeError, match="height and width must be at least kernel_size = 2"):
        ops.hybrid_pool2d_backward(grad, choices, 4, 1, 2, False)
    with pytest.raises(RuntimeError, match=r"grad_pooled must have shape \[N, C\]"):
        ops.hybrid_pool2d_backward(torch.zeros(2), choices, 4, 4, 2, False)


def test_module(backend: str) -> None:
    pool = HybridPool2d(3, backend=backend)
    x = torch.randn(2, 3, 7, 7)
    torch.testing.assert_close(pool(x), F.max_pool2d(x, 3).mean((2, 3)))
    assert repr(pool) == f"HybridPool2d(kernel_size=3, backend={backend!r})"
    with pytest.raises(ValueError, match="kernel_size must be in"):
        HybridPool2d(-1)
    with pytest.raises(ValueError, match="backend must be one of"):
        HybridPool2d(backend="magic")
