"""Each kind of fault, beside a kernel that differs from the faulty one in that alone."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests import ptx
from tests.ptx.kernels import address, kernel


def run(
    body: str,
    *,
    threads: int = 64,
    grid: int = 1,
    n_in: int = 64,
    n_out: int = 64,
    offset: int = 0,
    dynamic_shared: int = 0,
) -> list[float]:
    """Run a body on `in` at %p0, of float32, 0, 1, ...; gives `out` at %p1."""
    memory = ptx.Memory()
    values = memory.upload(np.arange(n_in, dtype=np.float32), "in", offset=offset)
    out = memory.allocate(n_out, np.float32, "out", must_write=True)
    module = ptx.Module(kernel("u64 u64", f"{REGISTERS} {body}"))
    module.launch("test", grid, threads, (values, out), memory, dynamic_shared=dynamic_shared)
    return [float(x) for x in memory.download(out)]


REGISTERS = (
    ".reg .f32 %x, %y, %z, %w; .reg .b32 %a, %b; .reg .pred %p, %q; .reg .b64 %g;"
    ".reg .b16 %h<2>;" + address("from", "p0", 4) + address("to", "p1", 4)
)
LOAD = "ld.global.f32 %x, [%from];"
STORE = "st.global.f32 [%to], %x;"
TILE = """.shared .align 16 .b8 tile[256]; mov.u32 %a, tile; mad.lo.u32 %a, %tid, 4, %a;
sub.u32 %b, 63, %tid; mul.lo.u32 %b, %b, 4; .reg .b32 %t; mov.u32 %t, tile; add.u32 %b, %b, %t;"""


def test_the_positive_control() -> None:
    assert run(LOAD + STORE) == list(range(64))


def test_load_beyond_the_end() -> None:
    message = (
        r"test, line \d+, `ld.global.f32 %x , \[ %from \]`: thread \(60, 0, 0\) of block "
        r"\(0, 0, 0\): 4 bytes at byte 240 of 'in', which has 240 bytes"
    )
    with pytest.raises(ptx.OutOfBounds, match=message):
        run(LOAD + STORE, n_in=60)


def test_load_before_the_beginning() -> None:
    with pytest.raises(ptx.OutOfBounds, match="byte -4 of 'in'"):
        run("ld.global.f32 %x, [%from-4];" + STORE)


def test_store_beyond_the_end() -> None:
    with pytest.raises(ptx.OutOfBounds, match="byte 252 of 'out', which has 252 bytes"):
        run(LOAD + STORE, n_out=63)


def test_null_and_wild_pointers() -> None:
    for value in ("0", "0x123456789abc", "-8"):
        with pytest.raises(ptx.OutOfBounds, match="is in no allocation"):
            run(f"mov.u64 %g, {value}; ld.global.f32 %x, [%g];" + STORE)


def test_a_guard_keeps_threads_from_the_end() -> None:
    guarded = "setp.lt.u32 %p, %tid, 60; @%p ld.global.f32 %x, [%from];"
    body = f"mov.f32 %x, 0f00000000; {guarded} {STORE}"
    assert run(body, n_in=60) == [*range(60), 0, 0, 0, 0]


def test_block_of_no_whole_warps() -> None:
    """Lanes beyond the block do not run."""
    assert run(LOAD + STORE, threads=40, n_in=40, n_out=40) == list(range(40))


def test_misaligned_vector() -> None:
    body = """ld.global.v2.f32 {%x, %y}, [%p0+4];""" + STORE
    with pytest.raises(ptx.Misaligned, match="8 bytes at address 0x.*no multiple of 8"):
        run(body)
    assert run(body.replace("+4", "+8")) == [2] * 64


def test_misaligned_base() -> None:
    """What begins 4 bytes past an allocation's start is fit for scalars only."""
    body = "ld.global.v4.f32 {%x, %y, %z, %w}, [%p0];" + STORE
    run(body)
    assert run(LOAD + STORE, offset=4) == list(range(64))
    with pytest.raises(ptx.Misaligned):
        run(body, offset=4)


