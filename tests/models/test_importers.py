from __future__ import annotations

import pickle
import zipfile

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dldl_fast.models import (
    CheckpointError,
    FaceIdentityNet,
    LabelDistributionNet,
    SigmoidThinAgeNet,
    SigmoidTinyAgeNet,
    ThinAgeNet,
    TinyAgeNet,
    TinyAttNet,
)
from dldl_fast.models.importers import load_puneal, load_torch7
from tests.models.torch7_writer import Object, Writer, lua_list, released_network, sequential


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def trained(model, images):
    """Weights and running statistics that are not those of the initial state."""
    torch.manual_seed(2)
    model.train()(images)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    nn.init.normal_(model.head.bias)
    return model.eval()


def write(path, value, **options):
    path.write_bytes(Writer(**options).write(value).data)
    return path


JOINT = Object(
    "nn.ConcatTable",
    {
        "modules": lua_list(
            [
                Object("nn.Identity", {}),
                Object("nn.ExpOut", {"constant_vector": torch.arange(101.0)}),
            ]
        )
    },
)


@pytest.mark.parametrize("make", [TinyAgeNet, TinyAttNet, lambda: ThinAgeNet(rate=0.125)])
def test_torch7_network_gives_the_same_predictions(make, images, tmp_path):
    model = trained(make(), images)
    path = write(tmp_path / "net.t7", sequential(released_network(model)))
    other = make()
    assert not torch.equal(other.predict(images), model.predict(images))
    load_torch7(other, path)
    assert torch.equal(other.predict(images), model.predict(images))
    assert all(p.requires_grad and not p.is_meta for p in other.parameters())


def test_torch7_variants_of_the_same_network(images, tmp_path):
    """Nested containers, CUDA tensors, nn instead of cudnn, the joint output, a shared storage."""
    model = trained(TinyAgeNet(), images)
    modules = [*released_network(model, outputs=("cudnn.LogSoftMax",)), JOINT]
    for module in modules:
        module.class_name = module.class_name.replace("cudnn", "nn")
        if module.class_name == "nn.SpatialConvolution":
            module.class_name = "nn.SpatialConvolutionMM"
            module.fields["weight"] = module.fields["weight"].flatten(1)
    network = sequential([sequential(modules[:20]), sequential([]), sequential(modules[20:])])
    other = TinyAgeNet()
    load_torch7(other, write(tmp_path / "net.t7", network, cuda=True))
    assert torch.equal(other.predict(images), model.predict(images))


def test_torch7_weights_in_float64_and_in_one_flat_storage(images, tmp_path):
    model = trained(TinyAgeNet(), images)
    modules = released_network(model)
    for module in modules:
        for key, value in module.fields.items():
            if isinstance(value, torch.Tensor):
                # Not contiguous, and not at the start of its storage.
                flat = torch.zeros(2 * value.numel() + 5, dtype=torch.float64)
                view = flat[5:].view(*value.shape, 2)[..., 0]
                module.fields[key] = view.copy_(value)
    other = TinyAgeNet()
    load_torch7(other, write(tmp_path / "net.t7", sequential(modules)))
    assert torch.equal(other.predict(images), model.predict(images))


def test_torch7_biases_of_convolutions_are_kept(images, tmp_path):
    model = trained(TinyAgeNet(), images)
    modules = released_network(model)
    biased = TinyAgeNet().eval()
    biased.load_state_dict(model.state_dict())
    for i in range(len(biased.features)):
        if isinstance(biased.features[i], nn.Conv2d):
            old = biased.features[i]
            new = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1)
            new.weight = old.weight
            biased.features[i] = new
    biases = iter([m.bias.detach() for m in biased.features if isinstance(m, nn.Conv2d)])
    for module in modules:
        if "Convolution" in module.class_name:
            module.fields["bias"] = next(biases)
    other = TinyAgeNet()
    load_torch7(other, write(tmp_path / "net.t7", sequential(modules)))
    expected = biased.predict(images)
    assert not torch.allclose(expected, model.predict(images), atol=1e-3)
    torch.testing.assert_close(other.predict(images), expected, rtol=1e-5, atol=1e-5)


def test_torch7_network_that_was_trained_on_faces(images, tmp_path):
    faces = FaceIdentityNet(trained(TinyAgeNet(), images), num_identities=20)
    path = write(
        tmp_path / "faces.t7", sequential(released_network(faces, outputs=("nn.LogSoftMax",)))
    )
    net = TinyAttNet().eval()
    head = net.head.weight.detach().clone()
    again = FaceIdentityNet(net, num_identities=20)
    load_torch7(again, path)
    assert torch.equal(again(images), faces.eval()(images))
    assert torch.equal(net.features(images), faces.features(images))
    assert torch.equal(net.head.weight, head)
    with pytest.raises(CheckpointError, match=r"nn\.Linear weight \[20, 128\] \(expected \[41,"):
        load_torch7(net, path)


