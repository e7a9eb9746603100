"""mov, loads, stores, atomics and fences. Cache hints bear on speed only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.ptx.opcodes.table import Access, Atomic, Control, MatrixAccess, Move, define
from tests.ptx.scalar_types import TYPES

_BITS = ("b8", "b16", "b32", "b64")
_NUMBERS = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64")
# Hints that a compiler puts in front of ordinary data; smaller types come without.
_HINTED = ("b16", "b32", "b64", "u16", "u32", "u64", "f32", "f64")
_HINTS = (".cs", ".L1::evict_first", ".L1::evict_last", ".L1::no_allocate")
_VECTORS = {"": 1, ".v2": 2, ".v4": 4}
# How the memory model's keywords differ is nothing that lanes in lock-step can show.
_ORDERS = (".volatile", ".relaxed.gpu", ".acquire.gpu", ".release.gpu")


def _vectors_of(t: str) -> dict[str, int]:
    """A vector has 16 bytes at most, 32 from sm_100 on."""
    size = TYPES[t].size
    vectors = {name: n for name, n in _VECTORS.items() if n * size <= 32}
    return vectors | ({".v8": 8} if size == 4 else {})


for _t in _BITS + _NUMBERS:
    for _vector, _width in _vectors_of(_t).items():
        _tail = f"{_vector}.{_t}"
        _scalar = TYPES[_t]
        for _hint in ("",) + (_HINTS if _t in _HINTED else ()):
            define(f"ld.global{_hint}{_tail}", Access(False, "global", _scalar, _width))
            define(f"ld.global.nc{_hint}{_tail}", Access(False, "global", _scalar, _width, True))
            define(f"st.global{_hint}{_tail}", Access(True, "global", _scalar, _width))
        for _space in ("", ".shared", ".local", ".param"):
            define(f"ld{_space}{_tail}", Access(False, _space[1:], _scalar, _width))
            define(f"st{_space}{_tail}", Access(True, _space[1:], _scalar, _width))
        # Of this block, as opposed to its cluster.
        define(f"ld.shared::cta{_tail}", Access(False, "shared", _scalar, _width))
        define(f"st.shared::cta{_tail}", Access(True, "shared", _scalar, _width))
        define(f"ld.const{_tail}", Access(False, "const", _scalar, _width))
    for _order in _ORDERS:
        for _space in ("", ".global", ".shared"):
            if _order != ".release.gpu":
                define(f"ld{_order}{_space}.{_t}", Access(False, _space[1:], TYPES[_t]))
            if _order != ".acquire.gpu":
                define(f"st{_order}{_space}.{_t}", Access(True, _space[1:], TYPES[_t]))

for _count in (1, 2, 4):
    define(f"ldmatrix.sync.aligned.m8n8.x{_count}.shared.b16", MatrixAccess(False, _count))
    define(f"stmatrix.sync.aligned.m8n8.x{_count}.shared.b16", MatrixAccess(True, _count))

for _t in ("pred", "b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64"):
    define(f"mov.{_t}", Move(TYPES[_t]))

for _fence in (
    "membar.cta",
    "membar.gl",
    "membar.sys",
    "fence.acq_rel.cta",
    "fence.acq_rel.gpu",
    "fence.sc.cta",
    "fence.sc.gpu",
):
    define(_fence, Control("fence"))


def _increment(old: Any, bound: Any) -> Any:
    return old.dtype.type(0) if old >= bound else old + old.dtype.type(1)


_INTEGER_UPDATES: dict[str, Callable[[Any, Any], Any]] = {"min": min, "max": max}
_BIT_UPDATES: dict[str, Callable[[Any, Any], Any]] = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}
for _space in ("global", "shared"):
    for _name, _returns in (("atom", True), ("red", False)):
        for _t in ("u32", "s32", "u64", "f32", "f64"):
            define(f"{_name}.{_space}.add.{_t}", Atomic(_returns, _space, TYPES[_t], np.add))
        for _t in ("u32", "s32", "u64", "s64"):
            for _update, _function in _INTEGER_UPDATES.items():
                define(
                    f"{_name}.{_space}.{_update}.{_t}",
                    Atomic(_returns, _space, TYPES[_t], _function),
                )
        for _update, _function in _BIT_UPDATES.items():
            define(
                f"{_name}.{_space}.{_update}.b32", Atomic(_returns, _space, TYPES["b32"], _function)
            )
        define(f"{_name}.{_space}.inc.u32", Atomic(_returns, _space, TYPES["u32"], _increment))
    define(f"atom.{_space}.exch.b32", Atomic(True, _space, TYPES["b32"], lambda old, new: new))