def test_read_of_memory_without_a_value() -> None:
    body = "ld.global.f32 %x, [%to];" + STORE
    message = "thread .0, 0, 0. of block .0, 0, 0.: reads byte 0 of 'out', which was never written"
    with pytest.raises(ptx.UninitialisedMemory, match=message):
        run(body)
    assert run(LOAD + STORE + body) == list(range(64))


def test_read_of_half_a_value() -> None:
    body = "mov.b16 %h0, 1; st.global.u16 [%to], %h0; ld.global.b32 %x, [%to];"
    with pytest.raises(ptx.UninitialisedMemory):
        run(body)
    assert len(run("mov.b16 %h0, 0; st.global.u16 [%to+2], %h0;" + body)) == 64


def test_shared_and_local_memory_start_without_a_value() -> None:
    for space, fill in (("shared", "st.shared.f32"), ("local", "st.local.f32")):
        body = f".{space} .b8 m[256]; mov.u32 %a, m; mad.lo.u32 %a, %tid, 4, %a;"
        if space == "local":
            body = f".{space} .align 4 .b8 m[4]; mov.u32 %a, m;"
        read = f"ld.{space}.f32 %x, [%a]; {STORE}"
        with pytest.raises(ptx.UninitialisedMemory, match=f"of {space} memory"):
            run(body.replace(".b8", ".align 4 .b8") + read)
        run(body + LOAD + f"{fill} [%a], %x;" + read)


def test_shared_memory_does_not_outlive_its_block() -> None:
    """Of two blocks the first writes; the second must not find it."""
    body = f""".shared .b32 cell; mov.u32 %b, %ctaid.x; setp.eq.u32 %p, %b, 0;
    setp.eq.and.u32 %q, %tid, 0, %p; @%q st.shared.u32 [cell], %tid; bar.sync 0;
    ld.shared.u32 %a, [cell]; {LOAD} {STORE}"""
    run(body)
    with pytest.raises(ptx.UninitialisedMemory, match=r"block \(1, 0, 0\)"):
        run(body, grid=2)


def test_shared_and_local_bounds() -> None:
    for space in ("shared", "local"):
        body = f".{space} .align 4 .b8 m[16]; mov.u32 %a, m; {LOAD} setp.eq.u32 %p, %tid, 0;"
        store = "@%p st.SPACE.f32 [%a+OFFSET], %x;".replace("SPACE", space)
        run(body + store.replace("OFFSET", "12") + STORE)
        for offset in (16, -4):
            with pytest.raises(ptx.OutOfBounds, match=f"of {space} memory, which has 16 bytes"):
                run(body + store.replace("OFFSET", str(offset)) + STORE)


def test_dynamic_shared_memory_is_as_large_as_the_launch_says() -> None:
    body = f"""{LOAD} .shared .b32 fixed; mov.u32 %a, dynamic; mad.lo.u32 %a, %tid, 4, %a;
    st.shared.f32 [%a], %x; {STORE}"""
    before = ".extern .shared .align 16 .b8 dynamic[];"
    text = kernel("u64 u64", REGISTERS + body, before)
    for size, fits in ((256, True), (252, False)):
        memory = ptx.Memory()
        args = (memory.upload(np.zeros(64, np.float32)), memory.allocate(64, np.float32))
        launch = ptx.Module(text).launch
        if fits:
            launch("test", 1, 64, args, memory, dynamic_shared=size)
        else:
            with pytest.raises(ptx.OutOfBounds, match="of shared memory"):
                launch("test", 1, 64, args, memory, dynamic_shared=size)


def test_unwritten_output() -> None:
    body = f"{LOAD} setp.ne.u32 %p, %tid, 17; @%p {STORE}"
    with pytest.raises(ptx.Unwritten, match="4 of 256 bytes of 'out' .* byte 68 first"):
        run(body)


def test_download_of_what_nobody_wrote() -> None:
    memory = ptx.Memory()
    pointer = memory.allocate((3, 4), np.float32, "scratch")
    with pytest.raises(ptx.UninitialisedMemory, match=r"'scratch': 12 of 12 elements .* \(0, 0\)"):
        memory.download(pointer)


def test_uninitialised_register() -> None:
    body = f"{LOAD} setp.lt.u32 %p, %tid, 63; @%p mov.f32 %y, %x; add.f32 %x, %y, %y; {STORE}"
    message = "thread .63, 0, 0. of block .0, 0, 0.: register %y was never written"
    with pytest.raises(ptx.UninitialisedRegister, match=message):
        run(body)
    assert run(body.replace("63;", "64;")) == [2 * i for i in range(64)]


