"""Branches, calls, ends and barriers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests import ptx
from tests.ptx.kernels import HEADER, kernel
from tests.ptx.opcodes import OPCODES
from tests.ptx.opcodes.table import Control


def run(body: str, threads: int = 64, grid: int = 1, before: str = "") -> list[int]:
    """What a body leaves in %y, one number a thread; %i is the thread's place in the grid."""
    text = kernel(
        "u64",
        f""".reg .b32 %y, %i, %n; .reg .pred %p, %q; .reg .b64 %to;
        mov.u32 %i, %ctaid.x; mov.u32 %n, %ntid.x; mad.lo.u32 %i, %i, %n, %tid;
        mad.wide.u32 %to, %i, 4, %p0; mov.b32 %y, 0;
        {body} st.global.b32 [%to], %y;""",
        before,
    )
    memory = ptx.Memory()
    out = memory.upload(np.full(threads * grid, 99, np.uint32), "out")
    ptx.Module(text).launch("test", grid, threads, (out,), memory)
    return [int(x) for x in memory.download(out)]


@pytest.mark.parametrize("branch", ["bra", "bra.uni"])
def test_branch(branch: str) -> None:
    """Over a statement, by a predicate and by its negation."""
    body = f"setp.lt.u32 %p, %tid, 10; @%p {branch} L; add.u32 %y, %y, 1; L: add.u32 %y, %y, 4;"
    assert run(body) == [4 if i < 10 else 5 for i in range(64)]
    body = body.replace("@%p", "@!%p")
    assert run(body) == [5 if i < 10 else 4 for i in range(64)]


