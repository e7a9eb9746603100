"""What eager PyTorch launches for the loss: kernels, and the bytes that they move.

The ops are recorded where PyTorch dispatches them, on tensors without data. Each but a view is one
kernel at least, reads its arguments and writes its results. Whatever a kernel reads twice, or
launches on the way, is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .variants import eager_loss


class EagerCost(NamedTuple):
    """Kernels launched, and bytes read and written."""

    kernels: int
    bytes: int


class _Recorder(TorchDispatchMode):
    # No tensor is kept: one that is referenced elsewhere would be copied where gradients end.
    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.bytes = 0

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        results = op(*args, **(kwargs or {}))
        if not op.is_view:
            self.kernels += 1
            self.bytes += sum(map(_bytes, tree_leaves((args, kwargs, results))))
        return results


def _bytes(value: object) -> int:
    """Those of a tensor in memory; an expanded one has fewer than elements."""
    if not isinstance(value, Tensor):
        return 0
    sizes = zip(value.shape, value.stride(), strict=True)
    count = 1
    for size, stride in sizes:
        count *= size if stride else 1
    return count * value.itemsize


def eager_cost(rows: int, labels: int, dtype: torch.dtype) -> EagerCost:
    """The variant `eager` of the benchmarks, forward and backward."""
    with torch.device("meta"):
        logits = torch.empty(rows, labels, dtype=dtype, requires_grad=True)
        target, grid = torch.empty(rows), torch.empty(labels)
        with _Recorder() as recorder:
            eager_loss(logits, target, grid).backward()
    return EagerCost(recorder.kernels, recorder.bytes)
