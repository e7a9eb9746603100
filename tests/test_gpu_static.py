"""The figures of the GPU kernels in benchmarks/results, and what they are made with."""

from __future__ import annotations

import dataclasses
import subprocess
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from _build.cuda_toolkit import ToolkitError, find_toolkit
from benchmarks import gpu_model
from benchmarks.eager_kernels import eager_cost
from benchmarks.gpu_disassembly import find_tool, parse_accesses, parse_resources, widths
from benchmarks.gpu_launches import SOURCES, Problem
from benchmarks.gpu_lines import LOSS, Line, read_lines
from benchmarks.gpu_static import Binaries, Counts, kernel_lines
from benchmarks.gpu_table import bars, page
from benchmarks.record import RESULTS
from tests.simt.launchers import compiler

LABELS = (16, 41, 64, 101, 128, 256, 401, 1024)
DTYPES = ("float32", "bfloat16", "float16", "float64")
ROW_KERNELS = (LOSS, "scale_rows_", "expectation", "expectation_backward")
POOL_KERNELS = ("hybrid_pool2d", "hybrid_pool2d_backward")
KERNELS = ROW_KERNELS + POOL_KERNELS
PLANES = (49, 196)


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return read_lines(RESULTS / "gpu_static.csv")


def lines_of(lines: list[Line], kernel: str, *dtypes: str) -> list[Line]:
    found = [line for line in lines if line.kernel == kernel and line.source != "triton"]
    return [line for line in found if line.dtype in (dtypes or DTYPES)]


def test_every_problem_is_there(lines: list[Line]) -> None:
    keys = [(line.source, line.kernel, line.dtype, line.K, line.N) for line in lines]
    rows = [*product(("cuda", "triton"), ROW_KERNELS), ("torch", "eager")]
    pools = [*product(("cuda", "triton"), POOL_KERNELS)]
    of_rows = product(rows, product(DTYPES, LABELS, (4096, 65536)))
    of_pools = product(pools, product(DTYPES, PLANES, (4096, 65536)))
    assert set(keys) == {(*kernel, *problem) for kernel, problem in (*of_rows, *of_pools)}
    assert len(keys) == len(set(keys))
    assert {line.rows_executed for line in lines if line.kernel != "eager"} == {4096}


def test_no_spills_and_few_launches(lines: list[Line]) -> None:
    for kernel in KERNELS:
        found = lines_of(lines, kernel)
        assert {line.spill_bytes for line in found} == {0}
        # One over the rows and, for the mean, one that ends it; one backward.
        assert {line.launches for line in found} == {2 if kernel == LOSS else 1}


def test_sectors(lines: list[Line]) -> None:
    """At most 1.05 times the least, of the kernels that meet it; the page says which do not."""
    for kernel in (LOSS, "expectation_backward", *POOL_KERNELS):
        for line in lines_of(lines, kernel, "float32", "bfloat16"):
            if line.K in (101, 401, 1024, *PLANES):
                assert line.sector_ratio <= 1.05
                assert line.sector_ratio == pytest.approx(line.bytes_sectors / line.bytes_min, 1e-4)


def test_fewest_bytes(lines: list[Line]) -> None:
    (line,) = (x for x in lines_of(lines, LOSS, "bfloat16") if (x.K, x.N) == (101, 4096))
    assert line.bytes_min == 4096 * (2 * 101 * 2 + 4)
    (line,) = (x for x in lines_of(lines, "expectation", "float64") if (x.K, x.N) == (16, 65536))
    assert line.bytes_min == 65536 * (16 * 8 + 2 * 8)
    assert line.floor_us == pytest.approx(line.bytes_min / 3.35e6, abs=1e-3)
    pools = lines_of(lines, "hybrid_pool2d", "bfloat16")
    (line,) = (x for x in pools if (x.K, x.N) == (49, 4096))
    assert line.bytes_min == 4096 * (49 * 2 + 2) + 4096 * 9 // 4


def test_predicted_time(lines: list[Line]) -> None:
    """Within 1.3 of the memory floor; bfloat16 has as many instructions for half of the bytes."""
    (line,) = (x for x in lines_of(lines, LOSS, "float32") if (x.K, x.N) == (101, 65536))
    assert line.predicted_us <= 1.3 * line.floor_us


def test_bytes_beside_eager(lines: list[Line]) -> None:
    """A tenth at most for loss.backward(): a gradient of 1 leaves only float16 to scale."""
    eager = {(x.dtype, x.K, x.N): x.bytes_sectors for x in lines_of(lines, "eager")}
    for line in lines_of(lines, LOSS, "float32", "bfloat16"):
        assert line.bytes_sectors <= 0.1 * eager[line.dtype, line.K, line.N]
    scales = lines_of(lines, "scale_rows_", "float16")
    for line, scale in zip(lines_of(lines, LOSS, "float16"), scales, strict=True):
        assert (line.K, line.N) == (scale.K, scale.N)
        both = line.bytes_sectors + scale.bytes_sectors
        assert both <= 0.1 * eager[line.dtype, line.K, line.N]


