"""Losses beside those of public packages."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dldl_fast.methods import make_method
from tests.cases import uniform_grid

K = 11
GRID = uniform_grid(K)


def close(got: Tensor, want: Tensor, inputs: list[Tensor], tolerance: float = 1e-9) -> None:
    """The same values and gradients."""
    assert want.item() != 0
    torch.testing.assert_close(got, want.to(got.dtype), rtol=tolerance, atol=0)
    grads, want_grads = torch.autograd.grad(got, inputs), torch.autograd.grad(want, inputs)
    torch.testing.assert_close(grads, want_grads, rtol=tolerance, atol=tolerance)


def outputs(columns: int) -> Tensor:
    return (2 * torch.randn(64, columns, dtype=torch.float64)).requires_grad_()


def classes() -> Tensor:
    return torch.randint(0, K, (64,))


def test_coral() -> None:
    from coral_pytorch.dataset import levels_from_labelbatch, proba_to_label
    from coral_pytorch.layers import CoralLayer
    from coral_pytorch.losses import coral_loss

    layer = CoralLayer(1, K).double()
    method = make_method("coral", GRID)
    (bias,) = method.parameters()
    assert torch.equal(bias, layer.coral_bias.float())
    bias.data = torch.randn(K - 1, dtype=torch.float64).sort(descending=True).values
    x, y = outputs(1), classes()
    logits = x + bias
    close(method.loss(x, y), coral_loss(logits, levels_from_labelbatch(y, K).double()), [x, bias])
    assert torch.equal(method.decode(x), proba_to_label(torch.sigmoid(logits)).double())


def test_or_cnn_is_the_loss_of_coral_without_shared_weights() -> None:
    from coral_pytorch.dataset import levels_from_labelbatch
    from coral_pytorch.losses import coral_loss

    x, y = outputs(K - 1), classes()
    levels = levels_from_labelbatch(y, K).double()
    close(make_method("or-cnn", GRID).loss(x, y), coral_loss(x, levels), [x])
    close(make_method("ranking", GRID).loss(x, y), coral_loss(x, levels) / (K - 1), [x])


def test_corn() -> None:
    from coral_pytorch.dataset import corn_label_from_logits
    from coral_pytorch.losses import corn_loss

    x, y = outputs(K - 1), classes()
    method = make_method("corn", GRID)
    close(method.loss(x, y), corn_loss(x, y, K), [x])
    assert torch.equal(method.decode(x), corn_label_from_logits(x).double())


def test_hl_gauss() -> None:
    from hl_gauss_pytorch import HLGaussLoss

    public = HLGaussLoss(0, K - 1, K, 0.8, min_max_value_on_bin_center=True)
    x, y = outputs(K), (K - 1) * torch.rand(64, dtype=torch.float64)
    method = make_method("hl-gauss", GRID, sigma=0.8)
    close(method.loss(x, y), public(x, y), [x], tolerance=1e-6)  # its target is float32
    torch.testing.assert_close(method.decode(x), public(x))


def dlordinal(module: str) -> object:
    return pytest.importorskip(
        f"dlordinal.{module}", reason="dlordinal is not installed: pip install -e '.[ordinal]'"
    )


def test_unimodal_beside_dlordinal() -> None:
    layer = dlordinal("output_layers").BinomialLayer(in_features=1, num_classes=K).double()
    with torch.no_grad():
        layer.p_layer.weight.fill_(1)
        layer.p_layer.bias.fill_(0)
    x, y = outputs(1), classes()
    p = layer(x)
    method = make_method("unimodal", GRID)
    torch.testing.assert_close(method.distribution(x), p)
    close(method.loss(x, y), torch.nn.functional.nll_loss(p.log(), y), [x])


def test_corn_beside_dlordinal() -> None:
    x, y = outputs(K - 1), classes()
    public = dlordinal("losses").CORNLoss(K)
    close(make_method("corn", GRID).loss(x, y), public(x, y), [x])


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_sord_beside_dlordinal(alpha: float) -> None:
    x, y = outputs(K), classes()
    public = dlordinal("losses.sord").SORDLoss(alpha, K, train_targets=y)
    close(make_method("sord", GRID, alpha=alpha).loss(x, y), public(x, y), [x])
