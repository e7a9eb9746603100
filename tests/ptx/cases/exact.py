"""IEEE 754 by fractions: exact, slow, and with nothing in common with numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from tests.ptx.cases.case import FLOATS


def round_fraction(exact: Fraction, t: str, mode: str) -> float:
    """Round a value other than zero to a float type: rn, rz, rm or rp."""
    _, digits, low, high = FLOATS[t]
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    quantum = Fraction(2) ** (max(exponent, low) - digits + 1)
    count, rest = divmod(size, quantum)
    away = {
        "rn": rest * 2 > quantum or (rest * 2 == quantum and count % 2 == 1),
        "rz": False,
        "rm": exact < 0 and rest > 0,
        "rp": exact > 0 and rest > 0,
    }[mode]
    rounded = (count + away) * quantum
    limit = Fraction(2) ** (high + 1)
    if rounded >= limit:
        grows = mode == "rn" or (mode == "rm" and exact < 0) or (mode == "rp" and exact > 0)
        rounded_size = math.inf if grows else float(limit - Fraction(2) ** (high - digits + 1))
    else:
        rounded_size = float(rounded)
    return rounded_size if exact > 0 else -rounded_size


def convert(x: float, t: str, mode: str = "rn") -> float:
    """Round a float to a type."""
    return x if x == 0 or not math.isfinite(x) else round_fraction(Fraction(x), t, mode)


def operation(t: str, plain: Callable[..., float], mode: str = "rn") -> Callable[..., float]:
    """A correctly rounded operation, given it for both floats and fractions."""

    def compute(*operands: float) -> float:
        if all(map(math.isfinite, operands)):
            exact = plain(*map(Fraction, operands))
            if exact != 0:
                return round_fraction(Fraction(exact), t, mode)
            zero = plain(*operands)
            if mode == "rm":
                # A sum that cancels is -0; only one of zeros that are all positive is not.
                return -plain(*_negated(plain, operands))
            return zero
        return plain(*operands)

    return compute


def _negated(plain: Callable[..., float], operands: tuple[float, ...]) -> list[float]:
    """Operands whose result has the other sign."""
    flipped = {"add": (0, 1), "sub": (0, 1), "mul": (0,), "fma": (0, 2)}[plain.__name__]
    return [-x if i in flipped else x for i, x in enumerate(operands)]


def add(x: float, y: float) -> float:
    """x + y."""
    return x + y


def sub(x: float, y: float) -> float:
    """x - y."""
    return x - y


def mul(x: float, y: float) -> float:
    """x * y."""
    return x * y


def fma(x: float, y: float, z: float) -> float:
    """x * y + z; of floats only where no rounding matters."""
    if math.isinf(z) and math.isfinite(x) and math.isfinite(y):
        return z  # whatever x * y overflows to
    return x * y + z


def div(x: float, y: float) -> float:
    """x / y, by zero as IEEE 754 has it."""
    if y != 0:
        return x / y
    if x == 0 or math.isnan(x):
        return math.nan
    return math.copysign(math.inf, math.copysign(1, x) * math.copysign(1, y))


def flush(x: float) -> float:
    """A subnormal float32 becomes zero."""
    return math.copysign(0.0, x) if abs(x) < 2.0**-126 else x


def saturate(x: float) -> float:
    """To [0, 1]."""
    return 0.0 if math.isnan(x) or x <= 0 else min(x, 1.0)


def flushed(function: Callable[..., float]) -> Callable[..., float]:
    """Operands and result flushed."""
    return lambda *operands: flush(function(*map(flush, operands)))


def square_root(x: float, t: str) -> float:
    """Correctly rounded: by the integer square root of a value scaled by an even power."""
    if x == 0 or math.isnan(x) or math.isinf(x) or x < 0:
        return x if x == 0 or x == math.inf else math.nan
    scaled = Fraction(x) * Fraction(2) ** 1400
    root = math.isqrt(scaled.numerator * 4 // scaled.denominator)
    # One bit below tells whether anything is left over.
    sticky = Fraction(root) + (Fraction(1, 2) if Fraction(root) ** 2 != scaled * 4 else 0)
    return round_fraction(sticky / Fraction(2) ** 701, t, "rn")


def minimum(x: float, y: float) -> float:
    """A number rather than NaN; -0 before 0."""
    if math.isnan(x) or math.isnan(y):
        return y if math.isnan(x) else x
    return min((x, math.copysign(1, x)), (y, math.copysign(1, y)))[0]


def maximum(x: float, y: float) -> float:
    """A number rather than NaN; 0 before -0."""
    return -minimum(-x, -y)


def or_nan(function: Callable[[float, float], float]) -> Callable[[float, float], float]:
    """NaN where an operand is."""
    return lambda x, y: math.nan if math.isnan(x) or math.isnan(y) else function(x, y)
