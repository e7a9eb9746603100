from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dldl_fast.models import FaceIdentityNet, ThinAgeNet, TinyAgeNet, TinyAttNet


def test_size_of_the_released_pre_trained_net():
    faces = FaceIdentityNet(ThinAgeNet(), num_identities=54_073)
    assert faces.head.weight.shape == (54_073, 256)
    assert sum(p.numel() for p in faces.parameters()) == 3_708_229 + (54_073 - 101) * 257


def test_logits_are_linear_in_the_pooled_features():
    net = TinyAgeNet(pooling="gap").eval()
    faces = FaceIdentityNet(net, num_identities=4)
    images = torch.randn(2, 3, 32, 32)
    pooled = net.features(images).mean((2, 3))
    expected = pooled @ faces.head.weight.T + faces.head.bias
    torch.testing.assert_close(faces(images), expected)


def test_what_is_learnt_on_identities_is_in_the_network():
    torch.manual_seed(0)
    net = TinyAgeNet()
    head = net.head.weight.detach().clone()
    faces = FaceIdentityNet(net, num_identities=3)
    images, identities = torch.randn(6, 3, 32, 32), torch.arange(6) % 3
    optimizer = torch.optim.Adam(faces.parameters(), lr=1e-3)
    before = net.features[0].weight.detach().clone()
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(faces(images), identities)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert not torch.equal(net.features[0].weight, before)
    assert torch.equal(net.head.weight, head)
    assert net.features[1].num_batches_tracked == 8

    beauty = TinyAttNet().eval()
    beauty.features.load_state_dict(net.features.state_dict())
    assert torch.equal(beauty.features(images), net.eval().features(images))


def test_too_few_identities():
    with pytest.raises(ValueError, match="num_identities must be at least 2, got 1"):
        FaceIdentityNet(TinyAgeNet(), 1)
