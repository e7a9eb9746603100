from __future__ import annotations

import pytest
import torch
from torch import nn

from dldl_fast.explain import NoMapsError
from dldl_fast.explain import score_map as upsampled_score_map
from dldl_fast.models import LabelDistributionNet, SigmoidTinyAgeNet, TinyAgeNet


def score_map(model, batch):
    """Of the places of the features."""
    return upsampled_score_map(model, batch, upsample=False)


def prepared(model):
    """In float64, with running statistics, weights and a bias that are not the initial ones."""
    model.double().train()
    model(images(8))
    with torch.no_grad():
        model.head.weight.mul_(10)
        nn.init.normal_(model.head.bias)
    return model.eval()


def images(count=3):
    return torch.randn(count, 3, 64, 48, generator=torch.Generator().manual_seed(1)).double()


def by_hand(model, batch, probabilities):
    """Eqs. 23 and 24, place by place and label by label."""
    maps = model.features(batch)
    count, channels, height, width = maps.shape
    weight, bias = model.head.weight, model.head.bias
    scores = torch.zeros(count, height, width, dtype=torch.float64)
    for n in range(count):
        for k in range(len(bias)):
            activation = bias[k].expand(height, width).clone()
            for j in range(channels):
                activation += weight[k, j] * maps[n, j]
            scores[n] += probabilities[n, k] * activation
    return scores


@pytest.mark.parametrize("pooling", ["hybrid", "gap", "gmp"])
def test_every_place_is_the_weighted_logit_of_equation_24(pooling):
    model = prepared(TinyAgeNet(range(5), rate=0.05, pooling=pooling))
    with torch.no_grad():
        expected = by_hand(model, images(), model(images()).softmax(1))
    scores = score_map(model, images())
    assert scores.dtype == torch.float64
    assert scores.std((1, 2)).min() > 0.05
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)


def test_with_mean_pooling_the_mean_of_the_map_is_the_expected_logit():
    model = prepared(TinyAgeNet(rate=0.05, pooling="gap"))
    with torch.no_grad():
        logits = model(images())
    expected = (logits.softmax(1) * logits).sum(1)
    torch.testing.assert_close(
        score_map(model, images()).mean((1, 2)), expected, rtol=1e-12, atol=1e-12
    )


def test_probabilities_are_those_of_the_model_where_they_are_no_softmax_of_the_logits():
    model = prepared(SigmoidTinyAgeNet(range(5), rate=0.05))
    with torch.no_grad():
        logits = model.head(model.pool(model.features(images())))
        probabilities = logits.sigmoid() / logits.sigmoid().sum(1, keepdim=True)
        expected = by_hand(model, images(), probabilities)
    torch.testing.assert_close(score_map(model, images()), expected, rtol=1e-10, atol=1e-10)


def test_model_stays_as_it_was():
    model = prepared(TinyAgeNet(range(5), rate=0.05))
    expected = score_map(model, images())
    model.train()
    model.features[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    scores = score_map(model, images())
    assert not scores.requires_grad
    torch.testing.assert_close(scores, expected, rtol=0, atol=0)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.features._forward_hooks


def test_half_precision_is_summed_in_single():
    model = prepared(TinyAgeNet(range(5), rate=0.05)).to(torch.bfloat16)
    batch = images().to(torch.bfloat16)
    with torch.no_grad():
        probabilities = model(batch).double().softmax(1)
        maps = model.features(batch).double()
        activations = torch.einsum("kj,njhw->nkhw", model.head.weight.double(), maps)
        activations += model.head.bias.double()[:, None, None]
        expected = (probabilities[:, :, None, None] * activations).sum(1)
    scores = score_map(model, batch)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=1e-5)


def test_features_without_places():
    model = LabelDistributionNet(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), range(5), num_features=3
    )
    with pytest.raises(NoMapsError, match=r"features \[N, C, h, w\].*are \[3, 3\]"):
        score_map(model, images().float())
    assert not model.features._forward_hooks


def test_maps_are_scaled_to_the_images():
    model = prepared(TinyAgeNet(range(5), rate=0.05))
    scores, large = score_map(model, images()), upsampled_score_map(model, images())
    assert scores.shape == (3, 4, 3)
    assert large.shape == (3, 64, 48)
    # Pixel i lies at (i + 1/2) / 16 - 1/2 between the places: 23 and 24 around place 1.
    between = 31 / 32 * scores[:, 1, 1] + 1 / 32 * scores[:, 0, 1]
    across = 31 / 32 * scores[:, 1, 0] + 1 / 32 * scores[:, 0, 0]
    expected = 31 / 32 * between + 1 / 32 * across
    torch.testing.assert_close(large[:, 23, 23], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(large[:, 0, 0], scores[:, 0, 0], rtol=1e-12, atol=1e-12)
