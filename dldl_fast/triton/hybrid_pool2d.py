"""Max over windows of k x k, then the mean over the windows, and its gradient (Section 3.4)."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from dldl_fast.schema import MAX_KERNEL_SIZE, choice_bits, choice_bytes, is_channels_last
from dldl_fast.triton.tiles import device_of

# Of a program, which is one warp: sums over windows are made by shuffles.
_WINDOWS = 256
_CHANNELS, _WINDOWS_OF_CHANNEL = 32, 16
# Of a program of the gradient.
_VALUES = 512
# Beyond it places within a plane or an image are counted in 64 bits.
_MAX_INT32 = 2**31 - 2 * _VALUES


@triton.jit
def _choose(x, place, right, below, exists, K: tl.constexpr):
    """The largest value of each window and its number, as torch's max_pool2d finds them.

    Of equal ones the first, of several NaN the last. `place` is where windows begin, `right` and
    `below` how far neighbours are.
    """
    if x.dtype.element_ty == tl.float64:
        largest = tl.full(place.shape, -float("inf"), tl.float64)
    else:
        largest = tl.full(place.shape, -float("inf"), tl.float32)
    choice = tl.zeros(place.shape, tl.uint32)
    if K <= 3:
        for n in tl.static_range(K * K):
            value = tl.load(x + place + (n // K * below + n % K * right), mask=exists, other=0.0)
            largest, choice = _compare(largest, choice, value.to(largest.dtype), n)
    else:
        for i in range(K):
            for j in range(K):
                value = tl.load(x + place + (i * below + j * right), mask=exists, other=0.0)
                number = (i * K + j).to(tl.uint32)
                largest, choice = _compare(largest, choice, value.to(largest.dtype), number)
    return largest, choice


@triton.jit
def _compare(largest, choice, value, number):
    taken = (value > largest) | (value != value)
    return tl.where(taken, value, largest), tl.where(taken, number, choice).to(tl.uint32)


@triton.jit
def _mean(total, n_windows):
    """`total / n_windows`, rounded to the nearest as torch does."""
    n = tl.cast(n_windows, total.dtype)
    return tl.div_rn(total, n) if total.dtype == tl.float32 else total / n


@triton.jit
def _store_whole_choices(choices, choice, window, exists, BITS: tl.constexpr):
    """Choices of 8 bits or more."""
    for b in tl.static_range(BITS // 8):
        byte = (choice >> (8 * b)).to(tl.uint8)
        tl.store(choices + window * (BITS // 8) + b, byte, mask=exists)


@triton.jit
def _packed(choice, BITS: tl.constexpr):
    """Choices of less than 8 bits, several a byte; neighbours of the last dimension together."""
    PER_BYTE: tl.constexpr = 8 // BITS
    SIZE: tl.constexpr = choice.shape[len(choice.shape) - 1] // PER_BYTE
    if len(choice.shape) == 1:
        several = tl.reshape(choice, [SIZE, PER_BYTE])
        shift = (tl.arange(0, PER_BYTE) * BITS)[None, :]
    else:
        several = tl.reshape(choice, [choice.shape[0], SIZE, PER_BYTE])
        shift = (tl.arange(0, PER_BYTE) * BITS)[None, None, :]
    return tl.sum(several << shift.to(tl.uint32), len(several.shape) - 1).to(tl.uint8)


@triton.jit
def hybrid_pool2d_kernel(
    x,
    pooled,
    choices,
    n_planes,
    height,
    width,
    K: tl.constexpr,
    BITS: tl.constexpr,
    PLANES: tl.constexpr,
    WINDOWS: tl.constexpr,
    INDEX: tl.constexpr,
):
    """PLANES planes, whose choices fill whole bytes; WINDOWS of their windows at a time."""
    w = tl.cast(width // K, INDEX)
    n_windows = tl.cast(height // K, INDEX) * w
    plane0 = tl.program_id(0).to(tl.int64) * PLANES
    x += plane0 * height * width
    planes = tl.cast(tl.minimum(n_planes - plane0, PLANES), INDEX)
    plane = tl.arange(0, PLANES)
    DTYPE: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    sums = tl.zeros([WINDOWS, PLANES], DTYPE)
    for first in range(0, planes * n_windows, WINDOWS):
        window = tl.cast(first, INDEX) + tl.arange(0, WINDOWS)
        exists = window < planes * n_windows
        own, of_plane = window // n_windows, window % n_windows
        row = own * height + of_plane // w * K
        largest, choice = _choose(x, row * width + of_plane % w * K, 1, width, exists, K)
        # Not by a product: NaN of one plane are none of the others'.
        belongs = (own[:, None] == plane[None, :]) & exists[:, None]
        sums += tl.where(belongs, largest[:, None], 0.0)
        if choices is not None:
            number = plane0 * n_windows + first
            if BITS >= 8:
                place = number + tl.arange(0, WINDOWS)
                _store_whole_choices(choices, choice, place, exists, BITS)
            else:
                PER_BYTE: tl.constexpr = 8 // BITS
                byte = tl.arange(0, WINDOWS // PER_BYTE)
                is_byte = first + byte * PER_BYTE < planes * n_windows
                place = choices + number // PER_BYTE + byte
                tl.store(place, _packed(tl.where(exists, choice, 0), BITS), mask=is_byte)
    mean = _mean(tl.sum(sums, 0), n_windows)
    tl.store(pooled + plane0 + plane, mean.to(pooled.dtype.element_ty), mask=plane < planes)


@triton.jit
def hybrid_pool2d_channels_kernel(
    x,
    pooled,
    choices,
    channels,
    height,
    width,
    K: tl.constexpr,
    BITS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WINDOWS: tl.constexpr,
    INDEX: tl.constexpr,
):
    """CHANNELS channels of an image whose channels are beside each other, WINDOWS at a time."""
    w = tl.cast(width // K, INDEX)
    n_windows = tl.cast(height // K, INDEX) * w
    blocks = tl.cdiv(channels, CHANNELS)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    channel0 = tl.program_id(0) % blocks * CHANNELS
    channel = channel0 + tl.arange(0, CHANNELS)
    x += image * height * width * channels
    DTYPE: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    # Windows are summed in parts, so that what rounding costs does not grow with all of them.
    PART: tl.constexpr = 256 * WINDOWS
    sums = tl.zeros([WINDOWS, CHANNELS], DTYPE)
    for begin in range(0, n_windows, PART):
        part = tl.zeros([WINDOWS, CHANNELS], DTYPE)
        for first in range(begin, tl.minimum(begin + PART, n_windows), WINDOWS):
            window = tl.cast(first, INDEX) + tl.arange(0, WINDOWS)
            exists = (window < n_windows)[:, None] & (channel < channels)[None, :]
            pixel = (window // w * K) * width + window % w * K
            place = pixel[:, None] * channels + channel[None, :]
            largest, choice = _choose(x, place, channels, width * channels, exists, K)
            part += tl.where(exists, largest, 0.0)
            if choices is not None:
                number = (image * n_windows + window) * channels
                if BITS >= 8:
                    place = number[:, None] + channel[None, :]
                    _store_whole_choices(choices, choice, place, exists, BITS)
                else:
                    PER_BYTE: tl.constexpr = 8 // BITS
                    byte = channel0 // PER_BYTE + tl.arange(0, CHANNELS // PER_BYTE)
                    place = (number // PER_BYTE)[:, None] + byte[None, :]
                    is_byte = (window < n_windows)[:, None] & (byte * PER_BYTE < channels)[None, :]
                    tl.store(choices + place, _packed(choice, BITS), mask=is_byte)
        sums += part
    mean = _mean(tl.sum(sums, 0), n_windows)
    place = pooled + image * channels + channel
    tl.store(place, mean.to(pooled.dtype.element_ty), mask=channel < channels)


@triton.jit
def hybrid_pool2d_choices_kernel(
    x,
    choices,
    n_windows,
    channels,
    height,
    width,
    K: tl.constexpr,
    BITS: tl.constexpr,
    WINDOWS: tl.constexpr,
):
    """Choices alone, of channels that share bytes with those of the next pixel."""
    number = tl.program_id(0).to(tl.int64) * WINDOWS + tl.arange(0, WINDOWS)
    exists = number < n_windows
    h, w = height // K, width // K
    channel, window = number % channels, number // channels
    j, i, image = window % w, window // w % h, window // w // h
    place = ((image * height + i * K) * width + j * K) * channels + channel
    _, choice = _choose(x, place, channels, width * channels, exists, K)
    choice = tl.where(exists, choice, 0)
    byte = tl.program_id(0).to(tl.int64) * (WINDOWS * BITS // 8) + tl.arange(0, WINDOWS * BITS // 8)
    tl.store(choices + byte, _packed(choice, BITS), mask=byte * (8 // BITS) < n_windows)


@triton.jit
def hybrid_pool2d_backward_kernel(
    grad_pooled,
    choices,
    grad_x,
    n_values,
    channels,
    height,
    width,
    K: tl.constexpr,
    BITS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VALUES: tl.constexpr,
    INDEX: tl.constexpr,
):
    """VALUES neighbouring values of the gradient, in the order of memory."""
    h, w = height // K, width // K
    value0 = tl.program_id(0).to(tl.int64) * VALUES
    part = tl.cast(height, INDEX) * width  # a plane, or an image with its channels
    if CHANNELS_LAST:
        part *= channels
    part0 = value0 // part
    value = tl.cast(value0 - part0 * part, INDEX) + tl.arange(0, VALUES)
    of_part = value % part
    plane = part0 + value // part
    exists = value0 + tl.arange(0, VALUES) < n_values
    if CHANNELS_LAST:
        image, channel, pixel = plane, of_part % channels, of_part // channels
        i, j = pixel // width // K, pixel % width // K
        window = ((image * h + i) * w + j) * channels + channel
        plane = image * channels + channel
    else:
        pixel = of_part
        i, j = pixel // width // K, pixel % width // K
        window = (plane * h + i) * w + j
    has_window = exists & (i < h) & (j < w)
    own = (pixel // width % K * K + pixel % width % K).to(tl.uint32)
    if BITS >= 8:
        choice = tl.zeros([VALUES], tl.uint32)
        for b in tl.static_range(BITS // 8):
            byte = tl.load(choices + window * (BITS // 8) + b, mask=has_window, other=0)
            choice |= byte.to(tl.uint32) << (8 * b)
    else:
        PER_BYTE: tl.constexpr = 8 // BITS
        byte = tl.load(choices + window // PER_BYTE, mask=has_window, other=0).to(tl.uint32)
        shift = (window % PER_BYTE * BITS).to(tl.uint32)
        choice = (byte >> shift) & ((1 << BITS) - 1)
    gradient = tl.load(grad_pooled + plane, mask=has_window, other=0.0)
    if gradient.dtype != tl.float64:
        gradient = gradient.to(tl.float32)
    gradient = _mean(gradient, tl.cast(h, INDEX) * w)
    gradient = tl.where(has_window & (choice == own), gradient, 0.0)
    place = grad_x + value0 + tl.arange(0, VALUES)
    tl.store(place, gradient.to(grad_x.dtype.element_ty), mask=exists)


def hybrid_pool2d(x: Tensor, kernel_size: int, needs_grad: bool) -> tuple[Tensor, Tensor | None]:
    """The op of that name."""
    channels_last = is_channels_last(x)
    x = x if channels_last else x.contiguous()
    n, c, height, width = x.shape
    _check_sizes(height, width, kernel_size)
    n_windows = (height // kernel_size) * (width // kernel_size)
    bits = choice_bits(kernel_size)
    pooled = x.new_empty(n, c)
    choices = None
    if needs_grad:
        choices = x.new_empty(choice_bytes(n * c * n_windows, kernel_size), dtype=torch.uint8)
    if n * c == 0:
        return pooled, choices
    per_byte = max(1, 8 // bits)
    settings = {"K": kernel_size, "BITS": bits, "num_warps": 1}
    with device_of(x):
        if channels_last:
            is_apart = c % per_byte != 0  # then bytes are not those of one pixel
            hybrid_pool2d_channels_kernel[(n * triton.cdiv(c, _CHANNELS),)](
                x, pooled, None if is_apart else choices, c, height, width, CHANNELS=_CHANNELS,
                WINDOWS=_WINDOWS_OF_CHANNEL, INDEX=_index_type(height * width * c), **settings,
            )  # fmt: skip
            if is_apart and choices is not None:
                count = n * c * n_windows
                hybrid_pool2d_choices_kernel[(triton.cdiv(count, _WINDOWS),)](
                    x, choices, count, c, height, width, WINDOWS=_WINDOWS, **settings
                )
        else:
            planes = per_byte // math.gcd(n_windows, per_byte)
            windows = min(_WINDOWS, triton.next_power_of_2(max(planes * n_windows, 32)))
            hybrid_pool2d_kernel[(triton.cdiv(n * c, planes),)](
                x, pooled, choices, n * c, height, width, PLANES=planes, WINDOWS=windows,
                INDEX=_index_type(planes * height * width), **settings,
            )  # fmt: skip
    return pooled, choices


def hybrid_pool2d_backward(
    grad_pooled: Tensor,
    choices: Tensor,
    height: int,
    width: int,
    kernel_size: int,
    channels_last: bool,
) -> Tensor:
    """The op of that name."""
    grad_pooled = grad_pooled.contiguous()
    n, c = grad_pooled.shape
    _check_sizes(height, width, kernel_size)
    bits = choice_bits(kernel_size)
    windows = n * c * (height // kernel_size) * (width // kernel_size)
    n_bytes = choice_bytes(windows, kernel_size)
    if choices.dtype != torch.uint8 or choices.shape != (n_bytes,):
        raise ValueError(
            f"choices must be a uint8 tensor of shape [{n_bytes}], "
            f"got {choices.dtype} {list(choices.shape)}"
        )
    sizes = (n, height, width, c) if channels_last else (n, c, height, width)
    grad_x = grad_pooled.new_empty(sizes)
    if grad_x.numel() > 0:
        part = height * width * (c if channels_last else 1)
        with device_of(grad_pooled):
            hybrid_pool2d_backward_kernel[(triton.cdiv(grad_x.numel(), _VALUES),)](
                grad_pooled, choices.contiguous(), grad_x, grad_x.numel(), c, height, width,
                K=kernel_size, BITS=bits, CHANNELS_LAST=channels_last, VALUES=_VALUES,
                INDEX=_index_type(part),
            )  # fmt: skip
    return grad_x.permute(0, 3, 1, 2) if channels_last else grad_x


def _check_sizes(height: int, width: int, kernel_size: int) -> None:
    """Windows of a direct call of the op; the public function checks them before."""
    if not 1 <= kernel_size <= min(height, width, MAX_KERNEL_SIZE):
        raise ValueError(
            f"kernel_size must be in [1, {MAX_KERNEL_SIZE}] and at most height and width, "
            f"got {kernel_size} for {height} x {width}"
        )


def _index_type(count: int) -> tl.dtype:
    return tl.int32 if count <= _MAX_INT32 else tl.int64