def test_non_coherent_load_of_what_the_launch_wrote() -> None:
    body = f"{LOAD} {STORE} ld.global.nc.f32 %x, [%to]; {STORE}"
    with pytest.raises(ptx.StaleRead, match="byte 0 of 'out'"):
        run(body)
    run(body.replace(".nc", ""))


SHUFFLE = "shfl.sync.bfly.b32 %x, %x, {}, 31, {};"


def test_a_shuffle_that_a_lane_jumps_over() -> None:
    body = f"{LOAD} setp.eq.u32 %p, %tid, 37; @%p bra OVER; {{}} OVER: {STORE}"
    message = r"waits for 1 threads that never come: thread \(37, 0, 0\) of block .* has ended"
    with pytest.raises(ptx.DivergentShuffle, match=message):
        run(body.format(SHUFFLE.format(2, -1)))


def test_shuffles_on_both_sides_of_a_branch() -> None:
    """Halves of a warp that name each other, in two instructions."""
    body = f"""{LOAD} and.b32 %a, %tid, 16; setp.eq.u32 %p, %a, 0; @%p bra LOW;
    {SHUFFLE} bra JOIN; LOW: {SHUFFLE} JOIN: {STORE}"""
    with pytest.raises(ptx.DivergentShuffle, match=r"waits for 16 threads .* waits in line \d+"):
        run(body.format(1, -1, 1, -1))
    halves = body.format(1, "0xffff0000", 1, "0x0000ffff")
    assert run(halves) == [i ^ 1 for i in range(64)]


def test_a_shuffle_from_a_lane_outside_the_mask() -> None:
    body = f"""{LOAD} and.b32 %a, %tid, 24; setp.ne.u32 %p, %a, 0; @%p bra OVER;
    {SHUFFLE} OVER: {STORE}"""
    run(body.format(4, "0xff"))
    with pytest.raises(ptx.DivergentShuffle, match="lane 0 reads lane 8, which its membermask"):
        run(body.format(8, "0xff"))


def test_a_mask_without_the_lane_itself() -> None:
    with pytest.raises(ptx.DivergentShuffle, match="0x0000ffff does not name its own lane 16"):
        run(LOAD + SHUFFLE.format(1, "0xffff") + STORE)


def test_a_shuffle_in_a_block_of_half_a_warp() -> None:
    body = LOAD + SHUFFLE + STORE
    sizes = {"threads": 16, "n_in": 16, "n_out": 16}
    assert run(body.format(1, "0xffff"), **sizes) == [i ^ 1 for i in range(16)]
    with pytest.raises(ptx.DivergentShuffle):
        run(body.format(1, -1), **sizes)


def test_a_vote_that_a_lane_jumps_over() -> None:
    body = f"""{LOAD} setp.eq.u32 %p, %tid, {{}}; @%p bra OVER;
    vote.sync.any.pred %q, %p, -1; OVER: {STORE}"""
    run(body.format(64))
    with pytest.raises(ptx.DivergentShuffle):
        run(body.format(5))


@pytest.mark.parametrize("barrier", ["bar.sync 0;", "bar.warp.sync -1;"])
def test_a_barrier_that_threads_do_not_reach(barrier: str) -> None:
    for skip in ("bra OVER", "exit"):
        body = f"{LOAD} {STORE} setp.eq.u32 %p, %tid, {{}}; @%p {skip}; {barrier} OVER:"
        run(body.format(64))
        with pytest.raises(ptx.DivergentBarrier, match=r"thread \(40, 0, 0\).*has ended"):
            run(body.format(40))


def test_a_warp_that_does_not_reach_the_barrier() -> None:
    body = f"{LOAD} {STORE} setp.ge.u32 %p, %tid, {{}}; @%p exit; bar.sync 0;"
    run(body.format(64))
    with pytest.raises(ptx.DivergentBarrier, match="waits for 32 threads"):
        run(body.format(32))


