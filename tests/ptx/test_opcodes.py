"""Every opcode that computes, by a kernel of one such instruction; and that there is no other."""

from __future__ import annotations

import numpy as np
import pytest

from tests import ptx
from tests.ptx import test_control, test_memory_opcodes, test_warp_opcodes
from tests.ptx.cases import bits, comparison, conversion, floating, half, integer
from tests.ptx.cases.case import Case, decode, encode, same, size_of
from tests.ptx.kernels import address, kernel
from tests.ptx.opcodes import OPCODES
from tests.ptx.opcodes.table import Arithmetic

CASES = [
    case
    for family in (bits, comparison, conversion, floating, half, integer)
    for case in family.cases()
]


def _register(name: str, t: str) -> str:
    """Registers have 16 bits at least, or are predicates."""
    return f".reg .{'pred' if t == 'pred' else f'b{max(8 * size_of(t), 16)}'} %{name};"


def _text(case: Case) -> str:
    """Each thread loads its operands and stores its results, 8 bytes for each."""
    lines = []
    names = []
    for i, t in enumerate(case.operands):
        lines += [address(f"from{i}", "p0", 8 * len(case.operands), 8 * i), _register(f"x{i}", t)]
        if t == "pred":
            lines.append(f".reg .b16 %raw{i}; ld.global.u8 %raw{i}, [%from{i}];")
            lines.append(f"setp.ne.s16 %x{i}, %raw{i}, 0;")
        else:
            lines.append(f"ld.global.b{8 * size_of(t)} %x{i}, [%from{i}];")
        names.append(f"%x{i}")
    if case.spelling == "lop3.b32":
        names.append("0xCA")
    results = [f"%y{i}" for i in range(len(case.results))]
    lines += [_register(f"y{i}", t) for i, t in enumerate(case.results)]
    spelling = case.spelling.partition(" of ")[0]
    lines.append(f"{spelling} {'|'.join(results)}, {', '.join(names)};")
    for i, t in enumerate(case.results):
        lines.append(address(f"to{i}", "p1", 8 * len(case.results), 8 * i))
        if t == "pred":
            lines.append(f".reg .b32 %as{i}; selp.b32 %as{i}, 1, 0, %y{i};")
            lines.append(f"st.global.b32 [%to{i}], %as{i};")
        else:
            lines.append(f"st.global.b{max(8 * size_of(t), 16)} [%to{i}], %y{i};")
    return kernel("u64 u64", "\n".join(lines))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.spelling)
def test_against_python(case: Case) -> None:
    tries = case.values()
    bits_in = [[encode(t, v) for t, v in zip(case.operands, x, strict=True)] for x in tries]
    memory = ptx.Memory()
    operands = memory.upload(np.array(bits_in, np.uint64), "operands")
    cleared = np.zeros((len(tries), len(case.results)), np.uint64)
    results = memory.upload(cleared, "results")
    ptx.Module(_text(case)).launch("test", 1, len(tries), (operands, results), memory)
    for values, raw in zip(tries, memory.download(results).tolist(), strict=True):
        expected = case.expected(*values)
        if len(case.results) == 1:
            expected = (expected,)
        for t, got_bits, wanted in zip(case.results, raw, expected, strict=True):
            if t in ("u8", "s8"):
                # Their registers have 16 bits, into which they are extended.
                wanted = decode(t, encode(t, wanted))
                t = t[0] + "16"
            if t[0] in "usb" and t[1:].isdigit():
                wanted = decode(t, encode(t, wanted))
            got = decode(t, got_bits)
            assert same(t, got, wanted, case.tolerance), (
                f"{case.spelling} of {values}: got {got!r}, expected {wanted!r}"
            )


def test_every_spelling_has_a_test() -> None:
    """Each of the four kinds of test names the spellings it runs."""
    arithmetic = [case.spelling for case in CASES]
    assert len(set(arithmetic)) == len(arithmetic)
    assert set(arithmetic) == {s for s, o in OPCODES.items() if isinstance(o, Arithmetic)}
    tested = {
        *arithmetic,
        *test_memory_opcodes.SPELLINGS,
        *test_warp_opcodes.SPELLINGS,
        *test_control.SPELLINGS,
    }
    assert tested == set(OPCODES)


@pytest.mark.parametrize(
    "spelling", ["add.rn.sat.f64", "cvt.rni.f32.f64", "ex2.approx.f16", "st.global.wt.f32", "add"]
)
def test_an_unknown_spelling_is_named(spelling: str) -> None:
    module = ptx.Module(kernel("u64", f".reg .f32 %f<3>; {spelling} %f0, %f1, %f2;"))
    with pytest.raises(ptx.UnknownOpcode, match=rf"opcode '{spelling}' is not in the table"):
        module.launch("test", 1, 1, (0,), ptx.Memory())
