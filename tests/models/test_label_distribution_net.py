from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from dldl_fast import DLDLv2Loss
from dldl_fast.labels import label_grid
from dldl_fast.models import LabelDistributionNet, TinyAgeNet, TinyAttNet


@pytest.fixture
def images():
    return torch.randn(3, 3, 40, 48, generator=torch.Generator().manual_seed(1))


def warmed_up(model, images):
    """Running statistics that are not those of the initial state."""
    model.train()
    for _ in range(3):
        model(images)
    return model


def by_hand(logits, labels):
    return (logits.detach().double().softmax(1) * labels).sum(1)


def test_predict_is_the_expectation_in_evaluation_mode(images):
    model = warmed_up(TinyAttNet(), images)
    model.features[1].eval()  # one that is frozen while the others train
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    values = model.predict(images)
    assert values.dtype == torch.float64
    assert not values.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(
        values, by_hand(model.eval()(images), label_grid(1, 5, 0.1)), rtol=1e-6, atol=1e-6
    )


def test_flip_averages_the_values_of_both_images(images):
    model = warmed_up(TinyAgeNet(), images)
    mirrored = model.predict(images.flip(3))
    assert not torch.equal(mirrored, model.predict(images))
    assert torch.equal(model.predict(images, flip=True), (model.predict(images) + mirrored) / 2)


def test_the_grid_is_left_alone_by_casts(images):
    grid = label_grid(1, 5, 0.1)
    model = warmed_up(TinyAttNet(), images).bfloat16()
    assert torch.equal(model.labels, grid)
    assert model.labels.dtype == torch.float64
    values = model.predict(images.bfloat16())
    logits = model.eval()(images.bfloat16())
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(values, by_hand(logits, grid), rtol=1e-6, atol=1e-6)


def test_the_grid_is_no_parameter_but_in_the_state_dictionary(images):
    model = TinyAgeNet(label_grid(0, 1, 0.1))
    assert sum(p.numel() for p in model.parameters()) == 934_869 - 90 * 129
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = TinyAgeNet(range(11))
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other.labels, label_grid(0, 1, 0.1))
    assert torch.equal(other.predict(images), model.predict(images))
    with pytest.raises(RuntimeError, match="size mismatch for head.weight"):
        TinyAgeNet(range(12)).load_state_dict(model.state_dict())


def test_deep_copy_has_its_own_grid(images):
    model = TinyAgeNet()
    again = copy.deepcopy(model)
    assert again.labels is not model.labels
    assert torch.equal(again.predict(images), model.predict(images))


@pytest.mark.parametrize("layout", ["vectors", "maps", "num_features"])
def test_any_backbone(layout, images):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 6, 5, stride=4)
    if layout == "vectors":
        backbone = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        pooled = convolution(images).mean((2, 3))
    else:
        backbone = convolution
        pooled = nn.functional.max_pool2d(convolution(images), 2).mean((2, 3))
    if layout == "num_features":
        backbone.num_features = 6
        model = LabelDistributionNet(backbone, [1, 2, 4, 8])
    else:
        model = LabelDistributionNet(backbone, [1, 2, 4, 8], num_features=6)
    logits = model(images)
    torch.testing.assert_close(logits, pooled @ model.head.weight.T + model.head.bias)
    expected = by_hand(logits, torch.tensor([1, 2, 4, 8]))
    torch.testing.assert_close(model.predict(images), expected, rtol=1e-6, atol=1e-6)


def test_the_loss_trains_head_and_backbone(images):
    model = LabelDistributionNet(nn.Conv2d(3, 6, 5), range(5), num_features=6)
    criterion = DLDLv2Loss(labels=model.labels, sigma=1.0)
    criterion(model(images), torch.tensor([0.0, 1.0, 4.0])).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("backbone", "width", "shape"),
    [
        (nn.Conv2d(3, 6, 5), 7, r"\[3, 6\]"),
        (nn.Flatten(2), 3, r"\[3, 3, 1920\]"),
    ],
)
def test_features_that_do_not_fit(backbone, width, shape, images):
    model = LabelDistributionNet(backbone, range(4), num_features=width)
    with pytest.raises(ValueError, match=rf"C = {width}, got {shape} after pooling"):
        model(images)


@pytest.mark.parametrize("width", [None, 0, 2.5])
def test_wrong_number_of_features(width):
    with pytest.raises(ValueError, match=f"num_features must be .* got {width}"):
        LabelDistributionNet(nn.Conv2d(3, 6, 5), range(4), num_features=width)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (101, r"got the number 101; pass range\(101\)"),
        ([1.0], "labels"),
        ([1.0, 1.0], "strictly increasing"),
    ],
)
def test_wrong_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        TinyAgeNet(labels)


def test_compile_and_export_give_the_same_logits(images):
    model = warmed_up(TinyAgeNet(), images).eval()
    expected = model(images)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), expected)
    exported = torch.export.export(model, (images,))
    torch.testing.assert_close(exported.module()(images), expected)
