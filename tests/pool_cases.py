"""What the tests of hybrid pooling share: images, and torch's max_pool2d as the oracle."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dldl_fast import reference
from dldl_fast.schema import choice_bits

LAYOUTS = ("nchw", "channels_last")
Shape = tuple[int, int, int, int]

# Kernel sizes and shapes, by the kernels that they reach in NCHW and with channels last. float64
# has no kernel for packets of channels.
PROBLEMS = [
    *((1, (2, 3, 3, 4)), (3, (2, 3, 10, 7)), (5, (1, 3, 17, 11)), (17, (1, 2, 40, 35))),  # any, any
    (2, (2, 6, 5, 4)),  # whole planes, 256 of them at once; any
    (2, (2, 72, 7, 7)),  # a tile that is full and one that is not; packets
    (2, (1, 40, 14, 14)),
]
LARGE_PLANES = [
    (1, 10, 8, 8),  # not large, but a warp has only one at a time
    (1, 3, 35, 47),  # planes that share bytes, in one strip each
    (1, 2, 70, 131),  # in two strips
    (1, 2, 3, 2800),  # rows too long for a tile: any
]


def images(shape: Shape, dtype: torch.dtype, layout: str = "nchw", offset: int = 0) -> Tensor:
    """Few different values, so that windows have ties; some -inf and, in one plane, NaN.

    Args:
        shape: N, C, H, W.
        dtype: Their type.
        layout: One of `LAYOUTS`.
        offset: How many values of its storage lie in front of it.
    """
    n, c, height, width = shape
    x = torch.randint(-9, 10, shape) / 4
    x.view(-1)[torch.rand(x.numel()) < 0.1] = -torch.inf
    first = x[0, 0]
    first[torch.rand(height, width) < 0.4] = torch.nan
    last = x[-1, -1]
    last[: height // 2] = -torch.inf  # whole windows, as a rule
    in_memory = x if layout == "nchw" else x.permute(0, 2, 3, 1)
    storage = torch.full((offset + x.numel(),), torch.nan, dtype=dtype)
    storage[offset:] = in_memory.reshape(-1)
    if layout == "nchw":
        return storage[offset:].view(n, c, height, width)
    return storage[offset:].view(n, height, width, c).permute(0, 3, 1, 2)


class Expected(NamedTuple):
    """What the ops have to return."""

    pooled: Tensor  # float64
    choices: Tensor
    grad: Tensor  # in the type of the images


def expected(x: Tensor, kernel_size: int, grad_pooled: Tensor) -> Expected:
    """By torch's max_pool2d in float64.

    Args:
        x: Images.
        kernel_size: Of the windows.
        grad_pooled: [N, C] in the type of x.
    """
    exact = x.double().contiguous()
    largest, places = torch.nn.functional.max_pool2d(exact, kernel_size, return_indices=True)
    h, w = largest.shape[2:]
    width = x.shape[3]
    i = places // width - kernel_size * torch.arange(h)[:, None]
    j = places % width - kernel_size * torch.arange(w)
    codes = i * kernel_size + j
    if not x.is_contiguous():
        codes = codes.permute(0, 2, 3, 1)
    gradient = grad_pooled.to(reference.accumulation_dtype(x)) / (h * w)
    each = gradient.to(x.dtype)[:, :, None].expand(*x.shape[:2], h * w)
    grad = torch.zeros(x.shape, dtype=x.dtype).flatten(2).scatter_(2, places.flatten(2), each)
    return Expected(
        largest.mean((2, 3)),
        packed(codes.reshape(-1), choice_bits(kernel_size)),
        grad.view(x.shape),
    )


def packed(codes: Tensor, bits: int) -> Tensor:
    """Numbers of so many bits each, the first ones in the lowest bits of a byte."""
    of_each = (codes[:, None] >> torch.arange(bits)) & 1
    flat = torch.nn.functional.pad(of_each.reshape(-1), (0, -codes.numel() * bits % 8))
    return (flat.view(-1, 8) << torch.arange(8)).sum(1).to(torch.uint8)


def assert_pooled(got: Tensor, want: Tensor) -> None:
    """Equal but for one rounding and what summing in the accumulation type costs."""
    eps = torch.finfo(got.dtype).eps
    torch.testing.assert_close(got.double(), want, rtol=eps, atol=4 * eps, equal_nan=True)


def assert_pooling(
    launchers: Any, shape: Shape, kernel_size: int, dtype: torch.dtype, layout: str = "nchw",
    offset: int = 0,
) -> None:  # fmt: skip
    """Values, choices and gradients of launchers as those of tests/simt/launchers.py."""
    x = images(shape, dtype, layout, offset)
    grad_pooled = torch.randn(offset + shape[0] * shape[1]).to(dtype)[offset:].view(shape[:2])
    want = expected(x, kernel_size, grad_pooled)
    pooled, choices = launchers.pool(x, kernel_size, needs_grad=True)
    assert_pooled(pooled, want.pooled)
    assert torch.equal(choices, want.choices)
    grad = launchers.pool_backward(grad_pooled, choices, *shape[2:], kernel_size, layout != "nchw")
    assert torch.equal(grad, want.grad)
    assert grad.stride() == x.stride()
    again, none = launchers.pool(x, kernel_size, needs_grad=False)
    assert none is None
    assert torch.equal(again.nan_to_num(), pooled.nan_to_num())
