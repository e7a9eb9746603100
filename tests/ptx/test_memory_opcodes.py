"""Every load, store, move and atomic."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import ptx
from tests.ptx.cases.case import decode, encode, size_of
from tests.ptx.kernels import HEADER, address, kernel
from tests.ptx.opcodes import OPCODES
from tests.ptx.opcodes.table import Access, Atomic, Move

LOADS = [s for s, o in OPCODES.items() if isinstance(o, Access) and not o.is_store]
STORES = [s for s, o in OPCODES.items() if isinstance(o, Access) and o.is_store]
MOVES = [s for s, o in OPCODES.items() if isinstance(o, Move)]
ATOMICS = [s for s, o in OPCODES.items() if isinstance(o, Atomic)]
SPELLINGS = [*LOADS, *STORES, *MOVES, *ATOMICS]

THREADS = 64


def parts(spelling: str) -> tuple[str, int, str]:
    """State space, elements of the vector, and type, as the spelling says them."""
    words = re.sub(r"L1::\w+|::cta", "", spelling).split(".")
    space = next((w for w in words if w in ("global", "shared", "local", "param", "const")), "")
    width = next((int(w[1:]) for w in words if re.fullmatch(r"v\d", w)), 1)
    return space, width, words[-1]


def pattern(n_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bytes of which no two neighbours are alike, with set and clear top bits."""
    return (np.arange(n_bytes) * 151 + 67).astype(np.uint8)


def vector(name: str, width: int) -> str:
    """An operand of so many registers."""
    names = ", ".join(f"%{name}{i}" for i in range(width))
    return f"{{{names}}}" if width > 1 else names


def declare(name: str, width: int, t: str) -> str:
    """Registers, wider than the type where it is small."""
    return f".reg .b{max(8 * size_of(t), 32)} %{name}<{width}>;"


def stores(name: str, width: int, t: str) -> str:
    """Store each register as it is, extension and all."""
    bits = max(8 * size_of(t), 32)
    return "".join(f"st.global.b{bits} [%to+{i * bits // 8}], %{name}{i};" for i in range(width))


def copy(width: int, t: str, from_space: str, to_space: str, to: str) -> str:
    """Copy a thread's elements one by one, by instructions other than the one under test."""
    size = size_of(t)
    return "".join(
        f"ld.{from_space}.b{8 * size} %c0, [%from+{i * size}];"
        f"st.{to_space}.b{8 * size} [{to}+{i * size}], %c0;"
        for i in range(width)
    )


def launch(text: str, n_bytes: int, out_bytes: int) -> bytes:
    """Run on the pattern; all of the output must be written."""
    memory = ptx.Memory()
    data = memory.upload(pattern(n_bytes), "data")
    out = memory.allocate(out_bytes, np.uint8, "out", must_write=True)
    ptx.Module(text).launch("test", 1, THREADS, (data, out), memory)
    return bytes(memory.download(out).tobytes())


@pytest.mark.parametrize("spelling", [s for s in LOADS if parts(s)[0] not in ("param", "const")])
def test_load(spelling: str) -> None:
    """Small types are extended into their registers, by zeros or by their signs."""
    space, width, t = parts(spelling)
    size = size_of(t)
    stride, wide = size * width, max(size, 4)
    place = "%from"
    prepare = ""
    if space in ("shared", "local"):
        tile = f".{space} .align 32 .b8 tile[{stride * (THREADS if space == 'shared' else 1)}];"
        own = "mad.lo.u32 %at, %tid, STRIDE, %at;" if space == "shared" else ""
        prepare = f"""{tile} .reg .b32 %at; mov.u32 %at, tile; {own}
        {declare("c", 1, t)} {copy(width, t, "global", space, "%at")}"""
        prepare = prepare.replace("STRIDE", str(stride))
        place = "%at"
    text = kernel(
        "u64 u64",
        f"{address('from', 'p0', stride)} {address('to', 'p1', wide * width)} {prepare}"
        f"{declare('y', width, t)} {spelling} {vector('y', width)}, [{place}];"
        f"{stores('y', width, t)}",
    )
    got = launch(text, stride * THREADS, wide * width * THREADS)
    assert got == extended(pattern(stride * THREADS).tobytes(), t)


