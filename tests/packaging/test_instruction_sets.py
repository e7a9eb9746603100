"""Code for AVX stays in the functions that are called only where the processor has it."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from collections import defaultdict

import pytest

SPEC = importlib.util.find_spec("dldl_fast._C")

pytestmark = [
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX is of x86-64"),
    pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump (binutils)"),
    pytest.mark.skipif(SPEC is None, reason="dldl_fast is installed without compiled code"),
]

FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>.*)>:$")
INSTRUCTION = re.compile(
    r"^\s+[0-9a-f]+:\s+(?:(?:rep|repz|lock|notrack|bnd|data16)\s+)*(?P<text>\S.*)$"
)
# Not AVX in spite of the v: virtual machines and the checking of segments.
OTHER_V = re.compile(
    r"^(verr|verw|vm(call|clear|funct?|func|launch|load|mcall|ptrld|ptrst|read|resume|run|save|write|xon|xoff))\b"
)


def level(instruction: str) -> int:
    """0 without AVX, 2 for what AVX2 processors have, 512 for what only AVX-512 ones have."""
    if re.search(r"%zmm|%k[0-7]\b|%[xy]mm(1[6-9]|2\d|3[01])\b", instruction):
        return 512
    if "%ymm" in instruction or (instruction.startswith("v") and not OTHER_V.match(instruction)):
        return 2
    return 0


@pytest.fixture(scope="module")
def levels() -> dict[str, int]:
    """Highest level of every function of the library, local ones too."""
    assert SPEC is not None and SPEC.origin is not None
    listing = subprocess.run(
        ["objdump", "-d", "--demangle", "--no-show-raw-insn", SPEC.origin],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[str, int] = defaultdict(int)
    name = ""
    for line in listing.splitlines():
        if header := FUNCTION.match(line):
            name = header["name"]
        elif instruction := INSTRUCTION.match(line):
            found[name] = max(found[name], level(instruction["text"]))
    return found


def test_levels_of_instructions() -> None:
    assert level("addps  %xmm1,%xmm2") == 0
    assert level("verw   (%rax)") == 0
    assert level("vaddps %xmm1,%xmm2,%xmm3") == 2
    assert level("vzeroupper") == 2
    assert level("vmovups %ymm0,(%rdi)") == 2
    assert level("vmovups %zmm0,(%rdi)") == 512
    assert level("kmovw  %eax,%k1") == 512
    assert level("vaddps %xmm16,%xmm2,%xmm3") == 512


def test_functions_of_each_set_are_seen(levels: dict[str, int]) -> None:
    assert any(found == 2 and "avx2" in name for name, found in levels.items())
    assert any(found == 512 and "avx512" in name for name, found in levels.items())
    assert any(found == 0 and "baseline" in name for name, found in levels.items())


def test_no_avx_outside_of_its_functions(levels: dict[str, int]) -> None:
    # Weak symbols, which the linker shares between the sets, have no set in their names either.
    leaks = [name for name, found in levels.items() if found and not re.search("avx2|avx512", name)]
    assert leaks == []


def test_no_avx512_in_functions_for_avx2(levels: dict[str, int]) -> None:
    leaks = [name for name, found in levels.items() if found == 512 and "avx512" not in name]
    assert leaks == []
