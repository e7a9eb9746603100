"""What every way of running a model starts from: a copy without batch normalisation."""

from __future__ import annotations

import copy
from collections import Counter

import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dldl_fast.models.hybrid_pool import HybridPool2d


class PlainHybridPool2d(nn.Module):
    """`HybridPool2d` in the two torch calls that define it, which every exporter knows."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        return F.max_pool2d(x, self.kernel_size).mean(dim=(2, 3))


def plain_copy(model: nn.Module) -> nn.Module:
    """Copy a model for inference; the model itself stays as it is.

    The copy is float32, in evaluation mode, and needs no gradients. Its batch normalisation is
    folded into the convolutions (see `fold_batch_norm`), and its hybrid pooling is plain torch.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        >>> plain_copy(model)
        Sequential(
          (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
          (2): ReLU()
        )
    """
    plain = copy.deepcopy(model).float().eval().requires_grad_(False)
    for name, module in list(plain.named_modules(remove_duplicate=False)):
        if isinstance(module, HybridPool2d):
            _replace(plain, name, PlainHybridPool2d(getattr(module, "kernel_size", 2)))
    fold_batch_norm(plain)
    return plain


def fold_batch_norm(model: nn.Module) -> None:
    r"""Fold batch normalisation into the convolutions before it, in place.

    .. math::
        W'_c = W_c \frac{\gamma_c}{\sqrt{v_c + \epsilon}}, \quad
        b'_c = (b_c - m_c) \frac{\gamma_c}{\sqrt{v_c + \epsilon}} + \beta_c

    with the running mean m and variance v. Each pair of which torch.fx can tell that the
    convolution feeds nothing but its batch normalisation is folded: all of a model whose
    ``forward`` can be traced, else those within the submodules whose ``forward`` can. What else
    there is stays as it is; the results are the same.

    Args:
        model: in evaluation mode.
    """
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    _fold(model, uses)


def _fold(module: nn.Module, uses: Counter[int]) -> None:
    try:
        graph = fx.Tracer().trace(module)
    # Tracing runs the module's own code with stand-ins for tensors: it may raise anything.
    except Exception:
        for child in module.children():
            _fold(child, uses)
        return
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) > 1:
            continue
        conv = module.get_submodule(str(source.target))
        norm = module.get_submodule(str(node.target))
        once = calls[source.target] == calls[node.target] == uses[id(conv)] == uses[id(norm)] == 1
        if once and type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and _has_stats(norm):
            _replace(module, str(source.target), fuse_conv_bn_eval(conv, norm))
            _replace(module, str(node.target), nn.Identity())


def _replace(module: nn.Module, name: str, replacement: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, replacement.eval())


def _has_stats(norm: nn.BatchNorm2d) -> bool:
    # Without running statistics it normalises by those of the batch, in evaluation mode as well.
    return norm.running_mean is not None