def test_barriers_on_both_sides_of_a_branch() -> None:
    body = f"""{LOAD} {STORE} setp.ge.u32 %p, %tid, {{}}; @%p bra HIGH;
    bar.sync 0; bra OUT; HIGH: bar.sync 0; OUT:"""
    run(body.format(64))
    with pytest.raises(ptx.DivergentBarrier):
        run(body.format(32))


def test_a_barrier_under_a_predicate() -> None:
    body = f"{LOAD} {STORE} setp.lt.u32 %p, %tid, {{}}; @%p bar.sync 0;"
    run(body.format(64))
    with pytest.raises(ptx.DivergentBarrier):
        run(body.format(60))


def _through_shared(barrier: str, after: str = "") -> str:
    return f"""{LOAD} {TILE} st.shared.f32 [%a], %x; {barrier}
    ld.shared.f32 %y, [%b]; {after} st.global.f32 [%to], %y;"""


def test_read_after_write_without_a_barrier() -> None:
    assert run(_through_shared("bar.sync 0;")) == list(range(63, -1, -1))
    for too_little in ("", "bar.warp.sync -1;", "membar.cta;"):
        with pytest.raises(ptx.SharedRace, match="written by another warp, with no barrier since"):
            run(_through_shared(too_little))


def test_write_after_read_without_a_barrier() -> None:
    again = "st.shared.f32 [%a], %y;"
    run(_through_shared("bar.sync 0;", "bar.sync 0;" + again))
    with pytest.raises(ptx.SharedRace, match="read by another warp, with no barrier since"):
        run(_through_shared("bar.sync 0;", again))


def test_write_after_reads_of_many() -> None:
    """The writer is itself among the readers, and the last of them."""
    body = f"""{LOAD} {STORE} .shared .b32 cell; setp.eq.u32 %p, %tid, 63;
    @%p st.shared.f32 [cell], %x; bar.sync 0; ld.shared.f32 %y, [cell]; {{}}
    @%p st.shared.f32 [cell], %x;"""
    run(body.format("bar.sync 0;"))
    with pytest.raises(ptx.SharedRace, match="read by another warp"):
        run(body.format(""))


def test_races_within_a_warp() -> None:
    body = f"""{LOAD} {TILE} st.shared.f32 [%a], %x; {{}}
    xor.b32 %a, %a, 4; ld.shared.f32 %y, [%a]; {{}} st.shared.f32 [%a], %x;
    st.global.f32 [%to], %y;"""
    wait = "bar.warp.sync -1;"
    assert run(body.format(wait, wait)) == [i ^ 1 for i in range(64)]
    with pytest.raises(ptx.SharedRace, match="written by another lane of the warp"):
        run(body.format("", wait))
    with pytest.raises(ptx.SharedRace, match="written by another lane of the warp"):
        run(body.format(SHUFFLE.format(0, -1), wait))
    other = body.replace("%x; \n", "%x;")
    after_read = other.replace(
        "st.shared.f32 [%a], %x;\n    st.global",
        "xor.b32 %a, %a, 4; st.shared.f32 [%a], %x;\n    st.global",
    )
    run(after_read.format(wait, wait))
    with pytest.raises(ptx.SharedRace, match="read by another lane of the warp"):
        run(after_read.format(wait, ""))


def test_two_writers_at_once() -> None:
    body = f"""{LOAD} {STORE} .shared .align 4 .b8 tile[256]; and.b32 %a, %tid, {{}};
    mul.lo.u32 %a, %a, 4; mov.u32 %b, tile; add.u32 %a, %a, %b; st.shared.f32 [%a], %x;"""
    run(body.format(63))
    with pytest.raises(ptx.SharedRace, match="another lane writes another value to the same"):
        run(body.format(62))
    with pytest.raises(ptx.SharedRace, match="another warp writes the same bytes"):
        run(body.format(31))
    same_value = body.replace("[%a], %x", "[%a], 0f3F800000")
    run(same_value.format(62))
    with pytest.raises(ptx.SharedRace, match="another warp writes the same bytes"):
        run(same_value.format(31))


def test_neighbouring_bytes_are_no_race() -> None:
    body = f"""{LOAD} {STORE} .shared .b8 tile[64]; mov.u32 %a, tile; add.u32 %a, %a, %tid;
    st.shared.u8 [%a], %tid; ld.shared.u8 %b, [%a];"""
    run(body)


