"""Shuffles, votes, matches and reductions over the lanes of a warp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import numpy as np

from tests.ptx.errors import DivergentShuffle
from tests.ptx.opcodes import floating
from tests.ptx.opcodes.table import WarpExchange, define
from tests.ptx.scalar_types import TYPES, Array


@dataclass(frozen=True)
class Lanes:
    """The threads that exchange values at once, by their places in a batch of whole warps.

    All lanes that a membermask names are among them: the caller has seen to that.
    """

    place: Array
    mask: Array
    n_places: int

    @property
    def lane(self) -> Array:
        """The place of each thread in its warp."""
        return self.place & 31

    def gather(self, values: Array, source: Array) -> Array:
        """The value that each thread's source lane has."""
        outside = (self.mask >> source.astype(np.uint32)) & np.uint32(1) == 0
        if outside.any():
            i = int(np.argmax(outside))
            raise DivergentShuffle(
                f"lane {self.lane[i]} reads lane {source[i]}, "
                f"which its membermask 0x{int(self.mask[i]):08x} does not name",
                int(self.place[i]),
            )
        return np.asarray(self._by_place(values)[self.place - self.lane + source])

    def ballot(self, truth: Array) -> Array:
        """Bits of the lanes that each thread's mask names and whose predicate holds."""
        table = self._by_place(truth).reshape(-1, 32)
        bits = np.packbits(table, axis=1, bitorder="little").view(np.uint32)[:, 0]
        return np.asarray(bits[self.place >> 5] & self.mask)

    def equals(self, values: Array) -> Array:
        """Bits of the lanes that each thread's mask names and whose value is its own."""
        table = self._by_place(values).reshape(-1, 32)[self.place >> 5]
        equal = table == values[:, None]
        bits = np.packbits(equal, axis=1, bitorder="little").view(np.uint32)[:, 0]
        return np.asarray(bits & self.mask)

    def _by_place(self, values: Array) -> Array:
        values = np.broadcast_to(values, self.place.shape)
        if len(values) == self.n_places:
            return values
        table = np.zeros(self.n_places, values.dtype)
        table[self.place] = values
        return table


def _shuffle(mode: str) -> Callable[[Lanes, Array, Array, Array], tuple[Array, Array]]:
    def exchange(lanes: Lanes, values: Array, b: Array, c: Array) -> tuple[Array, Array]:
        """The third operand packs how lanes are divided into segments, and a bound inside."""
        lane = lanes.lane
        step = b.astype(np.int64) & 31
        segment, bound = (c.astype(np.int64) >> 8) & 31, c.astype(np.int64) & 31
        first = lane & segment
        last = first | (bound & ~segment)
        source = {
            "up": lane - step,
            "down": lane + step,
            "bfly": lane ^ step,
            "idx": first | (step & ~segment),
        }[mode]
        inside = source >= last if mode == "up" else source <= last
        source = np.where(inside, source, lane)
        return lanes.gather(values, source), inside

    return exchange


def _any(lanes: Lanes, truth: Array) -> Array:
    return lanes.ballot(truth) != 0


def _all(lanes: Lanes, truth: Array) -> Array:
    return lanes.ballot(truth) == lanes.mask


def _uniform(lanes: Lanes, truth: Array) -> Array:
    return _all(lanes, truth) | ~_any(lanes, truth)


def _reduce(function: Callable[[Array, Array], Array]) -> Callable[[Lanes, Array], Array]:
    def exchange(lanes: Lanes, values: Array) -> Array:
        result = np.empty_like(values)
        groups = (lanes.place >> 5) << 32 | lanes.mask
        for group in np.unique(groups):
            members = groups == group
            result[members] = reduce(function, values[members])
        return result

    return exchange


_Functions: TypeAlias = dict[str, Callable[[Array, Array], Array]]
_OF_INTEGERS: _Functions = {"add": np.add, "min": np.minimum, "max": np.maximum}
_REDUCTIONS: dict[str, _Functions] = {
    "u32": _OF_INTEGERS,
    "s32": _OF_INTEGERS,
    "b32": {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor},
    "f32": {
        "min": floating.minimum,
        "max": floating.maximum,
        "min.NaN": floating.minimum_or_nan,
        "max.NaN": floating.maximum_or_nan,
    },
}

for _mode in ("up", "down", "bfly", "idx"):
    define(
        f"shfl.sync.{_mode}.b32",
        WarpExchange(
            (TYPES["b32"], TYPES["pred"]),
            (TYPES["b32"], TYPES["b32"], TYPES["b32"]),
            _shuffle(_mode),
            is_shuffle=True,
        ),
    )
for _name, _vote in (("any", _any), ("all", _all), ("uni", _uniform)):
    define(f"vote.sync.{_name}.pred", WarpExchange((TYPES["pred"],), (TYPES["pred"],), _vote))
for _t in ("b32", "b64"):
    define(f"match.any.sync.{_t}", WarpExchange((TYPES["b32"],), (TYPES[_t],), Lanes.equals))
define("vote.sync.ballot.b32", WarpExchange((TYPES["b32"],), (TYPES["pred"],), Lanes.ballot))
for _t, _functions in _REDUCTIONS.items():
    for _name, _function in _functions.items():
        define(
            f"redux.sync.{_name}.{_t}",
            WarpExchange((TYPES[_t],), (TYPES[_t],), _reduce(_function)),
        )
