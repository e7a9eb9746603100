"""Roundings that numpy does not have: fused, directed, and to half formats from exact sums.

Sums and products are first rounded to odd: to float64, and where that is not exact, to the one of
the two neighbours whose last bit is set. Rounding such a value again, to a format of at most 51
bits, gives what rounding the exact one would have given, in every direction.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from tests.ptx.scalar_types import Array, bfloat16_from_float32


def add_to_odd(x: Array, y: Array) -> Array:
    """The sum of two float64, rounded to odd."""
    total = x + y
    # What the rounding of the sum left over, exactly (Knuth); NaN where the sum is infinite.
    part = total - x
    rest = (x - (total - part)) + (y - part)
    inexact = np.abs(rest) > 0
    too_far = inexact & ((rest > 0) != (total > 0))
    bits = np.array(total, ndmin=1).view(np.int64)
    bits -= too_far
    bits |= inexact
    return bits.view(np.float64).reshape(np.shape(total))


def fma_to_odd(x: Array, y: Array, z: Array) -> Array:
    """x * y + z of values of at most 26 bits each, rounded to odd. Their product is exact."""
    return add_to_odd(x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64))


def float32_from_odd(odd: Array, mode: str) -> Array:
    """Round to float32: `rn` to nearest, `rz` towards zero, `rm` down, `rp` up."""
    nearest = np.asarray(odd).astype(np.float32)
    if mode == "rn":
        return nearest
    up, down = np.float32(np.inf), np.float32(-np.inf)
    if mode == "rz":
        too_far = np.abs(nearest) > np.abs(odd)
        return np.where(too_far, np.nextafter(nearest, np.float32(0)), nearest)
    if mode == "rm":
        return np.where(nearest > odd, np.nextafter(nearest, down), nearest)
    return np.where(nearest < odd, np.nextafter(nearest, up), nearest)


def bfloat16_from_odd(odd: Array) -> Array:
    """Round to the nearest bfloat16, as bits."""
    toward_zero = np.atleast_1d(float32_from_odd(odd, "rz"))
    sticky = (toward_zero != odd) & np.isfinite(toward_zero)
    bits = toward_zero.view(np.uint32) | sticky.astype(np.uint32)
    return bfloat16_from_float32(bits.view(np.float32)).reshape(np.shape(odd))


def fma_float64(x: Array, y: Array, z: Array) -> Array:
    """x * y + z with one rounding (Boldo and Melquiond)."""
    x, y, z = np.broadcast_arrays(np.atleast_1d(x), np.atleast_1d(y), np.atleast_1d(z))
    high, low = _exact_product(x, y)
    inner = z + low
    part = inner - z
    inner_rest = (z - (inner - part)) + (low - part)
    outer = high + inner
    part = outer - high
    outer_rest = (high - (outer - part)) + (inner - part)
    result = outer + add_to_odd(inner_rest, outer_rest)
    # Beyond these bounds, which NaN does not keep either, parts may overflow or vanish.
    size = np.abs(high)
    largest = np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z))
    beyond = np.flatnonzero(~((size > 2.0**-900) & (size < 2.0**900) & (largest < 2.0**900)))
    if beyond.size:
        result[beyond] = _fma_far(x[beyond], y[beyond], z[beyond])
    return result


def _fma_far(x: Array, y: Array, z: Array) -> Array:
    """The same for zeros, infinities, NaN, and extreme exponents."""
    factors_finite = np.isfinite(x) & np.isfinite(y)
    result = np.where(factors_finite & np.isinf(z), z, x * y + z)
    extreme = factors_finite & np.isfinite(z) & (x != 0) & (y != 0)
    for i in np.flatnonzero(extreme):
        result[i] = _fma_of_fractions(float(x[i]), float(y[i]), float(z[i]))
    return result


def _exact_product(x: Array, y: Array) -> tuple[Array, Array]:
    """The product as a sum of two float64 (Veltkamp, Dekker)."""
    x_high, y_high = _upper_half(x), _upper_half(y)
    x_low, y_low = x - x_high, y - y_high
    high = x * y
    low = ((x_high * y_high - high) + x_high * y_low + x_low * y_high) + x_low * y_low
    return high, low


def _upper_half(x: Array) -> Array:
    scaled = 134217729.0 * x  # 2^27 + 1
    return scaled - (scaled - x)


def _fma_of_fractions(x: float, y: float, z: float) -> float:
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if exact == 0:
        return x * y + z
    try:
        return float(exact)  # rounds once, to nearest
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def flush(x: Array) -> Array:
    """Subnormal float32 become zeros of the same sign."""
    subnormal = np.abs(x) < np.float32(2.0**-126)
    return np.where(subnormal, np.copysign(np.float32(0), x), x)


def saturate(x: Array) -> Array:
    """Clamp to [0, 1]; NaN becomes 0."""
    clamped = np.clip(x, x.dtype.type(0), x.dtype.type(1))
    return np.where(np.isnan(x), x.dtype.type(0), clamped) + x.dtype.type(0)