def extended(data: bytes, t: str) -> bytes:
    """Each element in 4 bytes at least."""
    size = size_of(t)
    wide = max(size, 4)
    values = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(
        value + (b"\xff" if t[0] == "s" and value[-1] & 0x80 else b"\0") * (wide - size)
        for value in values
    )


@pytest.mark.parametrize("spelling", [s for s in STORES if parts(s)[0] != "param"])
def test_store(spelling: str) -> None:
    """Of registers wider than the type, the low bits are stored."""
    space, width, t = parts(spelling)
    size = size_of(t)
    stride = size * width
    load = "".join(f"ld.global.b{8 * size} %x{i}, [%from+{i * size}];" for i in range(width))
    place, finish, prepare = "%to", "", ""
    if space in ("shared", "local"):
        tile = f".{space} .align 32 .b8 tile[{stride * (THREADS if space == 'shared' else 1)}];"
        own = f"mad.lo.u32 %at, %tid, {stride}, %at;" if space == "shared" else ""
        prepare = f"{tile} .reg .b32 %at; mov.u32 %at, tile; {own} {declare('c', 1, t)}"
        finish = copy(width, t, space, "global", "%to").replace("%from", "%at")
        place = "%at"
    text = kernel(
        "u64 u64",
        f"{address('from', 'p0', stride)} {address('to', 'p1', stride)} {prepare}"
        f"{declare('x', width, t)} {load} {spelling} [{place}], {vector('x', width)}; {finish}",
    )
    assert launch(text, stride * THREADS, stride * THREADS) == pattern(stride * THREADS).tobytes()


@pytest.mark.parametrize("spelling", [s for s in LOADS if parts(s)[0] == "const"])
def test_load_of_constants(spelling: str) -> None:
    _, width, t = parts(spelling)
    size = size_of(t)
    stride, wide = size * width, max(size, 4)
    data = pattern(stride * THREADS)
    table = f".const .align 32 .b8 table[{data.size}] = {{{', '.join(map(str, data))}}};"
    text = kernel(
        "u64 u64",
        f".reg .b64 %at; mov.u64 %at, table; mad.wide.u32 %at, %tid, {stride}, %at;"
        f"{address('to', 'p1', wide * width)} {declare('y', width, t)}"
        f"{spelling} {vector('y', width)}, [%at]; {stores('y', width, t)}",
        table,
    )
    assert launch(text, 1, wide * width * THREADS) == extended(data.tobytes(), t)


@pytest.mark.parametrize(
    ("load", "store"),
    [(f"ld{s[2:]}", s) for s in STORES if parts(s)[0] == "param"],
)
def test_parameters_of_a_call(load: str, store: str) -> None:
    """A function that hands back what it is given; both sides use the same pair of opcodes."""
    assert load in LOADS
    _, width, t = parts(load)
    size = size_of(t)
    stride = size * width
    function = f"""
    .func (.param .align 32 .b8 out[{stride}]) same(.param .align 32 .b8 in[{stride}]) {{
    {declare("f", width, t)} {load} {vector("f", width)}, [in];
    {store} [out], {vector("f", width)}; ret; }}"""
    fetch = "".join(f"ld.global.b{8 * size} %x{i}, [%from+{i * size}];" for i in range(width))
    keep = "".join(f"st.global.b{8 * size} [%to+{i * size}], %x{i};" for i in range(width))
    text = kernel(
        "u64 u64",
        f"{address('from', 'p0', stride)} {address('to', 'p1', stride)}"
        f"{declare('x', width, t)} {fetch}"
        f"{{ .param .align 32 .b8 a[{stride}]; .param .align 32 .b8 r[{stride}];"
        f"{store} [a], {vector('x', width)}; call (r), same, (a);"
        f"{load} {vector('x', width)}, [r]; }} {keep}",
        function,
    )
    assert launch(text, stride * THREADS, stride * THREADS) == pattern(stride * THREADS).tobytes()


