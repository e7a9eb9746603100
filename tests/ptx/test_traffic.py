"""Sectors and bank conflicts, of patterns whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from tests import ptx
from tests.ptx.kernels import kernel
from tests.ptx.traffic import count_bank_conflicts, count_sectors

LANES = np.arange(32)
ONE_WARP = np.zeros(32, np.int64)


@pytest.mark.parametrize(
    ("addresses", "sectors"),
    [
        (LANES * 4, 4),  # a row of float32
        (LANES * 4 + 4, 5),  # beginning inside a sector
        (LANES * 2, 2),
        (LANES * 16, 16),
        (LANES * 32, 32),
        (LANES * 404, 32),  # a column
        (LANES * 0 + 64, 1),  # one value for all
        (LANES[::-1] * 4, 4),
    ],
)
def test_sectors(addresses: np.ndarray, sectors: int) -> None:
    start = 3 << 32
    assert count_sectors(ONE_WARP, addresses + start) == sectors
    # Warps count for themselves, also where they read the same.
    both = np.concatenate([addresses, addresses]) + start
    assert count_sectors(np.repeat([4, 9], 32), both) == 2 * sectors


@pytest.mark.parametrize(
    ("addresses", "size", "conflicts"),
    [
        (LANES * 4, 4, 0),
        (LANES * 0, 4, 0),  # all lanes share the word
        (LANES * 8, 4, 1),
        (LANES * 128, 4, 31),
        (LANES * 132, 4, 0),  # padded columns
        (LANES * 2, 2, 0),  # two lanes to a word
        (LANES // 2 * 4, 4, 0),
        (LANES * 8, 8, 0),  # half a warp a pass
        (LANES * 16, 16, 0),  # a quarter
        (LANES * 16, 8, 2),  # each half has two words in every bank it uses
        (LANES * 128, 16, 4 * 7),
    ],
)
def test_bank_conflicts(addresses: np.ndarray, size: int, conflicts: int) -> None:
    assert count_bank_conflicts(ONE_WARP, LANES, addresses, size) == conflicts
    twice = np.concatenate([addresses, addresses])
    warps, lanes = np.repeat([1, 2], 32), np.concatenate([LANES, LANES])
    assert count_bank_conflicts(warps, lanes, twice, size) == 2 * conflicts
    few = count_bank_conflicts(ONE_WARP[:1], LANES[:1], addresses[:1], size)
    assert few == 0


def test_counters_of_a_launch() -> None:
    """Of two warps, one jumps over half of the code and has fewer lanes in a load."""
    body = """.reg .pred %p; .reg .b32 %x; .reg .b64 %a; .shared .align 4 .b8 s[512];
    mad.wide.u32 %a, %tid, 4, %p0;
    setp.lt.u32 %p, %tid, 32; @%p bra OUT;
    setp.lt.u32 %p, %tid, 40; @%p ld.global.u32 %x, [%a]; @!%p mov.u32 %x, 3;
    shl.b32 %tid, %tid, 3; .reg .b32 %s; mov.u32 %s, s; add.u32 %s, %s, %tid;
    st.shared.u32 [%s-256], %x; shfl.sync.idx.b32 %x, %x, 0, 31, -1;
    OUT:"""
    memory = ptx.Memory()
    args = (memory.upload(np.zeros(64, np.uint32)),)
    counters = ptx.Module(kernel("u64", body)).launch("test", 1, 64, args, memory)
    # Both warps: up to the branch, and ret. One of them: eight more.
    start = 1 + 2  # mov %tid, ld.param, cvta
    assert counters.warp_instructions == 2 * (start + 3 + 1) + 8
    assert counters.opcodes["shl.b32"] == 1
    assert counters.opcodes["setp.lt.u32"] == 3
    assert counters.opcodes["ret"] == 2
    assert counters.requests == {"ld.global.32": 1, "st.shared.32": 1}
    assert (counters.bytes_loaded, counters.sectors_loaded) == (8 * 4, 1)
    assert (counters.bytes_stored, counters.sectors_stored) == (0, 0)
    assert counters.shuffles == 1
    assert counters.bank_conflicts == 1
