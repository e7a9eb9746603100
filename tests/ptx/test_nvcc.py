"""Kernels that nvcc compiles here for every architecture in use: their values and counts."""

from __future__ import annotations

import functools
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests import ptx

SOURCES = Path(__file__).parent / "cuda"
ARCHITECTURES = (75, 80, 90, 100, 120)
Array = npt.NDArray[Any]

pytestmark = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ptx")


@functools.cache
def compiled(folder: Path, source: str, architecture: int, *options: str) -> ptx.Module:
    out = folder / "out.ptx"
    command = ["nvcc", "-std=c++17", "-O3", f"-arch=compute_{architecture}", *options, "-ptx"]
    subprocess.run([*command, str(SOURCES / source), "-o", str(out)], check=True)
    return ptx.Module(out.read_text())


class Float:
    """A type of logits: its mangled name, and how it travels."""

    def __init__(self, mangled: str, dtype: npt.DTypeLike, epsilon: float) -> None:
        self.mangled = mangled
        self.dtype = np.dtype(dtype)
        self.epsilon = epsilon

    def encode(self, values: Array) -> Array:
        if self.dtype == np.uint16:
            return ptx.bfloat16_from_float32(values.astype(np.float32))
        return values.astype(self.dtype)

    def decode(self, raw: Array) -> Array:
        if self.dtype == np.uint16:
            return ptx.float32_from_bfloat16(raw).astype(np.float64)
        return raw.astype(np.float64)


FLOATS = {
    "float32": Float("If", np.float32, 2.0**-23),
    "float64": Float("Id", np.float64, 2.0**-52),
    "float16": Float("I6__half", np.float16, 2.0**-10),
    "bfloat16": Float("I13__nv_bfloat16", np.uint16, 2.0**-7),
}
SIGMA = 2.0


def reference(x: Array, y: Array) -> tuple[Array, Array]:
    """The loss of each row and the gradient."""
    labels = np.arange(x.shape[1])
    p = np.exp(-(((labels - y[:, None]) / SIGMA) ** 2) / 2)
    p /= p.sum(axis=1, keepdims=True)
    shifted = x - x.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return (log_sum[:, 0] - (p * shifted).sum(axis=1)), np.exp(shifted - log_sum) - p