def test_generic_addresses_of_three_spaces_at_once() -> None:
    text = kernel(
        "u64 u64",
        f"""{address("from", "p0", 4)} {address("to", "p1", 4)}
        .shared .b32 s[{THREADS}]; .local .b32 l; .reg .b64 %g, %t; .reg .pred %p; .reg .b32 %x;
        mov.u64 %g, %from; setp.lt.u32 %p, %tid, 40; @!%p bra KNOWN;
        mov.u64 %t, s; cvta.shared.u64 %t, %t; mad.wide.u32 %g, %tid, 4, %t;
        setp.lt.u32 %p, %tid, 20; @!%p bra KNOWN;
        mov.u64 %t, l; cvta.local.u64 %g, %t;
        KNOWN: setp.lt.u32 %p, %tid, 40; @%p st.u32 [%g], %tid; ld.u32 %x, [%g];
        st.global.u32 [%to], %x;""",
    )
    data = pattern(4 * THREADS).tobytes()
    expected = np.frombuffer(data, np.uint32).copy()
    expected[:40] = np.arange(40)
    assert launch(text, 4 * THREADS, 4 * THREADS) == expected.tobytes()


@pytest.mark.parametrize("spelling", [s for s in MOVES if s != "mov.pred"])
def test_move(spelling: str) -> None:
    """Of registers, and of a literal."""
    t = parts(spelling)[2]
    size = size_of(t)
    literal = {"f32": "0fC0490FDB", "f64": "0dC00921FB54442D18"}.get(t, "-3")
    text = kernel(
        "u64 u64",
        f"{address('from', 'p0', size)} {address('to', 'p1', 2 * size)}"
        f".reg .b{8 * size} %x<3>; ld.global.b{8 * size} %x0, [%from];"
        f"{spelling} %x1, %x0; {spelling} %x2, {literal};"
        f"st.global.b{8 * size} [%to], %x1; st.global.b{8 * size} [%to+{size}], %x2;",
    )
    bits = int(literal[2:], 16) if t[0] == "f" else -3 % (1 << 8 * size)
    data = pattern(size * THREADS).tobytes()
    expected = b"".join(
        data[i : i + size] + bits.to_bytes(size, "little") for i in range(0, len(data), size)
    )
    assert launch(text, len(data), len(expected)) == expected


def test_move_of_predicates() -> None:
    text = kernel(
        "u64 u64",
        f"""{address("to", "p1", 4)} .reg .pred %p, %q; .reg .b32 %y;
        setp.lt.u32 %p, %tid, 9; mov.pred %q, %p; selp.b32 %y, 1, 0, %q;
        mov.pred %q, 1; @%q add.u32 %y, %y, 2; mov.pred %q, 0; @%q add.u32 %y, %y, 4;
        st.global.u32 [%to], %y;""",
    )
    got = np.frombuffer(launch(text, 1, 4 * THREADS), np.uint32)
    assert got.tolist() == [3 if i < 9 else 2 for i in range(THREADS)]


@pytest.mark.parametrize(("whole", "count"), [("b32", 2), ("b64", 2), ("b64", 4)])
def test_packing_and_unpacking(whole: str, count: int) -> None:
    """Unpack, swap the first two parts, pack; throw a part away; put zeros in."""
    size = size_of(whole)
    part = size // count
    names = [f"%h{i}" for i in range(count)]
    first_only = ", ".join(["%h0", *"_" * (count - 1)])
    zeros_and_first = ", ".join(["0"] * (count - 1) + ["%h0"])
    swapped = [names[1], names[0], *names[2:]]
    text = kernel(
        "u64 u64",
        f"{address('from', 'p0', size)} {address('to', 'p1', 2 * size)} .reg .{whole} %x;"
        f".reg .b{8 * part} %h<{count}>; ld.global.{whole} %x, [%from];"
        f"mov.{whole} {{{', '.join(names)}}}, %x; mov.{whole} %x, {{{', '.join(swapped)}}};"
        f"st.global.{whole} [%to], %x; mov.{whole} {{{first_only}}}, %x;"
        f"mov.{whole} %x, {{{zeros_and_first}}};"
        f"st.global.{whole} [%to+{size}], %x;",
    )
    data = pattern(size * THREADS).tobytes()
    expected = b""
    for i in range(0, len(data), size):
        pieces = [data[i + j : i + j + part] for j in range(0, size, part)]
        expected += b"".join([pieces[1], pieces[0], *pieces[2:]])
        expected += bytes(size - part) + pieces[1]
    assert launch(text, len(data), len(expected)) == expected


