"""What every way of running a model starts from: a copy without batch normalisation."""

from __future__ import annotations

import copy
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dldl_fast import HybridPool2d


class PlainHybridPool2d(nn.Module):
    """`HybridPool2d` in the two torch calls that define it, which every exporter knows."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        return F.max_pool2d(x, self.kernel_size).mean(dim=(2, 3))


def plain_copy(model: nn.Module, example_images: Tensor) -> nn.Module:
    """Copy a model for inference; the model itself stays as it is.

    The copy is float32, in evaluation mode, and needs no gradients. Its batch normalisation is
    folded into the convolutions (see `fold_batch_norm`), and its hybrid pooling is plain torch.

    Args:
        model: maps images to logits.
        example_images: [N, C, H, W]; only their size matters.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        >>> plain_copy(model, torch.zeros(1, 3, 8, 8))
        Sequential(
          (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
          (2): ReLU()
        )
    """
    plain = copy.deepcopy(model).float().eval().requires_grad_(False)
    for name, module in list(plain.named_modules(remove_duplicate=False)):
        if isinstance(module, HybridPool2d):
            _replace(plain, name, PlainHybridPool2d(module.kernel_size))
    try:
        program = traced(plain, example_images)
    # It runs the model's own code with stand-ins for tensors, which may raise anything.
    except Exception as error:
        warnings.warn(
            "batch normalisation is not folded, since torch.export cannot trace the model "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0]})",
            stacklevel=3,
        )
    else:
        fold_batch_norm(plain, program)
    return plain


def traced(model: nn.Module, example_images: Tensor) -> ExportedProgram:
    """The operations of a model, for any number of images of the example's size."""
    # torch.export takes a single image as the only number of images that there will ever be.
    images = torch.zeros(2, *example_images.shape[1:])
    return torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def fold_batch_norm(model: nn.Module, program: ExportedProgram) -> None:
    r"""Fold batch normalisation into the convolutions before it, in place.

    .. math::
        W'_c = W_c \frac{\gamma_c}{\sqrt{v_c + \epsilon}}, \quad
        b'_c = (b_c - m_c) \frac{\gamma_c}{\sqrt{v_c + \epsilon}} + \beta_c

    with the running mean m and variance v. A pair is folded if the convolution is called once and
    feeds nothing but its batch normalisation.

    Args:
        model: in evaluation mode.
        program: what `traced` made of it.
    """
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for node in program.graph.nodes:
        if node.op != "call_function" or "batch_norm" not in str(node.target):
            continue
        source, running_mean = node.args[0], node.args[3]
        # Without running statistics it normalises by those of the batch, in evaluation as well.
        if source.op != "call_function" or "conv" not in str(source.target) or running_mean is None:
            continue
        kernel = source.args[1]
        if len(source.users) > 1 or len(kernel.users) > 1 or len(running_mean.users) > 1:
            continue
        conv_name = names.get(kernel.name, "").rpartition(".")[0]
        norm_name = names.get(running_mean.name, "").rpartition(".")[0]
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
            _replace(model, conv_name, fuse_conv_bn_eval(conv, norm))
            _replace(model, norm_name, nn.Identity())


def _replace(module: nn.Module, name: str, replacement: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, replacement.eval())
