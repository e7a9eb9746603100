from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dldl_fast import HybridPool2d
from dldl_fast.inference.plain import PlainHybridPool2d, plain_copy
from tests.inference.conftest import expected_logits


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_all_pairs_are_folded_and_the_logits_stay(model, images):
    plain = plain_copy(model, images)
    assert norms(plain) == 0
    assert not plain.training
    assert not any(p.requires_grad for p in plain.parameters())
    expected = expected_logits(model, images)
    torch.testing.assert_close(plain(images).double(), expected, rtol=1e-4, atol=1e-4)


def test_the_model_stays_as_it_is(model, images):
    before, mode = copy.deepcopy(model.state_dict()), str(model)
    plain_copy(model, images)
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert str(model) == mode
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())


def test_half_precision_models_become_float32(model, images):
    plain = plain_copy(model.bfloat16(), images)
    expected = expected_logits(model.float(), images)
    torch.testing.assert_close(plain(images).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [6, 7])  # even; odd: the remainder is dropped
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_plain_hybrid_pooling(size, kernel_size):
    x = torch.randn(2, 5, size, size)
    plain = plain_copy(nn.Sequential(HybridPool2d(kernel_size)), x)
    assert type(plain[0]) is PlainHybridPool2d
    torch.testing.assert_close(plain(x), HybridPool2d(kernel_size)(x))


class TwoPoolings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = self.same_pool = HybridPool2d()
        self.inner = nn.Sequential(HybridPool2d())

    def forward(self, images):
        return self.pool(images) + self.same_pool(-images) + self.inner(images)


def test_every_hybrid_pooling_is_replaced_a_shared_one_too(images):
    model = TwoPoolings()
    plain = plain_copy(model, images)
    assert not any(isinstance(module, HybridPool2d) for module in plain.modules())
    torch.testing.assert_close(plain(images), model(images))


def test_the_pooling_of_the_model_is_not_called(model, images, monkeypatch):
    """It is an operation that other programs do not have."""
    expected = expected_logits(model, images)
    monkeypatch.delattr(HybridPool2d, "forward")
    logits = plain_copy(model, images)(images).double()
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


class Residual(nn.Module):
    """Pairs that are attributes, of which some must not be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.read_twice, self.norm_of_it = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.called_twice, self.norm_a = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.norm_b = nn.BatchNorm2d(3)
        self.before, self.without_stats = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.without_stats.running_mean = self.without_stats.running_var = None

    def forward(self, x):
        x = x + self.norm(self.conv(x))
        y = self.read_twice(x)
        x = y + self.norm_of_it(y)
        x = self.norm_a(self.called_twice(x)) + self.norm_b(self.called_twice(-x))
        return self.without_stats(self.before(x))


class ChecksItsInput(nn.Sequential):
    """Python code of its own around what it holds."""

    def forward(self, x):
        if tuple(x.shape)[1] != 3:
            raise ValueError("three channels, please")
        return super().forward(x)


@pytest.mark.parametrize("wrap", [lambda m: m, ChecksItsInput, nn.Sequential])
def test_only_pairs_that_nothing_else_sees_are_folded(wrap):
    model = wrap(Residual()).eval()
    x = torch.randn(2, 3, 8, 8)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            if module.running_var is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        plain = plain_copy(model, x)
        torch.testing.assert_close(plain(x), model(x), rtol=1e-4, atol=1e-5)
    assert norms(plain) == norms(model) - 1


def test_pairs_within_a_sequential_with_a_forward_of_its_own():
    model = ChecksItsInput(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU())
    model[1].running_mean.fill_(0.3)
    x = torch.randn(2, 3, 8, 8)
    plain = plain_copy(model, x)
    assert norms(plain) == 0
    torch.testing.assert_close(plain(x), model.eval()(x), rtol=1e-4, atol=1e-5)


class DependsOnValues(nn.Sequential):
    """What torch.export cannot trace."""

    def forward(self, x):
        return super().forward(x) if float(x.sum()) > 0 else super().forward(-x)


def test_a_model_that_cannot_be_traced_is_left_unfolded_with_a_warning():
    model = DependsOnValues(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    x = torch.randn(2, 3, 8, 8)
    with pytest.warns(UserWarning, match="batch normalisation is not folded, since torch.export"):
        plain = plain_copy(model, x)
    assert norms(plain) == 1
    torch.testing.assert_close(plain(x), model(x))