def test_torch7_tensors_that_do_not_fit_are_all_listed(images, tmp_path):
    modules = released_network(TinyAgeNet())
    modules[0].fields["weight"] = torch.zeros(16, 3, 5, 5)
    del modules[1].fields["running_var"]
    modules[4].fields["bias"] = None
    modules[3].fields["bias"] = torch.zeros(3)
    path = write(tmp_path / "net.t7", sequential(modules))
    net = TinyAgeNet()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_torch7(net, path)
    assert str(caught.value) == (
        f"{path}: not the weights of this model; "
        "missing: 2 nn.SpatialBatchNormalization running_var [16], "
        "5 nn.SpatialBatchNormalization bias [16]; "
        "unexpected: 5 nn.SpatialBatchNormalization bias of its convolution [3]; "
        "wrong shape: 1 cudnn.SpatialConvolution weight [16, 3, 5, 5] (expected [16, 3, 3, 3])"
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def change(modules, how):
    if how == "dropout":
        modules.insert(3, Object("nn.Dropout", {}))
    elif how == "short":
        del modules[-3:]
    elif how == "stride":
        modules[0].fields["dW"] = 2
        modules[1].fields["eps"] = 1e-3
    elif how == "sigmoid":
        modules[-1] = Object("nn.Sigmoid", {})
    elif how == "long":
        modules.append(JOINT)
        modules.append(Object("nn.Identity", {}))
    elif how == "branches":
        modules.append(
            Object("nn.ConcatTable", {"modules": lua_list([Object("nn.Identity", {}), 1.0])})
        )
    elif how == "package":
        modules[2] = Object("evil.ReLU", {})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("dropout", "modules: 4 nn.Dropout, expected convolution; 5 cudnn.Spatial"),
        ("short", "modules: 46 nothing, expected view; 47 nothing, expected linear layer$"),
        (
            "stride",
            "1 cudnn.SpatialConvolution with dW = 2.0, expected 1; "
            "2 nn.SpatialBatchNormalization with eps = 0.001, expected 1e-05$",
        ),
        ("sigmoid", "modules: 48 nn.Sigmoid, expected softmax$"),
        ("long", "modules: 50 nn.Identity, expected the end$"),
        ("branches", r"49 nn.ConcatTable of \['nn.Identity', '\?'\], expected nn.Identity and"),
        ("package", "modules: 3 evil.ReLU, expected ReLU$"),
    ],
)
def test_torch7_modules_that_do_not_fit_are_all_listed(how, message, tmp_path):
    modules = released_network(TinyAgeNet())
    change(modules, how)
    with pytest.raises(CheckpointError, match=message):
        load_torch7(TinyAgeNet(), write(tmp_path / "net.t7", sequential(modules)))


