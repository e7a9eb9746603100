"""Cases of float16 and bfloat16 arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.ptx.cases import exact
from tests.ptx.cases.case import Case
from tests.ptx.cases.exact import operation
from tests.ptx.cases.pairs import pairs, pairwise


def _mixed(t: str) -> Iterator[Case]:
    """Rounded to float32 once, like the operations on float32 alone."""
    for name, plain in (("add", exact.add), ("sub", exact.sub)):
        yield Case(f"{name}.rn.f32.{t}", f"f32 = {t} f32", operation("f32", plain))
    yield Case(f"fma.rn.f32.{t}", f"f32 = {t} {t} f32", operation("f32", exact.fma))


def cases() -> Iterator[Case]:
    """All of them."""
    for t in ("f16", "bf16"):
        functions: list[tuple[str, int, Callable[..., float]]] = [
            ("fma.rn", 3, operation(t, exact.fma)),
            ("min", 2, exact.minimum),
            ("max", 2, exact.maximum),
            ("min.NaN", 2, exact.or_nan(exact.minimum)),
            ("max.NaN", 2, exact.or_nan(exact.maximum)),
            ("neg", 1, lambda x: -x),
            ("abs", 1, abs),
        ]
        for name, plain in (("add", exact.add), ("sub", exact.sub), ("mul", exact.mul)):
            functions += [(name, 2, operation(t, plain)), (f"{name}.rn", 2, operation(t, plain))]
        yield from _mixed(t)
        for name, count, function in functions:
            yield Case(f"{name}.{t}", f"{t} = " + f"{t} " * count, function)
            yield Case(
                f"{name}.{t}x2",
                f"{t}x2 = " + f"{t}x2 " * count,
                pairwise(function),
                pairs(t, count),
            )
