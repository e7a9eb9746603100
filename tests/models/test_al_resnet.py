from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from dldl_fast import DLDLv2Loss
from dldl_fast.data import FaceData, Split
from dldl_fast.data.images import MEAN, STD
from dldl_fast.methods import make_method
from dldl_fast.models import ALResNet, CheckpointError, FaceIdentityNet, LabelDistributionNet
from dldl_fast.models.region_attention import RegionAttention
from dldl_fast.models.residual import ResNetMaps, RoRMaps
from dldl_fast.prediction import AgeEstimator
from dldl_fast.training import LabelObjective, Training, TrainSettings
from tests.models.planted_cue import LABELS, covered, distances, planted, train

TINY = {"depth": 18, "width": 8, "steps": 2}


def tiny(labels=range(5), **more) -> ALResNet:
    torch.manual_seed(0)
    return ALResNet(labels, **{**TINY, **more})


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def looked_at(model: ALResNet, maps: np.ndarray, region: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres [T, 2] and mean attended maps [C] for the maps [C, h, w] of an image, by loops."""
    weights = {k: v.numpy() for k, v in model.features.state_dict().items()}
    channels, height, width = maps.shape
    hidden = cell = np.zeros(channels)
    centres, seen = [], []
    for _ in range(2):
        query = weights["query.weight"] @ hidden + weights["query.bias"]
        scores = np.array(
            [[maps[:, row, column] @ query for column in range(width)] for row in range(height)]
        )
        attention = np.exp(scores - scores.max())
        attention /= attention.sum()
        attended, position = np.zeros(channels), np.zeros(2)
        for row in range(height):
            for column in range(width):
                place = np.array([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1])
                position += attention[row, column] * np.clip(place, region - 1, 1 - region)
                attended += attention[row, column] * maps[:, row, column]
        gates = (
            weights["lstm.weight_ih"] @ np.concatenate([attended, position])
            + weights["lstm.bias_ih"]
            + weights["lstm.weight_hh"] @ hidden
            + weights["lstm.bias_hh"]
        )
        enter, forget, new, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        move = np.tanh(weights["move.weight"] @ hidden + weights["move.bias"])
        centre = position + np.array([2 / width, 2 / height]) * move
        centres.append(np.clip(centre, region - 1, 1 - region))
        seen.append(attended)
    return np.array(centres), np.mean(seen, 0)


@pytest.mark.parametrize("region", [0.5, 0.95])  # with 0.95 the region has to be kept inside
def test_regions_and_features_by_loops(region):
    model = tiny(region=region).double().eval()
    net = model.features
    nn.init.constant_(net.move.bias, 1.5)
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        boxes, features = model.regions(images), net(images)
        maps, last = net.global_net.stage_maps(images)[1::2]
        for image, box, feature, map_, end in zip(images, boxes, features, maps, last, strict=True):
            centres, seen = looked_at(model, map_.numpy(), region)
            middle = (centres + 1) / 2 * [96, 64]
            half = region * np.array([48, 32])
            expected = np.concatenate([middle - half, middle + half], 1)
            np.testing.assert_allclose(box.numpy(), expected, rtol=0, atol=1e-9)
            crops = net.cut_out(image[None], torch.tensor(centres)[None])
            local = net.local_net(crops).mean((0, 2, 3))
            expected = np.concatenate([end.mean((1, 2)).numpy(), local.numpy(), seen])
            np.testing.assert_allclose(feature.numpy(), expected, rtol=0, atol=1e-9)
        assert torch.equal(model(images), model.head(features))
    assert bool(((boxes >= -1e-9) & (boxes <= torch.tensor([96, 64] * 2) + 1e-9)).all())
    at_the_edge = (boxes[..., :2].abs() < 1e-9) | (
        (boxes[..., 2:] - torch.tensor([96, 64])).abs() < 1e-9
    )
    assert bool(at_the_edge.all()) or region < 0.95


def test_a_region_is_cut_out_as_it_is():
    net = RegionAttention("resnet", 18, steps=2, region=0.25, width=8)
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    # Boxes from (x, y) on, 8 wide and 16 high.
    corners = torch.tensor([[[0, 0], [24, 48]], [[8, 5], [17, 0]]])
    middles = corners + torch.tensor([4, 8])
    centres = 2 * middles / torch.tensor([32.0, 64.0], dtype=torch.float64) - 1
    crops = net.cut_out(images, centres)
    slices = [
        images[image, :, y : y + 16, x : x + 8]
        for image, steps in enumerate(corners.tolist())
        for x, y in steps
    ]
    torch.testing.assert_close(crops, torch.stack(slices), rtol=0, atol=1e-9)


def test_the_output_is_a_sum_over_the_three_kinds_of_features():
    model = tiny().eval()
    images = torch.randn(2, 3, 64, 64)
    # 8 width of either network's last stage, 2 width of the global one's second.
    parts = zip(
        model.features(images).split([64, 64, 16], 1),
        model.head.weight.split([64, 64, 16], 1),
        strict=True,
    )
    expected = sum(feature @ weight.T for feature, weight in parts) + model.head.bias
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("dldl-v2", "resnet"),
        ("dldl-v2", "ror"),
        ("dex", "resnet"),
        ("hl-gauss", "resnet"),
        ("mean-variance", "resnet"),
        ("sord", "resnet"),
        ("unimodal", "resnet"),
        ("coral", "resnet"),
        ("corn", "resnet"),
        ("or-cnn", "resnet"),
        ("ranking", "ror"),
        ("mr-l2", "resnet"),
    ],
)
def test_every_parameter_learns_from_any_method(name, backbone):
    method = make_method(name, range(5))
    model = tiny(backbone=backbone, num_outputs=method.out_features)
    outputs = model(torch.randn(8, 3, 64, 64))
    assert outputs.shape == (8, method.out_features)
    method.loss(outputs, torch.arange(8.0) % 5).backward()
    for parameter_name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None and bool(gradient.isfinite().all()), parameter_name
        assert bool((gradient != 0).any()), parameter_name
    assert method.decode(model(torch.randn(2, 3, 64, 64))).shape == (2,)


def test_checkpoints(tmp_path):
    pytest.importorskip("safetensors", reason="the extra hub is not installed")
    model = tiny([0, 1, 3], backbone="ror", depth=34, region=0.3, num_outputs=2).eval()
    model.save_pretrained(tmp_path)
    again = LabelDistributionNet.from_pretrained(tmp_path)
    images = torch.randn(2, 3, 64, 64)
    assert type(again) is ALResNet and type(again.features.local_net) is RoRMaps
    assert torch.equal(again(images), model(images))
    assert torch.equal(again.regions(images), model.regions(images))
    assert again.labels.tolist() == [0, 1, 3]


def test_prediction_is_that_of_logits_alone():
    model, images = tiny(), torch.randn(2, 3, 64, 64)
    expected = model.eval()(images).double().softmax(1) @ torch.arange(5.0, dtype=torch.float64)
    torch.testing.assert_close(model.predict(images), expected)
    with pytest.raises(
        ValueError, match=r"the 4 outputs are no logits of the 5 labels; use decode"
    ):
        tiny(num_outputs=4).predict(images)


def test_looking_changes_nothing():
    model = tiny().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randn(2, 3, 64, 64)
    boxes = model.regions(images)
    assert model.training and not boxes.requires_grad
    # Batch normalisation took the running statistics, not those of the batch.
    torch.testing.assert_close(boxes[1:], model.regions(images[1:]), rtol=0, atol=1e-3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_imagenet_weights_go_into_both_networks():
    model, weights = tiny(), ResNetMaps(18, width=8).state_dict()
    weights["fc.weight"] = torch.zeros(1000, 64)
    model.load_torchvision(weights, "resnet18.pth")
    for net in (model.features.global_net, model.features.local_net):
        assert torch.equal(net.conv1.weight, weights["conv1.weight"])
        assert torch.equal(net.layer4[1].bn2.weight, weights["layer4.1.bn2.weight"])
    del weights["conv1.weight"]
    with pytest.raises(CheckpointError, match=r"resnet18\.pth: .*missing: conv1\.weight"):
        model.load_torchvision(weights, "resnet18.pth")


def test_engine_and_estimator_take_it(tmp_path):
    model = tiny()
    images = torch.randint(256, (8, 3, 64, 64), dtype=torch.uint8)
    part = Split(images, torch.arange(8, dtype=torch.float64) % 5)
    data = FaceData("random", "years", model.labels, part, part, lambda x, y, g: (x, y), 2.0)
    before = model.features.lstm.weight_hh.clone()
    settings = TrainSettings(epochs=1, batch_size=4, device="cpu")
    result = Training(model, data, LabelObjective(DLDLv2Loss(0, 4)), settings).run()
    assert math.isfinite(result.history[0].scores["mae"])
    assert not torch.equal(model.features.lstm.weight_hh, before)

    model.config["image"] = {"size": 64, "mean": MEAN, "std": STD}
    estimator = AgeEstimator(model, align=False, flip=False)
    face = images[0].permute(1, 2, 0).numpy()
    (prediction,) = estimator(face)
    pixels = (images[:1].float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]
    assert prediction.value == pytest.approx(model.predict(pixels).item(), abs=1e-4)


def test_attention_has_parameters_of_its_own():
    model = tiny()
    slow = {id(parameter) for parameter in model.attention_parameters()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in slow}
    assert names == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("features.query.", "features.lstm.", "features.move."))
    }
    assert len(names) == 8


def test_its_features_are_pretrained_as_those_of_any_network():
    model = tiny()
    faces = FaceIdentityNet(model, 3)
    nn.functional.cross_entropy(faces(torch.randn(4, 3, 64, 64)), torch.arange(4) % 3).backward()
    assert model.features.lstm.weight_hh.grad is not None and model.head.weight.grad is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "vgg"}, r"backbone must be one of \('resnet', 'ror'\), got 'vgg'"),
        ({"depth": 20}, r"depth must be one of \(18, 34, 50\), got 20"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"region": 1.0}, r"region must be in \(0, 1\), got 1\.0"),
        ({"width": 7}, "width must be at least 8, got 7"),
        ({"num_outputs": 0}, "num_outputs must be at least 1, got 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)


def test_the_regions_move_to_a_planted_cue():
    """Nothing but the labels tells the network to look there."""
    held_out = planted(200, seed=10**6)
    model = tiny(range(LABELS), region=0.375)
    before = model.regions(held_out.images)
    train(model, seed=0)
    after = model.regions(held_out.images)
    anywhere = distances(after, held_out.boxes.roll(1, 0)).mean()
    for step in range(2):
        found = distances(after, held_out.boxes)[:, step].mean()
        # The places that attention chooses from are 8 pixels apart.
        assert found < 8
        assert found < 0.75 * distances(before, held_out.boxes)[:, step].mean()
        assert found < 0.4 * anywhere
        assert covered(after, held_out.boxes)[:, step].mean() > 0.8
        assert covered(before, held_out.boxes)[:, step].mean() < 0.75
    assert (model.predict(held_out.images) - held_out.labels).abs().mean() < 0.25
