"""The target distribution of a tile of rows, up to a factor for each row (Eq. 1).

Everything that decides about labels and narrow Gaussians is float64, as in the reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dldl_fast.options import KINDS
from dldl_fast.reference import FLAT_CELL, TAIL

_GAUSSIAN_BIN = tl.constexpr(KINDS.index("gaussian_bin"))
_TWO_HOT = tl.constexpr(KINDS.index("two_hot"))
_ONE_HOT = tl.constexpr(KINDS.index("one_hot"))
_LAPLACE = tl.constexpr(KINDS.index("laplace"))
_TAIL = tl.constexpr(TAIL)
_LOG_TAIL = tl.constexpr(-25.328436022934504)
_FLAT_CELL = tl.constexpr(FLAT_CELL)
_SQRT_HALF = tl.constexpr(0.70710678118654752440)
_TWICE_DENSITY = tl.constexpr(0.79788456080286535588)  # sqrt(2 / pi), as tails count twice
# Below, y is so far away that the nearest label has all mass of its cells.
_SMALLEST_PEAK = tl.constexpr(1e-25)
_SMALLEST_SIGMA = tl.constexpr(1e-150)  # narrower ones have all mass in a cell as well
_STEEPEST = tl.constexpr(1e300)
_SMALLEST = tl.constexpr(1e-37)  # below it p log p is nothing in float32


@triton.jit
def midpoint(labels, k):
    """Between label k and the next one."""
    return (tl.load(labels + k) + tl.load(labels + k + 1)) / 2


@triton.jit
def nearest_label(labels, y, step, K: tl.constexpr, IS_UNIFORM: tl.constexpr):
    """Index of the label nearest to y, the lower one on a tie: the first midpoint that is >= y."""
    low = tl.zeros_like(y).to(tl.int32)
    high = low + (K - 1)
    STEPS: tl.constexpr = 2 if IS_UNIFORM else K.bit_length()
    if IS_UNIFORM:
        guess = (y - tl.load(labels)) / step + 0.5
        guess = tl.minimum(tl.maximum(guess, 0.0), K - 1.0).to(tl.int32)
        low = tl.maximum(guess - 1, 0)
        high = tl.minimum(guess + 1, K - 1)
    for _ in tl.static_range(STEPS):
        middle = (low + high) // 2
        is_right = midpoint(labels, tl.minimum(middle, K - 2)) < y
        searching = low < high
        low, high = (
            tl.where(searching & is_right, middle + 1, low),
            tl.where(searching & ~is_right, middle, high),
        )
    return low


@triton.jit
def point_mass(labels, y, nearest, k, K: tl.constexpr, HALVES: tl.constexpr):
    """All mass on the nearest label; halves on a tie, as the limit of sigma -> 0 has them."""
    at_nearest = k[None, :] == nearest[:, None]
    if HALVES:
        has_next = nearest + 1 < K
        tie = has_next & (y == midpoint(labels, tl.minimum(nearest, K - 2)))
        at_nearest |= tie[:, None] & (k[None, :] == nearest[:, None] + 1)
    return tl.where(at_nearest, 1.0, 0.0)


@triton.jit
def two_hot(labels, y, nearest, k, K: tl.constexpr):
    """Linear between the two neighbours of y."""
    y = tl.minimum(tl.maximum(y, tl.load(labels)), tl.load(labels + K - 1))
    lower = tl.where(y < tl.load(labels + nearest), nearest - 1, nearest)
    lower = tl.minimum(tl.maximum(lower, 0), K - 2)
    l_lower = tl.load(labels + lower)
    share = (y - l_lower) / (tl.load(labels + lower + 1) - l_lower)
    upper_mass = tl.where(k[None, :] == lower[:, None] + 1, share[:, None], 0.0)
    return tl.where(k[None, :] == lower[:, None], 1 - share[:, None], upper_mass)


@triton.jit
def gaussian_log(labels, l_near, y, sigma, k, K: tl.constexpr):
    """Log of Eq. 1 relative to the nearest label, float64: (l - y)^2 - (l_near - y)^2 as a product.

    It neither cancels for y far away nor underflows for a small sigma, whose limit is 0. In sums of
    two labels, as midpoints are, it is 0 on a tie and never below.
    """
    label = tl.load(labels + k, mask=k < K, other=float("inf"))[None, :]
    l_near = l_near[:, None]
    excess = (label - l_near) * (label + l_near - (2 * y)[:, None])
    # Finite for sigma = 0 as well, so that its product with 0 is 0.
    narrowness = 1 / sigma
    curvature = tl.maximum(-0.5 * narrowness * narrowness, -_STEEPEST)
    return excess * curvature[:, None]


@triton.jit
def ordinary_gaussian_log(l_near, y, sigma, middle, label):
    """The same in float32, for a sigma of half a step or more and y on the grid.

    `l_near` may be any label beside y then.
    """
    curvature = (-0.5 / (sigma * sigma)).to(label.dtype)
    slope = (2 * (l_near - y)).to(label.dtype) * curvature
    u = label[None, :] - (l_near - middle).to(label.dtype)[:, None]
    return u * (u * curvature[:, None] + slope[:, None])


@triton.jit
def laplace_log(labels, l_near, y, sigma, k, K: tl.constexpr):
    """Log of exp(-|l - y| / sigma) relative to the nearest label, float64, in the same way.

    |l - y| - |l_near - y|, as no label lies between y and the nearest one.
    """
    label = tl.load(labels + k, mask=k < K, other=float("inf"))[None, :]
    l_near = l_near[:, None]
    excess = tl.minimum(tl.abs(label - l_near), tl.abs(label + l_near - (2 * y)[:, None]))
    return excess * -tl.minimum(1 / sigma, _STEEPEST)[:, None]


@triton.jit
def ordinary_laplace_log(l_near, y, sigma, middle, label):
    """The same in float32, for a sigma of half a step or more and y on the grid."""
    u = label[None, :] - (l_near - middle).to(label.dtype)[:, None]
    other_side = u + (2 * (l_near - y)).to(label.dtype)[:, None]
    return tl.minimum(tl.abs(u), tl.abs(other_side)) * (-1 / sigma).to(label.dtype)[:, None]


@triton.jit
def border(labels, k, K: tl.constexpr):
    """Border below label k: the midpoint; the end cells are as wide outside as inside."""
    left = tl.load(labels + tl.minimum(tl.maximum(k - 1, 0), K - 1))
    right = tl.load(labels + tl.minimum(k, K - 1))
    inner = (left + right) / 2
    first, last = tl.load(labels), tl.load(labels + K - 1)
    outer = tl.where(
        k == 0, first - (midpoint(labels, 0) - first), last + (last - midpoint(labels, K - 2))
    )
    return tl.where((k > 0) & (k < K), inner, outer)


@triton.jit
def erfcx(x):
    """e^(x^2) erfc(x) for x >= 0, float64, right to 6e-16.

    (1 + 2 x) erfcx(x) is a polynomial in the variable of Shepherd and Laframboise (1981),
    interpolated in 80 Chebyshev nodes. Triton's interpreter has no erfcx.
    """
    t = (x - 3.75) / (x + 3.75)
    p = 3.111433380979925e-10 * t - 2.623107347133476e-09
    p = p * t - 3.744210080962018e-09
    p = p * t + 3.197926671666804e-08
    p = p * t + 2.3263508708859124e-08
    p = p * t - 2.4857126248016745e-07
    p = p * t - 5.7218230603224086e-08
    p = p * t + 1.7419821586224816e-06
    p = p * t - 9.73559896736775e-07
    p = p * t - 1.1438048033346894e-05
    p = p * t + 2.238423915508223e-05
    p = p * t + 5.164652974177416e-05
    p = p * t - 0.0002901540805408417
    p = p * t + 0.000293714378044958
    p = p * t + 0.0017556258528952954
    p = p * t - 0.009746579683265262
    p = p * t + 0.028362277418956406
    p = p * t - 0.05869339857664934
    p = p * t + 0.09230432116037748
    p = p * t - 0.10880393014244462
    p = p * t + 0.0822767384901452
    p = p * t + 0.0035854154854790257
    p = p * t - 0.14024059858554697
    p = p * t + 1.2375126308378275
    return p / (1 + 2 * x)


@triton.jit
def tail(distance, z0):
    """Twice the normal mass beyond `distance` over e^(-z0^2 / 2)."""
    return tl.exp(-(distance - z0) * (distance + z0) / 2) * erfcx(distance * _SQRT_HALF)


@triton.jit
def bin_mass(labels, y, sigma, k, K: tl.constexpr):
    """Normal mass of each label's cell, up to a factor of the row, float64.

    The tails are taken from y outwards, so that nothing cancels, and relative to the border nearest
    to y where that lies outside of all cells, so that nothing underflows.
    """
    begin, end = border(labels, k * 0, K), border(labels, k * 0 + K, K)
    begin, end = tl.max(begin, 0), tl.max(end, 0)
    z_first, z_end = (begin - y) / sigma, (end - y) / sigma
    z0 = tl.where(z_first > 0, z_first, tl.where(z_end < 0, -z_end, 0.0))[:, None]
    # Cells much narrower than sigma have masses near 0, scaled up here.
    scale = tl.maximum(sigma / (end - begin), 1.0)[:, None]
    below, above = border(labels, k, K)[None, :], border(labels, k + 1, K)[None, :]
    z, z_next = (below - y[:, None]) / sigma[:, None], (above - y[:, None]) / sigma[:, None]
    tail_below, tail_above = tail(tl.abs(z), z0), tail(tl.abs(z_next), z0)
    inside = (z < 0) & (z_next > 0)
    mass = tl.where(inside, 2 - tail_below - tail_above, tl.abs(tail_below - tail_above))
    # Where the density hardly changes inside the cell, the difference loses its digits.
    centre = tl.abs(z + z_next) / 2
    width = (above - below) / sigma[:, None]
    flat = _TWICE_DENSITY * tl.exp(-(centre - z0) * (centre + z0) / 2) * width
    mass = tl.where((1 + centre) * width < _FLAT_CELL, flat, mass)
    return tl.where((k < K)[None, :], scale * mass, 0.0)


@triton.jit
def log_of(p):
    """Log p, 0 where p log p is nothing."""
    return tl.log(tl.where(p > _SMALLEST, p, 1.0))


@triton.jit
def target_distribution(
    labels, label, y, sigma, step, k, KIND: tl.constexpr, K: tl.constexpr, IS_UNIFORM: tl.constexpr
):
    """Relative to the nearest label: p, and log p (0 where p is 0). And that label."""
    dtype: tl.constexpr = label.dtype
    if KIND == _ONE_HOT:
        nearest = nearest_label(labels, y, step, K, IS_UNIFORM)
        p = point_mass(labels, y, nearest, k, K, False).to(dtype)
        log_p = tl.zeros_like(p)
        l_near = tl.load(labels + nearest)
    elif KIND == _TWO_HOT:
        nearest = nearest_label(labels, y, step, K, IS_UNIFORM)
        p = two_hot(labels, y, nearest, k, K).to(dtype)
        log_p = log_of(p)
        l_near = tl.load(labels + nearest)
    elif KIND == _GAUSSIAN_BIN:
        nearest = nearest_label(labels, y, step, K, IS_UNIFORM)
        l_near = tl.load(labels + nearest)
        mass = bin_mass(labels, y, tl.maximum(sigma, _SMALLEST_SIGMA), k, K)
        peak = tl.max(mass, 1)
        far = (sigma == 0) | (peak <= _SMALLEST_PEAK)
        mass = mass / tl.where(far, 1.0, peak)[:, None]
        mass = tl.where(mass < _TAIL, 0.0, mass)
        alone = point_mass(labels, y, nearest, k, K, False)
        limit = point_mass(labels, y, nearest, k, K, True)
        points = tl.where((sigma == 0)[:, None], limit, alone)
        p = tl.where(far[:, None], points, mass).to(dtype)
        log_p = log_of(p)
    else:
        first, last = tl.load(labels), tl.load(labels + K - 1)
        ordinary = y < first  # nowhere
        if IS_UNIFORM and dtype == tl.float32:
            steps = sigma / step
            ordinary = (steps >= 0.5) & (steps <= 1e8) & (y >= first) & (y <= last)
        if tl.min(ordinary.to(tl.int32), 0) == 1:
            nearest = ((y - first) / step + 0.5).to(tl.int32)
            l_near = tl.load(labels + tl.minimum(nearest, K - 1))
            if KIND == _LAPLACE:
                log_p = ordinary_laplace_log(l_near, y, sigma, (first + last) / 2, label)
            else:
                log_p = ordinary_gaussian_log(l_near, y, sigma, (first + last) / 2, label)
        else:
            nearest = nearest_label(labels, y, step, K, IS_UNIFORM)
            l_near = tl.load(labels + nearest)
            if KIND == _LAPLACE:
                log_p = laplace_log(labels, l_near, y, sigma, k, K).to(dtype)
            else:
                log_p = gaussian_log(labels, l_near, y, sigma, k, K).to(dtype)
        has_mass = (log_p >= _LOG_TAIL) & (k < K)[None, :]
        log_p = tl.where(has_mass, log_p, 0.0)
        p = tl.where(has_mass, tl.exp(log_p), 0.0)
    return p, log_p, l_near
