"""A kernel that Triton compiles, for two architectures and two sizes of a block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import ptx

triton = pytest.importorskip("triton", reason="triton is not installed")
tl = pytest.importorskip("triton.language")
compiler = pytest.importorskip("triton.compiler")
backend = pytest.importorskip("triton.backends.compiler")


@triton.jit
def softmax_rows(x_ptr, y_ptr, e_ptr, K, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def,name-defined]
    row = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * K + k, mask=k < K, other=-float("inf")).to(tl.float32)
    top = tl.max(x, 0)
    p = tl.exp(x - top)
    total = tl.sum(p, 0)
    tl.store(y_ptr + row * K + k, (p / total).to(y_ptr.dtype.element_ty), mask=k < K)
    tl.store(e_ptr + row, top + tl.log(total))


def compile_rows(t: str, block: int, warps: int, architecture: int) -> Any:
    source = compiler.ASTSource(
        fn=softmax_rows,
        signature={
            "x_ptr": f"*{t}",
            "y_ptr": f"*{t}",
            "e_ptr": "*fp32",
            "K": "i32",
            "BLOCK": "constexpr",
        },
        constexprs={(4,): block},
        attrs={(0,): [["tt.divisibility", 16]], (1,): [["tt.divisibility", 16]]},
    )
    target = backend.GPUTarget("cuda", architecture, 32)
    return triton.compile(source, target=target, options={"num_warps": warps})


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "triton"))


@pytest.mark.parametrize("architecture", [80, 90, 100])
@pytest.mark.parametrize("warps", [1, 4])  # 4: sums go through shared memory
@pytest.mark.parametrize(("t", "tolerance"), [("fp32", 1e-6), ("fp16", 1e-3), ("bf16", 8e-3)])
def test_softmax(t: str, tolerance: float, warps: int, architecture: int) -> None:
    rows, size = 9, 101
    compiled = compile_rows(t, 128, warps, architecture)
    module = ptx.Module(compiled.asm["ptx"])
    (name,) = module.kernels
    x = 3 * np.random.default_rng(0).standard_normal((rows, size))
    raw: Any = x.astype(np.float16 if t == "fp16" else np.float32)
    if t == "bf16":
        raw = ptx.bfloat16_from_float32(raw)
    memory = ptx.Memory()
    y = memory.allocate(raw.shape, raw.dtype, "y", must_write=True)
    e = memory.allocate(rows, np.float32, "e", must_write=True)
    # Behind a kernel's own parameters there are two for scratch memory, unused here.
    args = (memory.upload(raw, "x"), y, e, size, 0, 0)
    module.launch(
        name, rows, 32 * warps, args, memory, dynamic_shared=int(compiled.metadata.shared)
    )
    got, used = memory.download(y), raw
    if t == "bf16":
        got, used = ptx.float32_from_bfloat16(got), ptx.float32_from_bfloat16(used)
    log_sum = np.log(np.exp(used.astype(np.float64)).sum(axis=1))
    exact = np.exp(used - log_sum[:, None])
    np.testing.assert_allclose(got, exact, rtol=0, atol=tolerance)
    np.testing.assert_allclose(memory.download(e), log_sum, rtol=1e-6)