def endless() -> Object:
    network = sequential([])
    network.fields["modules"] = lua_list([network])
    return network


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"epoch": 3.0}, "expected a network, got dict"),
        (endless(), "the same nn.Sequential twice, or within itself"),
        (Object("nn.Sequential", {"modules": {2: Object("nn.ReLU", {})}}), "without a list of mod"),
        (Object("nn.Sequential", {}), "without a list of modules"),
        (sequential([1.0]), "expected a network, got float"),
    ],
)
def test_torch7_files_without_a_network(value, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        load_torch7(TinyAgeNet(), write(tmp_path / "net.t7", value))


def test_networks_that_cannot_take_those_weights(tmp_path):
    for net in (
        TinyAgeNet(pooling="gap"),
        LabelDistributionNet(nn.Conv2d(3, 4, 3), range(3), num_features=4),
    ):
        with pytest.raises(ValueError, match="net must be of the ThinAgeNet family with hybrid"):
            load_torch7(net, tmp_path / "net.t7")
    with pytest.raises(ValueError, match="must have softmax, .* got SigmoidTinyAgeNet"):
        load_torch7(SigmoidTinyAgeNet(), tmp_path / "net.t7")
    with pytest.raises(ValueError, match="must be a SigmoidThinAgeNet .* got TinyAgeNet"):
        load_puneal(TinyAgeNet(), tmp_path / "net.pt")


# The other implementation: networks by their layers' names, with inputs of 224 x 224.
WIDTHS = {
    "TinyAge": (16, 16, "M", 32, 32, "M", 64, 64, "M", 128, 128, 128, "M", 128, 128, 128),
    "ThinAge": (
        *(32, 32, "M", 64, 64, "M", 128, 128, 128, "M", 256, 256, 256, "M", 256, 256, 256),
    ),
}
NETS = {"TinyAge": SigmoidTinyAgeNet, "ThinAge": SigmoidThinAgeNet}


class Other(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        channels, number = 3, 0
        self.order = []
        for width in WIDTHS[name]:
            if width == "M":
                self.order.append("M")
                continue
            number += 1
            block = nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            self.add_module(f"conv{number}", block)
            self.order.append(f"conv{number}")
            channels = width
        self.head = "fc1" if name == "TinyAge" else "fc"
        self.add_module(self.head, nn.Sequential(nn.Linear(channels, 101), nn.Sigmoid()))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
                nn.init.normal_(module.running_mean, std=0.2)

    def forward(self, x):
        for name in self.order:
            x = F.max_pool2d(x, 2) if name == "M" else getattr(self, name)(x)
        x = F.avg_pool2d(F.max_pool2d(x, 2), 7).flatten(1)
        return F.normalize(getattr(self, self.head)(x), p=1, dim=1)


@pytest.mark.parametrize("how", ["state_dict", "parallel", "safetensors", "no counters"])
@pytest.mark.parametrize("name", ["TinyAge", "ThinAge"])
def test_other_network_gives_the_same_distribution(name, how, tmp_path):
    torch.manual_seed(0)
    other = Other(name).eval()
    assert sum(p.numel() for p in other.parameters()) == (
        897_877 if name == "TinyAge" else 3_708_229
    )
    state, path = other.state_dict(), tmp_path / "other.pt"
    if how == "parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    elif how == "no counters":
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if how == "safetensors":
        save_file = pytest.importorskip("safetensors.torch", reason="no safetensors").save_file
        path = tmp_path / "other.safetensors"
        save_file(state, path)
    else:
        torch.save(state, path)
    net = NETS[name]()
    load_puneal(net, path)
    images = torch.randn(2, 3, 224, 224)
    expected = other(images)
    torch.testing.assert_close(net.eval()(images).softmax(1), expected)
    ages = (expected.double() * torch.arange(101)).sum(1)
    torch.testing.assert_close(net.predict(images), ages, rtol=1e-5, atol=1e-4)


def test_sigmoid_nets_come_back_from_their_checkpoints(tmp_path, images):
    pytest.importorskip("safetensors", reason="the extra hub is not installed")
    model = trained(SigmoidTinyAgeNet(), images)
    model.save_pretrained(tmp_path)
    again = SigmoidTinyAgeNet.from_pretrained(tmp_path)
    assert torch.equal(again.predict(images), model.predict(images))


def test_sigmoids_that_underflow_keep_their_distribution():
    net = SigmoidTinyAgeNet(range(3)).half().eval()
    net.head.bias.data = torch.tensor([-300.0, -300.0, -310.0]).half()
    net.head.weight.data.zero_()
    value = net.predict(torch.zeros(1, 3, 32, 32).half())
    assert value.item() == pytest.approx(0.5, abs=1e-3)


def test_keys_and_shapes_that_do_not_fit_are_all_listed(tmp_path):
    state = Other("TinyAge").state_dict()
    state["fc1.0.weight"] = state["fc1.0.weight"][:100]
    state["conv13.0.weight"] = torch.zeros(1)
    del state["conv4.0.weight"], state["conv7.1.bias"]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(CheckpointError) as caught:
        load_puneal(SigmoidTinyAgeNet(), tmp_path / "other.pt")
    assert str(caught.value) == (
        f"{tmp_path / 'other.pt'}: not the weights of this model; "
        "missing: conv4.0.weight [32, 32, 3, 3], conv7.1.bias [128]; "
        "unexpected: conv13.0.weight [1]; "
        "wrong shape: fc1.0.weight [100, 128] (expected [101, 128])"
    )


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def test_nothing_but_tensors_is_unpickled(tmp_path, capsys):
    path = tmp_path / "other.pt"
    for value in (Other("TinyAge"), {"conv1.0.weight": Evil()}):
        torch.save(value, path)
        with pytest.raises(CheckpointError, match="not a dictionary of tensors alone; damaged, or"):
            load_puneal(SigmoidTinyAgeNet(), path)
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(CheckpointError, match="not a dictionary of tensors alone"):
        load_puneal(SigmoidTinyAgeNet(), path)
    assert capsys.readouterr().out == ""
    for value in ([torch.zeros(1)], {"epoch": 3}):
        torch.save(value, path)
        with pytest.raises(CheckpointError, match="expected a dictionary of tensors alone, got"):
            load_puneal(SigmoidTinyAgeNet(), path)


def test_damaged_and_compressed_files(tmp_path):
    path, packed = tmp_path / "other.pt", tmp_path / "packed.pt"
    with pytest.raises(CheckpointError, match=r"other\.pt: no state dictionary"):
        load_puneal(SigmoidTinyAgeNet(), path)
    torch.save({"conv1.0.weight": torch.zeros(1_000_000)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(CheckpointError, match="compressed: 4,0.* bytes if unpacked"):
        load_puneal(SigmoidTinyAgeNet(), packed)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError):
        load_puneal(SigmoidTinyAgeNet(), path)