def test_atomics_race_only_with_other_accesses() -> None:
    body = f"""{LOAD} {STORE} .shared .b32 cell; setp.eq.u32 %p, %tid, 0; mov.u32 %b, 0;
    @%p st.shared.u32 [cell], %b; bar.sync 0; red.shared.add.u32 [cell], 1; {{}}
    ld.shared.u32 %b, [cell];"""
    run(body.format("bar.sync 0;"))
    with pytest.raises(ptx.SharedRace):
        run(body.format(""))


def test_division_by_zero() -> None:
    body = f"{LOAD} {STORE} add.u32 %a, %tid, {{}}; div.u32 %b, %a, %a;"
    run(body.format(1))
    with pytest.raises(ptx.UndefinedResult, match="division by zero"):
        run(body.format(0))


def test_arguments_that_do_not_fit() -> None:
    module = ptx.Module(kernel("u64 u32 f32", "").replace("test(", "test (", 1))
    memory = ptx.Memory()
    pointer = memory.upload(np.zeros(1))
    module.launch("test", 1, 1, (pointer, 1, 1.0), memory)
    for args, message in (
        ((pointer, 1), "has 3 parameters, got 2 arguments"),
        ((pointer, 1.5, 1.0), "expected an integer for a .u32 parameter, got 1.5"),
        ((pointer, 1 << 32, 1.0), "4294967296 does not fit a .u32 parameter"),
        ((pointer, np.int64(1), 1.0), "argument 1 has 8 bytes, its parameter has 4"),
    ):
        with pytest.raises(ptx.BadLaunch, match=re.escape(message)):
            module.launch("test", 1, 1, args, memory)
    for grid, block, message in (
        (1, 1025, "1024 threads at most, got 1025"),
        (0, 32, "positive extents, got 0"),
        ((1, 1, 1, 1), 32, "one to three positive extents"),
    ):
        with pytest.raises(ptx.BadLaunch, match=message):
            module.launch("test", grid, block, (pointer, 1, 1.0), memory)
    with pytest.raises(ptx.BadLaunch, match="no kernel 'tset'; there are test"):
        module.launch("tset", 1, 1, (), memory)


def test_a_block_larger_than_the_kernel_is_compiled_for() -> None:
    text = kernel("u64", "").replace(") {", ") .maxntid 64, 1, 1 {", 1)
    module = ptx.Module(text)
    module.launch("test", 1, 64, (0,), ptx.Memory())
    with pytest.raises(ptx.BadLaunch, match="compiled for .64, 1, 1. threads, got 96"):
        module.launch("test", 1, 96, (0,), ptx.Memory())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("add.u32 %a, %a;", "takes 3 operands, got 2"),
        ("add.u32 %a, %g, %b;", "%g is declared .b64 but used as .u32"),
        ("add.u32 %a, %nowhere, %b;", "%nowhere is neither declared nor"),
        ("add.u32 %a, %a, 0d3FF0000000000000;", "a float of 8 bytes where u32 is expected"),
        ("bra NOWHERE;", "NOWHERE.* is not a label"),
        ("ld.global.v2.f32 {%x}, [%p0];", "expected 2 registers"),
        ("bar.sync 0, 32;", "only barriers of the whole block"),
        ("add.f32 %a|%p, %a, %a;", "expected 1 result, got two"),
    ],
)
def test_malformed_instructions(body: str, message: str) -> None:
    with pytest.raises(ptx.SyntaxNotUnderstood, match=message):
        run(body)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".version 8.0\n.texref t;", "line 2: module scope does not know '.texref'"),
        (".address_size 32", "only .address_size 64"),
        (".visible .entry k() .cluster {}", "k: directive '.cluster' is not known"),
        (".visible .entry k() { .alias a, b; }", "k: directive '.alias' is not known"),
        (".visible .entry k() { .reg .b9 %x; }", "registers of type 'b9'"),
        (".visible .entry k() { mov.u32 %x ~", "line 1: '~"),
    ],
)
def test_text_that_is_not_understood(text: str, message: str) -> None:
    with pytest.raises(ptx.SyntaxNotUnderstood, match=message):
        ptx.Module(text).launch("k", 1, 1, (), ptx.Memory())