def test_page_is_that_of_the_lines(lines: list[Line]) -> None:
    assert (RESULTS / "gpu_static.md").read_text(encoding="utf-8") == page(lines)


@pytest.mark.parametrize(
    ("dtype", "change", "bar"),
    [
        ("float32", {"spill_bytes": 4}, "spilled bytes"),
        ("float32", {"launches": 3}, f"launches of {LOSS}"),
        (
            "float32",
            {"sector_ratio": 1.06},
            f"sectors of {LOSS} over the least; K = 101, 401, 1024",
        ),
        ("float32", {"predicted_us": 21.0}, f"predicted time of {LOSS} over its floor"),
        (
            "float32",
            {"bytes_sectors": 115_000_000},
            "bytes of loss.backward() over eager PyTorch's",
        ),
        # Under the bar but for its scaling.
        (
            "float16",
            {"bytes_sectors": 110_000_000},
            "bytes of loss.backward() over eager PyTorch's",
        ),
    ],
)
def test_bars_see_a_line_that_misses_one(
    lines: list[Line], dtype: str, change: dict[str, float], bar: str
) -> None:
    def missed(some: list[Line]) -> Counter[str]:
        return Counter(bar.name for bar in bars(some) if not bar.reached)

    (line,) = (x for x in lines_of(lines, LOSS, dtype) if (x.K, x.N) == (101, 65536))
    worse = dataclasses.replace(line, **change)
    changed = [worse if x is line else x for x in lines]
    assert f"cuda {bar}" in missed(changed) - missed(lines)


def test_eager_kernels() -> None:
    """43 passes over N x K float32 values, as one counts them by hand."""
    n, k = 512, 64
    cost = eager_cost(n, k, torch.float32)
    assert cost.kernels == 31
    assert cost.bytes / (4 * n * k) == pytest.approx(43, rel=0.01)


