"""The launchers of csrc/cuda on CPU tensors.

Here compiled by g++ against the stand-in CUDA headers, so that pointers are those of the tensors;
tests/ptx/launchers.py gives them other memory.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from ctypes import Structure, byref, c_bool, c_double, c_int, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dldl_fast import reference
from dldl_fast.labels import uniform_step
from dldl_fast.options import LossOptions
from dldl_fast.schema import Ops, choice_bytes, is_channels_last

ROOT = Path(__file__).resolve().parents[2]
SIMT = ROOT / "tests" / "simt"
NO_BAD_ROW = 2**64 - 1

_STORAGES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def compiler() -> str | None:
    """The C++ compiler of these tests; fibers and half precision ask for g++."""
    return shutil.which(os.environ.get("CXX", "g++"))


def kernel_files() -> list[Path]:
    """The sources of the kernels and their launchers."""
    found = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    # It asks the CUDA runtime for its version, and holds no kernel.
    return [path for path in found if path.stem != "build_info"]


def compile_kernels(*sources: str, output: Path, flags: list[str]) -> None:
    """Compile and link the kernels with `sources` of this folder, a file on each core."""
    include = [f"-I{path}" for path in (SIMT, SIMT / "cuda", ROOT / "csrc")]
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    command = [str(compiler()), "-std=c++20", "-g1", "-fno-strict-aliasing", *warnings, *flags]
    files = [*(SIMT / name for name in ("machine.cpp", *sources)), *kernel_files()]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:

        def compile_file(source: Path) -> str:
            made = f"{folder}/{source.name}.o"
            whole = [*command, *include, "-c", "-o", made, "-x", "c++", str(source)]
            subprocess.run(whole, check=True)
            return made

        objects = [*pool.map(compile_file, files)]
        subprocess.run([*command, "-o", str(output), *objects], check=True)


class _RowValues(Structure):
    _fields_ = [("data", c_void_p), ("is_double", c_bool)]


class _LabelGrid(Structure):
    _fields_ = [
        ("labels", c_void_p),
        ("size", c_int),
        ("step", c_double),
        ("inverse_step", c_double),
    ]


class _Logits(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("storage", c_int),
        ("n_rows", c_int64),
        ("row_stride", c_int64),
    ]


class _LossOptions(Structure):
    _fields_ = [
        ("lambda_", c_double),
        ("ld_weight", c_double),
        ("variance_weight", c_double),
        ("kind", c_int),
        ("divergence", c_int),
        ("regression", c_int),
        ("smooth_l1_beta", c_double),
        ("reduction", c_int),
        ("out_of_range", c_int),
        ("ignore_nan", c_bool),
    ]


class _LossInputs(Structure):
    _fields_ = [
        ("logits", _Logits),
        ("grid", _LabelGrid),
        ("target", _RowValues),
        ("sigma", _RowValues),
        ("sigma_number", c_double),
        ("weight", _RowValues),
        ("distribution", _RowValues),
        ("options", _LossOptions),
        ("grad_scale", c_double),
    ]


class _LossOutputs(Structure):
    _fields_ = [
        (name, c_void_p) for name in ("loss", "grad", "scale", "terms", "bad_row", "workspace")
    ]


class _ScaleInputs(Structure):
    _fields_ = [
        ("grad", c_void_p),
        ("storage", c_int),
        ("n_rows", c_int64),
        ("n_labels", c_int),
        ("grad_loss", _RowValues),
        ("per_row", c_bool),
        ("scale", c_void_p),
        ("weight", _RowValues),
    ]


class _PoolShape(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("images", "channels", "height", "width", "kernel_size")),
        ("channels_last", c_bool),
    ]


class Launchers:
    """What the glue between torch and the launchers does.

    Its methods take the place of those in `dldl_fast.ops`.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.launch_loss_workspace_doubles.restype = ctypes.c_size_t
        # (row, code) of the last call, or None.
        self.bad_row: tuple[int, int] | None = None

    def set_seed(self, seed: int) -> None:
        """Another order of the threads."""
        self._library.simt_set_seed(c_uint64(seed))

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, f"launch_{name}")
        function.restype = ctypes.c_char_p
        if message := function(*arguments):
            raise RuntimeError(message.decode())

    # Addresses for the kernels. An output is written to its last byte.
    def _input(self, tensor: Tensor) -> int:
        return tensor.data_ptr()

    def _output(self, tensor: Tensor) -> int:
        return tensor.data_ptr()

    def _in_place(self, tensor: Tensor) -> int:
        return tensor.data_ptr()

    def _grid(self, labels: Tensor, step: float) -> _LabelGrid:
        return _LabelGrid(self._input(labels), len(labels), step, 1 / step if step > 0 else 0.0)

    def _logits(self, logits: Tensor) -> _Logits:
        storage = _STORAGES.index(logits.dtype)
        return _Logits(self._input(logits), storage, len(logits), logits.stride(0))

    def _values(self, values: Tensor | None) -> _RowValues:
        if values is None:
            return _RowValues(None, False)
        return _RowValues(self._input(values), values.dtype == torch.float64)

    def forward(
        self,
        logits: Tensor,
        target: Tensor | None,
        sigma: float | Tensor,
        weight: Tensor | None,
        target_distribution: Tensor | None,
        labels: Tensor,
        step: float,
        options: LossOptions,
        *,
        return_terms: bool = False,
        needs_grad: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Loss, gradient, the factor it lacks, and terms."""
        logits = _with_contiguous_rows(logits)
        labels = labels.contiguous()
        n_rows, n_labels = logits.shape
        grid = self._grid(labels, step)
        number, rows = (0.0, sigma) if isinstance(sigma, Tensor) else (float(sigma), None)
        held = [
            None if v is None else v.contiguous()
            for v in (target, rows, weight, target_distribution)
        ]
        known = options.reduction == "mean" and weight is None and not options.ignore_nan
        scale_now = known and logits.dtype != torch.float16
        grad_scale = 1 / max(n_rows, 1) if scale_now else 1.0
        inputs = _LossInputs(
            self._logits(logits), grid, self._values(held[0]), self._values(held[1]), number,
            self._values(held[2]), self._values(held[3]), _LossOptions(*options.codes), grad_scale,
        )  # fmt: skip

        accumulation = reference.accumulation_dtype(logits)
        nan = torch.nan
        loss = torch.full((n_rows,) if options.reduction == "none" else (), nan, dtype=accumulation)
        grad = torch.full((n_rows, n_labels), nan, dtype=logits.dtype) if needs_grad else None
        scale = None if scale_now else torch.full((), nan, dtype=torch.float64)
        terms = torch.full((3, n_rows), nan, dtype=torch.float64) if return_terms else None
        bad_row = torch.zeros((), dtype=torch.int64)
        size = self._library.launch_loss_workspace_doubles(byref(inputs))
        workspace = torch.full((size,), nan, dtype=torch.float64)
        outputs = _LossOutputs(
            self._output(loss), None if grad is None else self._output(grad),
            None if scale is None else self._output(scale),
            None if terms is None else self._output(terms), self._output(bad_row),
            self._in_place(workspace),
        )  # fmt: skip
        self._call("label_distribution_loss", byref(inputs), byref(outputs))
        found = int(bad_row) % 2**64
        self.bad_row = None if found == NO_BAD_ROW else (found >> 8, found & 255)
        return loss, grad, scale, terms

    def scale_rows(
        self, grad: Tensor, grad_loss: Tensor, scale: Tensor | None, weight: Tensor | None
    ) -> None:
        grad_loss = grad_loss.contiguous()
        weight = None if weight is None else weight.contiguous()
        inputs = _ScaleInputs(
            self._in_place(grad), _STORAGES.index(grad.dtype), *grad.shape, self._values(grad_loss),
            grad_loss.dim() == 1, None if scale is None else self._input(scale),
            self._values(weight),
        )  # fmt: skip
        self._call("scale_rows", byref(inputs))

    def label_distribution_loss(
        self,
        logits: Tensor,
        target: Tensor | None,
        sigma: float | Tensor,
        weight: Tensor | None,
        target_distribution: Tensor | None,
        labels: Tensor,
        step: float,
        options: LossOptions,
        return_terms: bool,
        ops: Ops,
    ) -> tuple[Tensor, Tensor | None]:
        step = uniform_step(labels)  # logits on a GPU would have brought it
        arguments = (target, sigma, weight, target_distribution, labels, step, options)
        loss, terms = _Loss.apply(logits, self, arguments, return_terms)
        return loss, terms

    def expectation(
        self, logits: Tensor, labels: Tensor, step: float, return_std: bool, ops: Ops
    ) -> tuple[Tensor, Tensor | None]:
        mean, std = _Expectation.apply(logits, self, labels, uniform_step(labels))
        return mean, std if return_std else None

    def moments(self, logits: Tensor, labels: Tensor, step: float) -> tuple[Tensor, Tensor]:
        grid = self._grid(labels, step)
        logits = _with_contiguous_rows(logits)
        mean, std = torch.full((2, len(logits)), torch.nan, dtype=torch.float64)
        pointers = [c_void_p(self._output(moment)) for moment in (mean, std)]
        self._call("expectation", byref(self._logits(logits)), byref(grid), *pointers)
        return mean, std

    def moments_backward(
        self,
        logits: Tensor,
        labels: Tensor,
        step: float,
        grad_mean: Tensor | None,
        grad_std: Tensor | None,
    ) -> Tensor:
        grid = self._grid(labels, step)
        logits = _with_contiguous_rows(logits)
        grad = torch.full(logits.shape, torch.nan, dtype=logits.dtype)
        held = [None if given is None else given.contiguous() for given in (grad_mean, grad_std)]
        pointers = [None if given is None else c_void_p(self._input(given)) for given in held]
        pointers.append(c_void_p(self._output(grad)))
        self._call("expectation_backward", byref(self._logits(logits)), byref(grid), *pointers)
        return grad

    def pool(self, x: Tensor, kernel_size: int, needs_grad: bool) -> tuple[Tensor, Tensor | None]:
        """Pooled values and choices of x, which is contiguous or channels_last."""
        shape = _PoolShape(*x.shape, kernel_size, is_channels_last(x))
        n, c, height, width = x.shape
        windows = n * c * (height // kernel_size) * (width // kernel_size)
        pooled = torch.full((n, c), torch.nan, dtype=x.dtype)
        choices = torch.full((choice_bytes(windows, kernel_size),), 255).byte()
        self._call(
            "hybrid_pool2d", c_void_p(self._input(x)), _STORAGES.index(x.dtype), byref(shape),
            c_void_p(self._output(pooled)), c_void_p(self._output(choices)) if needs_grad else None,
        )  # fmt: skip
        return pooled, choices if needs_grad else None

    def pool_backward(
        self,
        grad_pooled: Tensor,
        choices: Tensor,
        height: int,
        width: int,
        kernel_size: int,
        channels_last: bool,
    ) -> Tensor:
        n, c = grad_pooled.shape
        shape = _PoolShape(n, c, height, width, kernel_size, channels_last)
        sizes = (n, height, width, c) if channels_last else (n, c, height, width)
        grad = torch.full(sizes, torch.nan, dtype=grad_pooled.dtype)
        self._call(
            "hybrid_pool2d_backward", c_void_p(self._input(grad_pooled)),
            _STORAGES.index(grad.dtype), byref(shape), c_void_p(self._input(choices)),
            c_void_p(self._output(grad)),
        )  # fmt: skip
        return grad.permute(0, 3, 1, 2) if channels_last else grad


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, launchers: Launchers, arguments: Any, return_terms: bool
    ) -> Any:
        loss, ctx.grad, ctx.scale, terms = launchers.forward(
            logits, *arguments, return_terms=return_terms, needs_grad=logits.requires_grad
        )
        ctx.launchers, ctx.weight = launchers, arguments[2]
        if terms is not None:
            ctx.mark_non_differentiable(terms)
        return loss, terms

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Any) -> Any:
        ctx.launchers.scale_rows(ctx.grad, grad_loss, ctx.scale, ctx.weight)
        return ctx.grad, None, None, None


class _Expectation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, launchers: Launchers, labels: Tensor, step: float) -> Any:
        ctx.launchers, ctx.step = launchers, step
        ctx.save_for_backward(logits, labels)
        ctx.set_materialize_grads(False)
        return launchers.moments(logits, labels, step)

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_std: Tensor) -> Any:
        grads = grad_mean, grad_std
        grad = ctx.launchers.moments_backward(*ctx.saved_tensors, ctx.step, *grads)
        return grad, None, None, None


def _with_contiguous_rows(logits: Tensor) -> Tensor:
    return logits if logits.stride(1) == 1 else logits.contiguous()
