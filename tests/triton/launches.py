"""Triton's kernels where there is no GPU: each launch is compiled, and its PTX interpreted.

The host code runs as it is, on CPU tensors; only the end of a launch, the driver, is replaced.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from tests import ptx
from tests.ptx.runtime import Launch

# What a kernel writes to the last element without reading it.
_OUTPUTS = {
    "label_distribution_loss_kernel": ("loss", "grad_logits", "terms", "workspace"),
    "reduce_loss_kernel": ("loss", "scale"),
    "scale_rows_kernel": (),
    "expectation_kernel": ("mean", "std"),
    "expectation_backward_kernel": ("grad_logits",),
    "hybrid_pool2d_kernel": ("pooled", "choices"),
    "hybrid_pool2d_channels_kernel": ("pooled", "choices"),
    "hybrid_pool2d_choices_kernel": ("choices",),
    "hybrid_pool2d_backward_kernel": ("grad_x",),
}
_IN_PLACE = {"scale_rows_kernel": ("grad_logits",)}


class PtxLaunches:
    """Takes the place of `JITFunction.run`.

    Attributes:
        interprets: False leaves it at compiling; outputs keep what they hold then.
        launches: Those that were interpreted since it was emptied, in their order.
        compiled: The kernels themselves, by name.
    """

    def __init__(self, architecture: int = 80) -> None:
        self._target = GPUTarget("cuda", architecture, 32)
        self._modules: dict[str, ptx.Module] = {}
        self.interprets = True
        self.launches: list[Launch] = []
        self.compiled: dict[str, Any] = {}

    @property
    def counters(self) -> dict[str, ptx.Counters]:
        """What the launches counted, by kernel."""
        return {launch.kernel: launch.counters for launch in self.launches}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take launches from now on, until the patch is undone."""

        def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
            self.run(kernel, *args, grid=grid, **kwargs)

        patch.setattr(JITFunction, "run", run)

    def run(self, kernel: JITFunction, *args: Any, grid: Any, **kwargs: Any) -> None:
        """Compile for these arguments, interpret, and write the outputs back."""
        compiled, arguments = self.compile(kernel, *args, **kwargs)
        self.compiled[kernel.__name__] = compiled
        if not self.interprets:
            return
        text = compiled.asm["ptx"]
        if compiled.hash not in self._modules:
            self._modules[compiled.hash] = ptx.Module(text)
        module = self._modules[compiled.hash]
        memory = ptx.Memory()
        written: list[tuple[Tensor, ptx.Pointer]] = []
        outputs = _OUTPUTS[kernel.__name__]
        values = []
        for name, value in arguments:
            if not isinstance(value, Tensor):
                values.append(value)
                continue
            values.append(_output(value, memory) if name in outputs else _input(value, memory))
            if name in (*outputs, *_IN_PLACE.get(kernel.__name__, ())):
                written.append((value, values[-1]))
        # Behind a kernel's own parameters there are two for scratch memory, unused here.
        name, (blocks,) = compiled.metadata.name, grid
        threads, shared = 32 * compiled.metadata.num_warps, int(compiled.metadata.shared)
        counters = module.launch(
            name, blocks, threads, [*values, 0, 0], memory, dynamic_shared=shared
        )
        self.launches.append(Launch(text, name, blocks, threads, shared, counters))
        for tensor, pointer in written:
            got = torch.from_numpy(memory.download(pointer))
            tensor.copy_(got.view(tensor.dtype).view(tensor.shape))

    def compile(
        self, kernel: JITFunction, *args: Any, **kwargs: Any
    ) -> tuple[Any, list[tuple[str, Any]]]:
        """What Triton does for a launch, but for the device: the kernel and its own arguments."""
        backend = make_backend(self._target)
        bind = create_function_from_signature(kernel.signature, kernel.params, backend)
        bound, specialization, options = bind(*args, **kwargs)
        options, signature, constants, attributes = kernel._pack_args(
            backend, kwargs, bound, specialization, options
        )
        source = ASTSource(kernel, signature, constants, attributes)
        compiled = compile(source, target=self._target, options=options.__dict__)
        passed = [(n, v) for n, v in bound.items() if signature[n] != "constexpr"]
        return compiled, passed


def _output(tensor: Tensor, memory: ptx.Memory) -> ptx.Pointer:
    return memory.allocate(tensor.numel() * tensor.itemsize, "u1", must_write=True)


def _input(tensor: Tensor, memory: ptx.Memory) -> ptx.Pointer:
    # The whole span of the view, at the place in a 256-byte line that it has in its storage.
    offset = int(tensor.storage_offset()) * tensor.itemsize % 256
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    count = 1 + sum((size - 1) * stride for size, stride in strides)
    values = tensor.detach().as_strided((count,), (1,)).view(torch.uint8)
    return memory.upload(values.numpy(), "input", offset=offset)


def spilled_bytes(kernel: Any, folder: Path) -> int:
    """Of a thread's registers, in local memory."""
    path = folder / "kernel.cubin"
    path.write_bytes(kernel.asm["cubin"])
    text = subprocess.check_output(
        [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(path)], text=True
    )
    return int(text.partition("STACK:")[2].split()[0])