UPDATES: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda old, x: old + x,
    "min": min,
    "max": max,
    "and": lambda old, x: old & x,
    "or": lambda old, x: old | x,
    "xor": lambda old, x: old ^ x,
    "inc": lambda old, x: 0 if old >= x else old + 1,
    "exch": lambda old, x: x,
}


@pytest.mark.parametrize("spelling", ATOMICS)
def test_atomic(spelling: str) -> None:
    """All threads on two cells; what each found there tells the order, which is ascending."""
    space, _, t = parts(spelling)
    update = spelling.split(".")[2]
    returns = spelling.startswith("atom")
    size = size_of(t)
    operands = [
        decode(t, encode(t, (i * 7 - 40) % 23 + 0.0 * i if t[0] == "f" else (i * 7) % 23))
        for i in range(THREADS)
    ]
    start = decode(t, encode(t, 5))
    on_shared = ".shared .align 8 .b8 tile[16]; mov.u64 %cell, tile;" if space == "shared" else ""
    text = kernel(
        "u64 u64 u64",
        f"""{address("from", "p0", size)} {address("to", "p1", size)}
        .reg .b64 %cell, %odd; .reg .b{8 * size} %x, %y, %z; .reg .pred %p; mov.u64 %cell, %p2;
        {on_shared} .reg .b32 %bit; and.b32 %bit, %tid, 1; setp.lt.u32 %p, %tid, 2;
        mad.wide.u32 %cell, %bit, {size}, %cell; ld.global.b{8 * size} %x, [%p0+{size * THREADS}];
        @%p st.{space}.b{8 * size} [%cell], %x; bar.sync 0;
        ld.global.b{8 * size} %x, [%from]; {spelling} {"%y, " if returns else ""}[%cell], %x;
        bar.sync 0; ld.{space}.b{8 * size} %z, [%cell];
        {"" if returns else f"mov.b{8 * size} %y, %z;"} st.global.b{8 * size} [%to], %y;
        st.global.b{8 * size} [%to+{size * THREADS}], %z;""",
    )
    memory = ptx.Memory()
    raw = [encode(t, x) for x in [*operands, start]]
    data = memory.upload(np.array(raw, f"u{size}"), "data")
    out = memory.allocate((2, THREADS), f"u{size}", "out", must_write=True)
    cells = memory.upload(np.zeros(2, f"u{size}"), "cells")
    ptx.Module(text).launch("test", 1, THREADS, (data, out, cells), memory)
    values = [start, start]
    found = []
    for i, x in enumerate(operands):
        found.append(values[i % 2])
        values[i % 2] = decode(t, encode(t, UPDATES[update](values[i % 2], x)))
    left = [values[i % 2] for i in range(THREADS)]
    got = [[decode(t, b) for b in row] for row in memory.download(out).tolist()]
    assert got == [found if returns else left, left]


def test_a_structure_as_parameter() -> None:
    """Members are read at their offsets; the argument is any buffer of the right size."""
    text = f"""{HEADER}.visible .entry test(.param .align 8 .b8 s[24], .param .f32 scale) {{
    .reg .b64 %o; .reg .f32 %a, %b; .reg .b32 %n, %t;
    ld.param.u64 %o, [s]; ld.param.f32 %a, [s+8]; ld.param.u32 %n, [s+16]; ld.param.f32 %b, [scale];
    cvt.rn.f32.u32 %b, %n; ld.param.f32 %b, [scale]; mul.f32 %a, %a, %b; st.global.f32 [%o], %a;
    st.global.u32 [%o+4], %n; ret; }}"""
    memory = ptx.Memory()
    out = memory.allocate(2, np.float32, must_write=True)
    struct = np.zeros(
        1, np.dtype([("out", "u8"), ("a", "f4"), ("gap", "f4"), ("n", "u4"), ("e", "u4")])
    )
    struct["out"], struct["a"], struct["n"] = out.address, 1.5, 9
    ptx.Module(text).launch("test", 1, 1, (struct, 3.0), memory)
    assert memory.download(out)[0] == 4.5
    assert memory.download(out).view(np.uint32)[1] == 9