@pytest.mark.parametrize(
    ("registers", "threads", "shared", "blocks"),
    [
        (32, 256, 0, 8),  # 64 warps, the most there are
        (32, 1024, 0, 2),
        (33, 256, 0, 6),  # 40 registers are given, to 12 warps of each of the four parts
        (255, 256, 0, 1),  # 2 warps of each part
        (128, 256, 0, 2),
        (16, 32, 0, 32),  # the most blocks
        (16, 64, 0, 32),
        (16, 64, 48 * 1024, 4),  # 228 KiB, of which each takes 49
        (16, 64, 227 * 1024, 1),
        (64, 96, 0, 10),  # 8 warps of each part, in blocks of 3
    ],
)
def test_blocks_per_sm(registers: int, threads: int, shared: int, blocks: int) -> None:
    assert gpu_model.blocks_per_sm(registers, threads, shared) == blocks
    warps = -(-threads // 32)
    assert gpu_model.occupancy(registers, threads, shared) == blocks * warps / 64


OCCUPANCY = r"""
#include <climits>
#include <cstdio>
#include <cuda_occupancy.h>
int main() {
  cudaOccDeviceProp device;
  device.computeMajor = 9;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = 2048;
  device.regsPerBlock = device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 << 10;
  device.sharedMemPerBlockOptin = 227 << 10;
  device.sharedMemPerMultiprocessor = 228 << 10;
  device.reservedSharedMemPerBlock = 1 << 10;
  device.numSms = 132;
  int registers, threads, shared;
  while (std::scanf("%d %d %d", &registers, &threads, &shared) == 3) {
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = INT_MAX;
    kernel.numRegs = registers;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.maxDynamicSharedSizeBytes = 227 << 10;
    kernel.numBlockBarriers = 1;
    const cudaOccDeviceState state;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, shared))
      return 1;
    std::printf("%d\n", result.activeBlocksPerMultiprocessor);
  }
}
"""


def test_blocks_per_sm_as_nvidia_computes_them(tmp_path: Path) -> None:
    try:
        include = find_toolkit().include
    except ToolkitError as error:
        pytest.skip(f"its header is missing: {error}")
    if compiler() is None or not (include / "cuda_occupancy.h").is_file():
        pytest.skip("cuda_occupancy.h or a C++ compiler is missing")
    source, program = tmp_path / "occupancy.cpp", tmp_path / "occupancy"
    source.write_text(OCCUPANCY)
    command = [str(compiler()), f"-I{include}", "-w", "-o", str(program), str(source)]
    subprocess.run(command, check=True)
    shared_bytes = (0, 1, 1024, 19536, 31920, 48 * 1024, 227 * 1024)
    cases = [*product((16, 24, 40, 57, 64, 72, 128, 208, 255), (32, 96, 128, 256), shared_bytes)]
    asked = "\n".join(" ".join(map(str, case)) for case in cases)
    said = subprocess.run([program], input=asked, capture_output=True, text=True, check=True)
    assert [gpu_model.blocks_per_sm(*case) for case in cases] == [*map(int, said.stdout.split())]


def test_least_times() -> None:
    assert gpu_model.memory_us(3.35e12) == pytest.approx(1e6)
    # 132 SMs, four a clock, 1755 clocks a microsecond; one block has one SM.
    assert gpu_model.issue_us(132 * 4 * 1755, 500) == pytest.approx(1)
    assert gpu_model.issue_us(4 * 1755, 1) == pytest.approx(1)


def test_counts_lie_on_a_line() -> None:
    half, full = Counts(64, 2100, 0, 5, 0, 0), Counts(128, 4100, 0, 5, 0, 0)
    assert full.extended(half) == Counts(2048, 100 + 64000, 0, 5, 0, 0)


PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1aIfE' for 'sm_90'
ptxas info    : Function properties for _Z1aIfE
    8 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 72 registers, used 1 barriers, 8 bytes cumulative stack size, 1040 bytes smem
ptxas info    : Compile time = 3.14 ms
ptxas info    : Compiling entry function '_Z1bIfE' for 'sm_90'
ptxas info    : Function properties for _Z1bIfE
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 9 registers, used 0 barriers
"""

SASS = """\
\tcode for sm_90
\t\tFunction : _Z1aIfE
\t.headerflags\t@"EF_CUDA_SM90 EF_CUDA_VIRTUAL_SM(EF_CUDA_SM90)"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                      /* 0x00000a00ff017b82 */
                                                                               /* 0x000fe20000000800 */
        /*0010*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;   /* 0x00000a00ff017b82 */
        /*0020*/              @P12 LDG.E.U16 R4, desc[UR4][R2.64] ;            /* 0x00000a00ff017b82 */
        /*0030*/                   LDG.E R4, desc[UR4][R2.64] ;                /* 0x00000a00ff017b82 */
        /*0040*/                   LD.E.64 R4, desc[UR4][R2.64] ;              /* 0x00000a00ff017b82 */
        /*0050*/             @!UP1 STG.E.64 desc[UR4][R2.64], R4 ;             /* 0x00000a00ff017b82 */
        /*0060*/                   LDS.S8 R3, [R1] ;                           /* 0x00000a00ff017b82 */
        /*0070*/                   LDSM.16.M88 R3, [R1] ;                      /* 0x00000a00ff017b82 */
\t\t..........
\t\tFunction : _Z1bIfE
        /*0000*/                   STL.128 [R1], R4 ;                          /* 0x00000a00ff017b82 */
        /*0010*/                   STS [R1], R4 ;                              /* 0x00000a00ff017b82 */
        /*ff10*/                   STS [R1+0x8], R4 ;                          /* 0x00000a00ff017b82 */
"""  # noqa: E501


def test_what_ptxas_says() -> None:
    first, second = parse_resources(PTXAS).values()
    assert (first.registers, first.spill_bytes, first.static_shared) == (72, 32, 1040)
    assert (second.registers, second.spill_bytes, second.static_shared) == (9, 0, 0)
    with pytest.raises(ValueError, match="expected registers and spills of every kernel"):
        parse_resources(PTXAS.replace("Used 9", "Took 9"))


def test_what_cuobjdump_lists() -> None:
    first, second = parse_accesses(SASS).values()
    loads = {("LDG", 128): 1, ("LDG", 16): 1, ("LDG", 32): 1, ("LD", 64): 1, ("LDS", 8): 1}
    assert first == loads | {("STG", 64): 1}
    assert second == {("STL", 128): 1, ("STS", 32): 2}
    assert widths(first, ("LDG", "LD")) == "128:1 64:1 32:1 16:1"
    assert widths(second, ("STS",)) == "32:2"
    assert widths(Counter(), ("STS",)) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu_static")


@pytest.fixture(scope="module", params=["cuda", "triton"])
def source(request: pytest.FixtureRequest, lines: list[Line]) -> str:
    if request.param == "triton":
        pytest.importorskip("triton", reason="triton is not installed")
    try:
        here = f"CUDA {find_toolkit().version}"
        find_tool("cuobjdump")
    except (ToolkitError, RuntimeError) as error:
        pytest.skip(str(error))
    (there,) = {line.toolkit for line in lines if line.source == request.param}
    if here != there:
        pytest.skip(f"the figures were made with {there}; this is {here}")
    return str(request.param)


@pytest.fixture(scope="module")
def launchers(source: str, folder: Path) -> Any:
    return SOURCES[source](folder, gpu_model.ARCHITECTURE)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_figures_are_those_of_the_kernels(
    kernel: str, source: str, launchers: Any, lines: list[Line], folder: Path
) -> None:
    """Whoever changes a kernel makes them anew: python -m benchmarks.gpu_static."""
    size = 196 if kernel in POOL_KERNELS else 101
    problem = Problem(4096, size, torch.bfloat16)
    made = [*kernel_lines(kernel, source, launchers, problem, Binaries(folder))]
    key = source, kernel, "bfloat16", size
    assert made == [x for x in lines if (x.source, x.kernel, x.dtype, x.K) == key]