def run_rows(
    module: ptx.Module, name: str, kind: Float, rows: int, size: int, rows_per_block: int, **kw: Any
) -> ptx.Counters:
    """Launch with 128 threads a block and compare with the reference."""
    generator = np.random.default_rng(size)
    raw = kind.encode(3 * generator.standard_normal((rows, size)))
    y = generator.uniform(0, size - 1, rows)
    memory = ptx.Memory()
    gradient_out = memory.allocate(raw.shape, raw.dtype, "gradient", must_write=True)
    loss_out = memory.allocate(rows, raw.dtype, "loss", must_write=True)
    inputs = (memory.upload(raw, "x"), memory.upload(y, "y"))
    args = (*inputs, gradient_out, loss_out, rows, size, 1 / SIGMA)
    counters = module.launch(name, -(-rows // rows_per_block), 128, args, memory, **kw)
    loss, gradient = reference(kind.decode(raw), y)
    # Half types: float32 inside, one rounding at the end. Logs and exps: a few ulps of float64.
    scale = 8 if kind.epsilon < 2.0**-20 else 1
    tolerance = scale * kind.epsilon
    np.testing.assert_allclose(kind.decode(memory.download(loss_out)), loss, rtol=tolerance)
    got = kind.decode(memory.download(gradient_out))
    np.testing.assert_allclose(got, gradient, rtol=0, atol=tolerance)
    return counters


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows(folder: Path, architecture: int, kind: str) -> None:
    """A warp and 8 lanes a row in registers, vectors in a loop, tiles in shared memory."""
    module = compiled(folder, "rows.cu", architecture)
    t = FLOATS[kind]
    name = module.kernel_with("registers", f"{t.mangled}Li32E")
    run_rows(module, name, t, 37, 101, 4)  # the last block has one row
    name = module.kernel_with("registers", f"{t.mangled}Li8E")
    run_rows(module, name, t, 32, 30, 16)  # whole warps: 8 of 32 labels idle
    run_rows(module, module.kernel_with("looped", t.mangled), t, 9, 336, 4)
    tile = 200 * (8 if kind == "float64" else 4)
    run_rows(module, module.kernel_with("tiled", t.mangled), t, 5, 200, 1, dynamic_shared=tile)


def test_fast_math(folder: Path) -> None:
    """Flushed and approximate opcodes."""
    module = compiled(folder, "rows.cu", 80, "-use_fast_math")
    name = module.kernel_with("registers", "IfLi32E")
    counters = run_rows(module, name, FLOATS["float32"], 37, 101, 4)
    assert counters.opcodes["ex2.approx.ftz.f32"] > 0


def test_some_lanes_beyond_the_rows(folder: Path) -> None:
    """A warp with rows for some segments only: their shuffles name nobody else."""
    module = compiled(folder, "rows.cu", 80)
    name = module.kernel_with("registers", "IfLi8E")
    run_rows(module, name, FLOATS["float32"], 33, 30, 16)


def test_counts(folder: Path) -> None:
    """What the figures of a kernel are, by hand."""
    module = compiled(folder, "rows.cu", 90)
    name = module.kernel_with("looped", "IfE")
    one = run_rows(module, name, FLOATS["float32"], 1, 256, 4)
    # Three passes over 1 KiB, 512 bytes a request; y and the loss are one request each.
    assert one.requests == {
        "ld.global.128": 6,
        "ld.global.64": 1,
        "st.global.128": 2,
        "st.global.32": 1,
    }
    assert one.sectors_loaded == 3 * 1024 // 32 + 1
    assert one.sectors_stored == 1024 // 32 + 1
    assert one.bytes_loaded == 3 * 1024 + 32 * 8  # all lanes want y
    assert one.bytes_stored == 1024 + 4
    assert one.shuffles == 4 * 5
    assert one.bank_conflicts == 0
    # Rows do not influence each other, nor does the batch they are in.
    many = run_rows(module, name, FLOATS["float32"], 640, 256, 4)
    assert many.requests == {key: 640 * count for key, count in one.requests.items()}
    assert many.sectors_loaded == 640 * one.sectors_loaded
    assert many.shuffles == 640 * one.shuffles
    again = run_rows(module, name, FLOATS["float32"], 640, 256, 4)
    assert again == many


def compare(got: Array, functions: list[tuple[str, Any]], x: Array, rtol: float) -> None:
    for row, (name, function) in zip(got, functions, strict=True):
        expected = np.array([function(v) for v in x.tolist()])
        np.testing.assert_allclose(row, expected, rtol=rtol, atol=rtol, err_msg=name)


def away_from_zero(x: float) -> float:
    return math.copysign(math.floor(abs(x) + 0.5), x)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_functions_of_float32(folder: Path, architecture: int) -> None:
    x = (3 * np.random.default_rng(0).standard_normal(200)).astype(np.float32)
    memory = ptx.Memory()
    out = memory.allocate((24, 200), np.float32, must_write=True)
    module = compiled(folder, "features.cu", architecture)
    module.launch("functions_float", 2, 128, (memory.upload(x), out, 200), memory)
    functions = [
        ("exp", math.exp),
        ("exp2", lambda v: 2.0**v),
        ("log", lambda v: math.log(abs(v))),
        ("log1p", lambda v: math.log1p(abs(v))),
        ("erf", math.erf),
        ("erfc", math.erfc),
        ("tanh", math.tanh),
        ("sqrt", lambda v: math.sqrt(abs(v))),
        ("rsqrt", lambda v: 1 / math.sqrt(abs(v) + 1)),
        ("division", lambda v: v / 3.3),
        ("fdividef", lambda v: v / 3.3),
        ("reciprocal", lambda v: 1 / (v + 20)),
        ("rint", round),
        ("floor", math.floor),
        ("round", away_from_zero),
        ("copysign", lambda v: math.copysign(2, v)),
        ("expm1", math.expm1),
        ("normcdf", lambda v: math.erfc(-v / math.sqrt(2)) / 2),
        ("pow", lambda v: abs(v) ** 1.7),
        ("cbrt", lambda v: math.copysign(abs(v) ** (1 / 3), v)),
        ("fmod", lambda v: math.fmod(v, float(np.float32(0.7)))),
        ("saturate", lambda v: min(max(v, 0), 1)),
        ("hypot", lambda v: math.hypot(v, 2)),
        ("int", math.trunc),
    ]
    compare(memory.download(out), functions, x, 1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_functions_of_float64(folder: Path, architecture: int) -> None:
    """To a few ulps: the fused operations of the expansions must be exact for that."""
    x = 3 * np.random.default_rng(0).standard_normal(200)
    memory = ptx.Memory()
    out = memory.allocate((18, 200), np.float64, must_write=True)
    module = compiled(folder, "features.cu", architecture)
    module.launch("functions_double", 2, 128, (memory.upload(x), out, 200), memory)
    functions = [
        ("exp", math.exp),
        ("exp2", lambda v: 2.0**v),
        ("log", lambda v: math.log(abs(v))),
        ("log1p", lambda v: math.log1p(abs(v))),
        ("erf", math.erf),
        ("erfc", math.erfc),
        ("normcdf", lambda v: math.erfc(-v / math.sqrt(2)) / 2),
        ("sqrt", lambda v: math.sqrt(abs(v))),
        ("rsqrt", lambda v: 1 / math.sqrt(abs(v) + 1)),
        ("division", lambda v: v / 3.3),
        ("rint", round),
        ("floor", math.floor),
        ("expm1", math.expm1),
        ("copysign", lambda v: math.copysign(2, v)),
        ("tanh", math.tanh),
        ("float", lambda v: float(np.float32(v))),
        ("pow", lambda v: abs(v) ** 1.7),
        ("int64", lambda v: math.trunc(v * 1e6)),
    ]
    compare(memory.download(out), functions, x, 1e-15)


def wrap(x: int) -> int:
    return (x + (1 << 31)) % (1 << 32) - (1 << 31)


def truncated_remainder(x: int, y: int) -> int:
    return int(math.fmod(x, y))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_integers(folder: Path, architecture: int) -> None:
    x = np.random.default_rng(1).integers(-(1 << 31), 1 << 31, 64).astype(np.int32)
    memory = ptx.Memory()
    out = memory.allocate((13, 64), np.int32, must_write=True)
    module = compiled(folder, "features.cu", architecture)
    module.launch("integers", 1, 64, (memory.upload(x), out, 64), memory)
    for i, (v, got) in enumerate(zip(x.tolist(), memory.download(out).T.tolist(), strict=True)):
        u = v % (1 << 32)
        digits = format(u, "032b")
        source = u.to_bytes(4, "little") + i.to_bytes(4, "little")
        picked = bytes(source[n] for n in (0, 4, 1, 5))
        expected = [
            int(v / 7),
            truncated_remainder(v, i + 1),
            u // 10,
            digits.count("1") + 100 * (32 - u.bit_length()),
            v * v >> 20,
            min(v, i) ^ max(v, 3),
            int(digits[::-1], 2),
            (u & -u).bit_length(),
            (((u * 3 % (1 << 32)) << 32 | u) << i % 32) >> 32,
            int.from_bytes(picked, "little"),
            truncated_remainder(v * 1000003, 97),
            v * 123456789 >> 32,
            abs(v) >> (i & 7),
        ]
        assert got == [wrap(e) for e in expected], f"x = {v} at {i}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_language(folder: Path, architecture: int) -> None:
    """Calls, a switch, constants, arrays in local memory and pointers to them."""
    x = np.arange(64) * 0.37 - 5
    memory = ptx.Memory()
    out = memory.allocate((3, 64), np.float64, must_write=True)
    module = compiled(folder, "features.cu", architecture)
    module.launch("language", 1, 64, (memory.upload(x), out, 64, 3), memory)
    got = memory.download(out)
    table = np.array([1.5, -2.25, 3.0, 0.125, 1e300])[np.arange(64) % 5]
    np.testing.assert_allclose(got[0], x + 0.5 * 2 + 0.25 * table, rtol=1e-15, atol=1e-15)
    cases = [x + 1, x * 3, x / 7, np.sqrt(abs(x)), x - 11, np.minimum(x, 2), -x, -x]
    assert (got[1] == np.choose(np.arange(64) % 8, cases)).all()
    i = np.arange(64)
    assert (got[2] == x[(i + (3 + i) % 16) % 64]).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_warps(folder: Path, architecture: int) -> None:
    x = np.random.default_rng(1).integers(-5, 5, 64).astype(np.int32)
    memory = ptx.Memory()
    out = memory.allocate((5, 64), np.int32, must_write=True)
    module = compiled(folder, "features.cu", architecture)
    module.launch("warps", 1, 64, (memory.upload(x), out, 64), memory)
    got = memory.download(out)
    i = np.arange(64)
    in_warps = x.reshape(2, 32)
    ballots = ((in_warps > 0).astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(1)
    assert (got[0].view(np.uint32) == np.repeat(ballots, 32)).all()
    assert (got[1] == np.repeat((in_warps == 1).any(1) + 2, 32)).all()
    assert (got[2] == x[i // 16 * 16 + 3]).all()
    assert (got[3] == x[np.where(i % 32 > 0, i - 1, i)]).all()
    assert (got[4] == x[np.where(i % 16 < 15, i + 1, i)]).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_last_block(folder: Path, architecture: int) -> None:
    """Atomics, a fence, and volatile accesses between blocks."""
    x = np.arange(7 * 64, dtype=np.float32)
    memory = ptx.Memory()
    out = memory.allocate(1, np.float32, must_write=True)
    args = (
        memory.upload(x),
        memory.allocate(7, np.float32, "partial", must_write=True),
        memory.upload(np.zeros(1, np.uint32), "ticket"),
        out,
    )
    compiled(folder, "features.cu", architecture).launch("last_block", 7, 64, args, memory)
    assert memory.download(out)[0] == x.sum()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_halves(folder: Path, architecture: int) -> None:
    generator = np.random.default_rng(1)
    x = generator.standard_normal((64, 2)).astype(np.float16)
    y = ptx.bfloat16_from_float32(generator.standard_normal((64, 2)).astype(np.float32))
    memory = ptx.Memory()
    out = memory.allocate((3, 64, 2), np.float16, must_write=True)
    out_y = memory.allocate((3, 64, 2), np.uint16, must_write=architecture >= 80)
    module = compiled(folder, "features.cu", architecture)
    args = (memory.upload(x), out, memory.upload(y), out_y, 64)
    module.launch("halves", 1, 64, args, memory)
    exact = x.astype(np.float64)
    twice = (x + x).astype(np.float64)
    scaled = exact * np.array([0.5, 3.0])
    expected = np.stack([exact * exact + twice, abs(exact), scaled]).astype(np.float16)
    assert (memory.download(out) == expected).all()
    if architecture >= 80:  # pairs of bfloat16 have instructions of their own
        exact = ptx.float32_from_bfloat16(y).astype(np.float64)
        moved = exact * np.array([3.0, 1.0]) + np.array([0.0, 1.0])
        both = np.stack([exact * exact + exact, -abs(exact), moved]).astype(np.float32)
        assert (memory.download(out_y) == ptx.bfloat16_from_float32(both)).all()
