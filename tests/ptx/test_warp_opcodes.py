"""Shuffles, votes and reductions, over whole warps and segments of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest

from tests import ptx
from tests.ptx.cases.case import decode, same
from tests.ptx.kernels import address, kernel

VALUES = [(i * 2654435761) % (1 << 32) for i in range(64)]
LANES = range(32)


def run(body: str, before: str = "") -> list[int]:
    """Two warps with VALUES in %x give %y."""
    text = kernel(
        "u64 u64",
        f".reg .b32 %x, %y; .reg .pred %p, %q; {address('from', 'p0', 4)} {address('to', 'p1', 4)}"
        f"ld.global.b32 %x, [%from]; {body} st.global.b32 [%to], %y;",
        before,
    )
    memory = ptx.Memory()
    out = memory.allocate(64, np.uint32, must_write=True)
    values = memory.upload(np.array(VALUES, np.uint32))
    ptx.Module(text).launch("test", 1, 64, (values, out), memory)
    return [int(x) for x in memory.download(out)]


def on_warps(function: Callable[[list[int], int], int | None]) -> list[int]:
    """What a function of a warp's values and a lane gives; None stands for the lane's own value."""
    expected = []
    for warp in (VALUES[:32], VALUES[32:]):
        for lane in LANES:
            value = function(warp, lane)
            expected.append(warp[lane] if value is None else value)
    return expected


def _source(mode: str, lane: int, step: int, width: int) -> int | None:
    """As __shfl_sync and its sisters are documented: segments of `width` lanes."""
    first = lane // width * width
    source = {
        "up": lane - step,
        "down": lane + step,
        "bfly": lane ^ step,
        "idx": first + step % width,
    }[mode]
    inside = source >= first if mode == "up" else source < first + width
    return source if inside else None


@pytest.mark.parametrize("width", [32, 16, 8, 4])
@pytest.mark.parametrize("step", [0, 1, 3, 4, 9, 16])
@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
def test_shuffle(mode: str, step: int, width: int) -> None:
    # The compiler packs the width like this.
    packed = (32 - width) << 8 | (0 if mode == "up" else 31)

    sources = [_source(mode, lane, step, width) for lane in LANES]

    def expected(warp: list[int], lane: int) -> int | None:
        source = sources[lane]
        return None if source is None else warp[source]

    instruction = f"shfl.sync.{mode}.b32 %y|%p, %x, {step}, {packed}, -1;"
    assert run(instruction) == on_warps(expected)
    inside = [int(source is not None) for source in sources]
    assert run(f"{instruction} selp.b32 %y, 1, 0, %p;") == inside * 2


def test_a_shuffle_among_some_lanes() -> None:
    """Lanes 8 to 15 alone, under a mask that names no other."""
    body = """
    mov.b32 %y, 7; .reg .b32 %lane; mov.u32 %lane, %laneid; shr.u32 %lane, %lane, 3;
    setp.ne.u32 %p, %lane, 1; @%p bra OUT;
    shfl.sync.bfly.b32 %y, %x, 4, 31, 0xff00;
    OUT:
    """
    assert run(body) == on_warps(lambda warp, i: warp[i ^ 4] if 8 <= i < 16 else 7)


def test_segments_with_masks_of_their_own_shuffle_at_once() -> None:
    body = """
    .reg .b32 %mask, %shift; mov.u32 %shift, %laneid; and.b32 %shift, %shift, 24;
    mov.b32 %mask, 255; shl.b32 %mask, %mask, %shift;
    shfl.sync.down.b32 %y, %x, 1, 0x181f, %mask;
    """
    assert run(body) == on_warps(lambda warp, i: warp[i + 1] if i % 8 < 7 else None)


VOTES: dict[str, Callable[[list[bool]], int]] = {
    "any": lambda truths: int(any(truths)),
    "all": lambda truths: int(all(truths)),
    "uni": lambda truths: int(len(set(truths)) == 1),
}


@pytest.mark.parametrize("bound", [0, 1, VALUES[5], max(VALUES[:32]), 0xFFFFFFFF])
@pytest.mark.parametrize("name", VOTES)
def test_vote(name: str, bound: int) -> None:
    got = run(
        f"setp.ge.u32 %p, %x, {bound}; vote.sync.{name}.pred %q, %p, -1; selp.b32 %y, 1, 0, %q;"
    )
    assert got == on_warps(lambda warp, i: VOTES[name]([x >= bound for x in warp]))


def test_a_vote_negates_its_operand() -> None:
    got = run("setp.ge.u32 %p, %x, 0; vote.sync.any.pred %q, !%p, -1; selp.b32 %y, 1, 0, %q;")
    assert got == [0] * 64


def test_ballot() -> None:
    got = run("setp.ge.u32 %p, %x, 0x80000000; vote.sync.ballot.b32 %y, %p, -1;")
    assert got == on_warps(lambda warp, i: sum((x >> 31) << lane for lane, x in enumerate(warp)))


@pytest.mark.parametrize("t", ["b32", "b64"])
def test_match(t: str) -> None:
    """Lanes of the same remainder by 5; in 64 bits the difference is in the upper half."""
    wide = "" if t == "b32" else ".reg .b64 %w; mov.b64 %w, {0, %x};"
    got = run(
        f"rem.u32 %x, %x, 5; {wide} match.any.sync.{t} %y, %{'x' if t == 'b32' else 'w'}, -1;"
    )
    assert got == on_warps(
        lambda warp, i: sum((x % 5 == warp[i] % 5) << lane for lane, x in enumerate(warp))
    )


def _signed(x: int) -> int:
    return x - (1 << 32) if x >> 31 else x


REDUCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add.u32": lambda x, y: x + y,
    "add.s32": lambda x, y: x + y,
    "min.u32": min,
    "max.u32": max,
    "min.s32": lambda x, y: min(x, y, key=_signed),
    "max.s32": lambda x, y: max(x, y, key=_signed),
    "and.b32": lambda x, y: x & y,
    "or.b32": lambda x, y: x | y,
    "xor.b32": lambda x, y: x ^ y,
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str) -> None:
    got = run(f"redux.sync.{name} %y, %x, -1;")
    assert got == on_warps(lambda warp, i: reduce(REDUCTIONS[name], warp) % (1 << 32))


def _as_float(x: int) -> float:
    return float(decode("f32", x))


@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("name", ["min.f32", "max.f32", "min.NaN.f32", "max.NaN.f32"])
def test_reduction_of_floats(name: str, nan: bool) -> None:
    """Among any 32 of VALUES there are floats of both signs, and no NaN: one is put in."""
    assert not any(math.isnan(_as_float(x)) for x in VALUES)
    body = f"redux.sync.{name} %y, %x, -1;"
    if nan:
        body = "setp.eq.u32 %p, %tid, 40; @%p mov.b32 %x, 0x7fffffff;" + body
    got = [_as_float(x) for x in run(body)]
    function = min if "min" in name else max
    warps = [[_as_float(x) for x in warp] for warp in (VALUES[:32], VALUES[32:])]
    expected = [function(warp) for warp in warps]
    if nan:
        del warps[1][8]
        expected[1] = math.nan if "NaN" in name else function(warps[1])
    for warp, wanted in enumerate(expected):
        assert all(same("f32", x, wanted) for x in got[32 * warp : 32 * warp + 32])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_matrices_of_shared_memory(count: int) -> None:
    """Rows of 16 bytes in another order than that of the lanes, with a row between any two."""
    load = f"ldmatrix.sync.aligned.m8n8.x{count}.shared.b16"
    registers = ", ".join(f"%m{i}" for i in range(count))
    before = ".shared .align 16 .b8 rows[2048];\n"
    body = """
    .reg .b32 %lane, %row, %at, %start, %warp; mov.u32 %lane, %laneid; mov.u32 %start, rows;
    shr.u32 %warp, %tid, 5; mad.lo.u32 %start, %warp, 1024, %start;
    mad.lo.u32 %at, %lane, 32, %start; st.shared.v4.b32 [%at], {%x, %x, %x, %x};
    add.u32 %row, %x, 1; st.shared.b32 [%at+4], %row;
    add.u32 %row, %x, 2; st.shared.b32 [%at+8], %row;
    add.u32 %row, %x, 3; st.shared.b32 [%at+12], %row; bar.sync 0;
    mul.lo.u32 %row, %lane, 5; and.b32 %row, %row, 31; mad.lo.u32 %at, %row, 32, %start;
    """
    for i in range(count):
        got = run(
            f"{body} .reg .b32 %m<4>; {load} {{{registers}}}, [%at]; mov.b32 %y, %m{i};", before
        )
        rows = [5 * (8 * i + lane // 4) % 32 for lane in LANES]
        expected = [(VALUES[w + rows[i]] + i % 4) % 2**32 for w in (0, 32) for i in LANES]
        assert got == expected


@pytest.mark.parametrize("count", [1, 2, 4])
def test_matrices_to_shared_memory(count: int) -> None:
    """Rows of 16 bytes in another order than that of the lanes; what is between them stays."""
    store = f"stmatrix.sync.aligned.m8n8.x{count}.shared.b16"
    registers = ", ".join(f"%m{i}" for i in range(count))
    before = ".shared .align 16 .b8 rows[2048];\n"
    body = f"""
    .reg .b32 %lane, %row, %at, %start, %warp, %m<4>;
    mov.u32 %lane, %laneid; mov.u32 %start, rows;
    shr.u32 %warp, %tid, 5; mad.lo.u32 %start, %warp, 1024, %start;
    mad.lo.u32 %at, %lane, 32, %start; st.shared.v4.b32 [%at], {{7, 7, 7, 7}};
    st.shared.v4.b32 [%at+16], {{7, 7, 7, 7}}; bar.sync 0;
    add.u32 %m0, %x, 0; add.u32 %m1, %x, 1; add.u32 %m2, %x, 2; add.u32 %m3, %x, 3;
    mul.lo.u32 %row, %lane, 5; and.b32 %row, %row, 31; mad.lo.u32 %at, %row, 32, %start;
    {store} [%at], {{{registers}}}; bar.sync 0; mad.lo.u32 %at, %lane, 32, %start;
    """
    rows = {5 * lane % 32: lane for lane in LANES}  # who held the address of a row
    for word in (0, 1, 3, 4):
        expected = []
        for first, lane in ((first, rows[row]) for first in (0, 32) for row in LANES):
            written = lane < 8 * count and word < 4
            value = VALUES[first + 4 * (lane % 8) + word] + lane // 8 if written else 7
            expected.append(value % 2**32)
        assert run(f"{body} ld.shared.b32 %y, [%at+{4 * word}];", before) == expected


@pytest.mark.parametrize("access", ["ldmatrix{} {{%y}}, [%at+{}];", "stmatrix{} [%at+{}], {{%y}};"])
@pytest.mark.parametrize(
    ("fault", "guard", "offset"),
    [(ptx.DivergentShuffle, "setp.ne.u32 %p, %tid, 3; @%p", 0), (ptx.Misaligned, "", 4)],
)
def test_faults_of_matrices(access: str, fault: type[ptx.Fault], guard: str, offset: int) -> None:
    body = (
        "mov.b32 %y, 0; .reg .b32 %at; mov.u32 %at, rows;"
        f"{guard} {access.format('.sync.aligned.m8n8.x1.shared.b16', offset)}"
    )
    with pytest.raises(fault):
        run(body, ".shared .align 16 .b8 rows[32];\n")


SPELLINGS = [
    *(f"ldmatrix.sync.aligned.m8n8.x{count}.shared.b16" for count in (1, 2, 4)),
    *(f"stmatrix.sync.aligned.m8n8.x{count}.shared.b16" for count in (1, 2, 4)),
    *(f"redux.sync.{name}.f32" for name in ("min", "max", "min.NaN", "max.NaN")),
    *(f"shfl.sync.{mode}.b32" for mode in ("up", "down", "bfly", "idx")),
    *(f"vote.sync.{name}.pred" for name in VOTES),
    *("vote.sync.ballot.b32", "match.any.sync.b32", "match.any.sync.b64"),
    *(f"redux.sync.{name}" for name in REDUCTIONS),
]
