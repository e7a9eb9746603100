from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dldl_fast.labels import label_grid
from dldl_fast.models import VGG16, ResNet50, comparators
from dldl_fast.models.resnet50 import ResNet50Backbone
from dldl_fast.models.vgg16 import VGG16Backbone


@pytest.fixture
def no_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)


@pytest.mark.parametrize(
    ("make", "labels", "count"),
    [
        (VGG16, None, 134_674_341),
        (ResNet50, label_grid(1, 5, 0.1), 23_592_041),
        (ResNet50, label_grid(1, 7, 0.1), 23_633_021),
        (ResNet50, None, 23_714_981),
    ],
)
def test_sizes_of_the_paper(make, labels, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in make(labels).parameters()) == count


def randomised(model):
    """Running statistics and affine parameters that matter."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.2)
    return model.eval()


def test_resnet50_layer_by_layer(no_torchvision):
    torch.manual_seed(0)
    model = randomised(ResNet50(range(5))).double()
    weights = model.state_dict()
    images = torch.randn(2, 3, 64, 48, dtype=torch.float64)

    def convolution(x, name, stride, padding):
        return F.conv2d(x, weights[f"features.{name}.weight"], stride=stride, padding=padding)

    def norm(x, name):
        mean, var, scale, shift = (
            weights[f"features.{name}.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = norm(convolution(images, "conv1", 2, 3), "bn1").relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            shortcut = x
            if block == 0:
                shortcut = norm(
                    convolution(x, f"{name}.downsample.0", stride, 0), f"{name}.downsample.1"
                )
            x = norm(convolution(x, f"{name}.conv1", 1, 0), f"{name}.bn1").relu()
            x = norm(convolution(x, f"{name}.conv2", stride, 1), f"{name}.bn2").relu()
            x = norm(convolution(x, f"{name}.conv3", 1, 0), f"{name}.bn3")
            x = (x + shortcut).relu()
    expected = x.mean((2, 3)) @ weights["head.weight"].T + weights["head.bias"]
    torch.testing.assert_close(model(images), expected, rtol=1e-9, atol=1e-9)


def test_vgg16_layer_by_layer(no_torchvision):
    torch.manual_seed(0)
    model = VGG16(range(5)).eval()
    weights = model.state_dict()
    images = torch.randn(1, 3, 64, 32)
    x, index = images, 0
    for depth in (2, 2, 3, 3, 3):
        for _ in range(depth):
            name = f"features.features.{index}"
            x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()
            index += 2
        x = F.max_pool2d(x, 2)
        index += 1
    x = F.adaptive_avg_pool2d(x, 7).flatten(1)
    for name in ("features.classifier.0", "features.classifier.3"):
        x = (x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]).relu()
    expected = x @ weights["head.weight"].T + weights["head.bias"]
    torch.testing.assert_close(model(images), expected)


class StubVGG16(VGG16Backbone):
    def __init__(self, weights):
        assert weights is None
        super().__init__()
        self.classifier.append(nn.Linear(4096, 1000))


class StubResNet50(ResNet50Backbone):
    def __init__(self, weights):
        assert weights is None
        super().__init__()
        self.fc = nn.Linear(2048, 1000)


@pytest.mark.parametrize(("make", "stub"), [(VGG16, StubVGG16), (ResNet50, StubResNet50)])
def test_torchvision_is_used_where_it_is_installed(make, stub, monkeypatch):
    module = ModuleType("torchvision")
    module.models = SimpleNamespace(vgg16=StubVGG16, resnet50=StubResNet50)
    with torch.device("meta"):
        monkeypatch.setitem(sys.modules, "torchvision", None)
        own = make(range(5)).state_dict()
        monkeypatch.setitem(sys.modules, "torchvision", module)
        model = make(range(5))
    assert isinstance(model.features, stub)
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in own.items()
    }


def test_a_torchvision_that_cannot_be_imported_is_not_used(monkeypatch):
    class Broken(ModuleType):
        def __getattr__(self, name):
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setitem(sys.modules, "torchvision", Broken("torchvision"))
    with torch.device("meta"):
        assert isinstance(ResNet50().features, ResNet50Backbone)


@pytest.mark.parametrize(("make", "name"), [(VGG16, "vgg16"), (ResNet50, "resnet50")])
def test_own_definitions_equal_those_of_torchvision(make, name, monkeypatch):
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    torch.manual_seed(0)
    theirs = randomised(make(range(5)))
    assert type(theirs.features).__module__.startswith("torchvision.")
    monkeypatch.setattr(comparators, "_torchvision_model", lambda name: None)
    own = make(range(5)).eval()
    own.load_weights({k: v for k, v in theirs.state_dict().items() if "extra" not in k}, name)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(own(images), theirs(images))


@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "resnet18", "vit_tiny_patch16_224"])
def test_backbones_of_timm(name):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    from dldl_fast.models import LabelDistributionNet

    backbone = timm.create_model(name, num_classes=0)
    model = LabelDistributionNet(backbone, range(5))
    images = torch.randn(2, 3, 224, 224)
    expected = backbone.eval()(images) @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model.eval()(images), expected)