def test_a_loop_of_another_length_in_each_thread() -> None:
    body = """.reg .b32 %k; mov.u32 %k, 0;
    AGAIN: setp.ge.u32 %p, %k, %tid; @%p bra DONE;
    add.u32 %y, %y, %k; add.u32 %k, %k, 1; bra.uni AGAIN;
    DONE:"""
    assert run(body, grid=3) == [i * (i - 1) // 2 for i in range(64)] * 3


def test_nested_branches_join_again() -> None:
    """Both lanes of every pair shuffle after their paths have joined."""
    body = """.reg .b32 %bit; and.b32 %bit, %tid, 1; setp.eq.u32 %p, %bit, 1; @%p bra ODD;
    add.u32 %y, %tid, 100; setp.lt.u32 %q, %tid, 16; @%q bra JOIN; add.u32 %y, %y, 1000; bra JOIN;
    ODD: add.u32 %y, %tid, 200;
    JOIN: shfl.sync.bfly.b32 %y, %y, 1, 31, -1;"""

    def before(i: int) -> int:
        return i + 200 if i % 2 else i + (100 if i < 16 else 1100)

    assert run(body) == [before(i ^ 1) for i in range(64)]


def test_paths_that_joined_are_counted_once() -> None:
    """Of 2 warps, one parts: both of its paths are issued, what follows is once a warp."""
    body = """.reg .pred %p; .reg .b32 %x; setp.lt.u32 %p, %tid, 10; @%p bra LOW;
    sub.u32 %x, %tid, 1; bra JOIN; LOW: xor.b32 %x, %tid, 1; JOIN: not.b32 %x, %x;"""
    counters = ptx.Module(kernel("u32", body)).launch("test", 1, 64, (0,), ptx.Memory())
    expected = {"bra": 4, "sub.u32": 2, "xor.b32": 1, "not.b32": 2, "ret": 2}
    assert {name: counters.opcodes[name] for name in expected} == expected


@pytest.mark.parametrize("branch", ["brx.idx", "brx.idx.uni"])
def test_branch_by_index(branch: str) -> None:
    body = f""".reg .b32 %k; and.b32 %k, %tid, 3;
    TABLE: .branchtargets A, B, C, B;
    {branch} %k, TABLE;
    A: mov.u32 %y, 10; bra OUT;
    B: mov.u32 %y, 20; bra OUT;
    C: mov.u32 %y, 30;
    OUT:"""
    assert run(body) == [[10, 20, 30, 20][i % 4] for i in range(64)]


def test_branch_index_beyond_the_table() -> None:
    with pytest.raises(ptx.Trapped, match="branch index 63 of 1 targets"):
        run("T: .branchtargets A; brx.idx %tid, T; A:")


TWICE_PLUS = """
.func (.param .b32 result) twice_plus(.param .b32 x, .param .b32 y) {
.reg .b32 %r<4>; .reg .pred %p;
ld.param.b32 %r0, [x]; ld.param.b32 %r1, [y];
setp.lt.u32 %p, %r0, 8; @%p bra SMALL;
add.u32 %r2, %r0, %r0; add.u32 %r2, %r2, %r1; st.param.b32 [result], %r2; RETURN;
SMALL: st.param.b32 [result], 7; RETURN;
}
"""


def _call(call: str, argument: str) -> str:
    return f"""{{ .param .b32 a; st.param.b32 [a], {argument};
    .param .b32 b; st.param.b32 [b], 5; .param .b32 r;
    {call} (r), twice_plus, (a, b); ld.param.b32 %y, [r]; }}"""


@pytest.mark.parametrize("ret", ["ret", "ret.uni"])
@pytest.mark.parametrize("call", ["call", "call.uni"])
def test_call(call: str, ret: str) -> None:
    """Twice, so that the copies must not share names; with a return in the middle."""
    got = run(_call(call, "%tid") + _call(call, "%y"), before=TWICE_PLUS.replace("RETURN", ret))

    def function(x: int) -> int:
        return 7 if x < 8 else 2 * x + 5

    assert got == [7 if function(i) < 8 else function(function(i)) for i in range(64)]


def test_recursion_is_refused() -> None:
    before = ".func f() { call f; ret; }"
    with pytest.raises(ptx.SyntaxNotUnderstood, match="f calls itself"):
        run("call f;", before=before)


def test_call_without_a_body() -> None:
    before = ".extern .func __assertfail(.param .b64 message);"
    body = "setp.eq.u32 %p, %tid, {}; @%p bra FAIL; bra OUT; FAIL: {{ .param .b64 m; \
            mov.b64 %to, 0; st.param.b64 [m], %to; call.uni __assertfail, (m); }} OUT:"
    run(body.format(64), before=before)
    with pytest.raises(ptx.Trapped, match="__assertfail.*no body"):
        run(body.format(63), before=before)


@pytest.mark.parametrize("end", ["ret", "ret.uni", "exit"])
def test_end_of_some_threads(end: str) -> None:
    got = run(f"setp.ge.u32 %p, %tid, 10; @%p {end}; mov.u32 %y, 1;")
    assert got == [1] * 10 + [99] * 54


def test_trap() -> None:
    body = "setp.gt.u32 %p, %tid, {}; @%p trap;"
    run(body.format(63))
    with pytest.raises(ptx.Trapped, match="reached a trap"):
        run(body.format(62))


def _reversed_through_shared(barrier: str, threads: int) -> list[int]:
    return run(
        f""".shared .align 4 .b32 tile[{threads}]; .reg .b32 %a, %b; mov.u32 %a, tile;
        mad.lo.u32 %b, %tid, 4, %a; st.shared.b32 [%b], %i;
        {barrier};
        sub.u32 %b, {threads - 1}, %tid; mad.lo.u32 %b, %b, 4, %a; ld.shared.b32 %y, [%b];""",
        threads,
        grid=2,
    )


BARRIERS = {
    "bar.sync": "bar.sync 0",
    "barrier.sync": "barrier.sync 0",
    "barrier.sync.aligned": "barrier.sync.aligned 0, 96",
}


@pytest.mark.parametrize("spelling", BARRIERS)
def test_barrier(spelling: str) -> None:
    got = _reversed_through_shared(BARRIERS[spelling], 96)
    assert got == [*range(95, -1, -1), *range(191, 95, -1)]


def test_barrier_of_a_block_of_no_whole_warps() -> None:
    got = _reversed_through_shared("bar.sync 0", 72)
    assert got == [*range(71, -1, -1), *range(143, 71, -1)]


REDUCTIONS: dict[str, Callable[[int], int]] = {
    "bar.red.and.pred": lambda count: int(count == 64),
    "bar.red.or.pred": lambda count: int(count > 0),
    "bar.red.popc.u32": lambda count: count,
}


@pytest.mark.parametrize("bound", [0, 30, 64, 100, 128])
@pytest.mark.parametrize("spelling", REDUCTIONS)
def test_barrier_with_reduction(spelling: str, bound: int) -> None:
    """Over the threads of a block: two blocks, of 64 threads."""
    reduction = f"{spelling} %q, 0, %p; selp.b32 %y, 1, 0, %q;"
    if spelling.endswith("u32"):
        reduction = f"{spelling} %y, 0, %p;"
    got = run(f"setp.ge.u32 %p, %i, {bound}; {reduction}", grid=2)
    counts = [sum(i >= bound for i in range(first, first + 64)) for first in (0, 64)]
    assert got == [REDUCTIONS[spelling](count) for count in counts for _ in range(64)]


def test_warp_barrier() -> None:
    """Enough for one warp, not for two: see the races."""
    got = _reversed_through_shared("bar.warp.sync -1", 32)
    assert got == [*range(31, -1, -1), *range(63, 31, -1)]


def test_a_barrier_that_warps_reach_at_different_times() -> None:
    """One warp works longer before it; the other must wait."""
    body = """.shared .b32 cell; .reg .b32 %k;
    setp.lt.u32 %p, %tid, 32; @%p bra MEET;
    mov.u32 %k, 0; WORK: add.u32 %k, %k, 1; setp.lt.u32 %q, %k, 20; @%q bra WORK;
    setp.eq.u32 %q, %tid, 32; @%q st.shared.b32 [cell], %k;
    MEET: bar.sync 0; ld.shared.b32 %y, [cell];"""
    assert run(body) == [20] * 64


FENCES = [s for s, o in OPCODES.items() if isinstance(o, Control) and o.kind == "fence"]


@pytest.mark.parametrize("fence", FENCES)
def test_fence(fence: str) -> None:
    """Orders what lanes in lock-step do in order anyway."""
    assert run(f"{fence}; mov.u32 %y, %tid;") == list(range(64))


def test_a_fence_is_no_barrier() -> None:
    with pytest.raises(ptx.SharedRace):
        _reversed_through_shared("membar.cta", 96)


def test_endless_loop() -> None:
    module = ptx.Module(kernel("u64", "AGAIN: bra AGAIN;"))
    with pytest.raises(ptx.Endless, match="more than 5000 instructions"):
        module.launch("test", 1, 32, (0,), ptx.Memory(), step_limit=5000)


def test_blocks_and_threads_of_three_dimensions() -> None:
    names = [f"%{n}{r}.{x}" for x in "xyz" for r in ("tid", "ctaid") for n in ("", "n")]
    stores = " ".join(
        f"mov.u32 %v, {n}; st.global.u32 [%o+{4 * i}], %v;" for i, n in enumerate(names)
    )
    text = f"""{HEADER}.visible .entry test(.param .u64 p) {{
    .reg .b64 %o; .reg .b32 %b, %t, %v, %n; ld.param.u64 %o, [p];
    mov.u32 %b, %ctaid.z; mov.u32 %n, %nctaid.y; mov.u32 %v, %ctaid.y; mad.lo.u32 %b, %b, %n, %v;
    mov.u32 %n, %nctaid.x; mov.u32 %v, %ctaid.x; mad.lo.u32 %b, %b, %n, %v;
    mov.u32 %t, %tid.z; mov.u32 %n, %ntid.y; mov.u32 %v, %tid.y; mad.lo.u32 %t, %t, %n, %v;
    mov.u32 %n, %ntid.x; mov.u32 %v, %tid.x; mad.lo.u32 %t, %t, %n, %v;
    mad.lo.u32 %t, %b, 30, %t; mad.wide.u32 %o, %t, 48, %o; {stores} ret; }}"""
    memory = ptx.Memory()
    out = memory.allocate((4, 3, 2, 2, 3, 5, 12), np.uint32, must_write=True)
    ptx.Module(text).launch("test", (2, 3, 4), (5, 3, 2), (out,), memory)
    got = memory.download(out)
    where = np.indices(got.shape[:-1])
    for i, name in enumerate(names):
        axis = "xyz".index(name[-1])
        if "n" in name[1]:
            expected = np.asarray(((5, 3, 2) if "tid" in name else (2, 3, 4))[axis])
        else:
            expected = where[(5 if "ctaid" not in name else 2) - axis]
        assert (got[..., i] == expected).all(), name


def test_the_registers_of_lanes() -> None:
    expected: dict[str, Callable[[int], int]] = {
        "%laneid": lambda lane: lane,
        "%lanemask_eq": lambda lane: 1 << lane,
        "%lanemask_lt": lambda lane: (1 << lane) - 1,
        "%lanemask_le": lambda lane: (2 << lane) - 1,
        "%lanemask_ge": lambda lane: (1 << 32) - (1 << lane),
        "%lanemask_gt": lambda lane: (1 << 32) - (2 << lane),
    }
    for name, function in expected.items():
        assert run(f"mov.u32 %y, {name};") == [function(i % 32) for i in range(64)], name
    assert run("mov.u32 %y, %warpid;") == [i // 32 for i in range(64)]
    assert run("mov.u32 %y, %nwarpid;", 70) == [3] * 70
    assert run("mov.u32 %y, WARP_SZ;") == [32] * 64


def test_an_unknown_special_register() -> None:
    with pytest.raises(ptx.SyntaxNotUnderstood, match="%clock is neither declared nor"):
        run("mov.u32 %y, %clock;")


SPELLINGS = [
    *("bra", "bra.uni", "brx.idx", "brx.idx.uni", "call", "call.uni", "ret", "ret.uni"),
    *("exit", "trap", "bar.warp.sync", *BARRIERS, *REDUCTIONS, *FENCES),
]
