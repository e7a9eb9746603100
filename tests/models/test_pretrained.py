from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from dldl_fast.data import MissingExtraError
from dldl_fast.labels import as_label_grid, label_grid
from dldl_fast.models import (
    CFD,
    CheckpointError,
    LabelDistributionNet,
    ThinAgeNet,
    ThinAttNet,
    TinyAgeNet,
    TinyAttNet,
)

safetensors = pytest.importorskip("safetensors.torch", reason="the extra hub is not installed")


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def trained(model, images):
    """Weights and running statistics that are not those of the initial state."""
    model.train()(images)
    with torch.no_grad():
        model.head.bias.uniform_()
    return model


@pytest.mark.parametrize(
    "make",
    [
        TinyAgeNet,
        TinyAttNet,
        lambda: ThinAttNet(label_grid(*CFD)),
        lambda: ThinAgeNet([0.0, 1.0, 4.0, 9.0], rate=0.1, pooling="gmp"),
        lambda: TinyAgeNet(torch.linspace(0.0, 1.0, 7).cumsum(0)[1:], pooling="gap"),
        lambda: TinyAgeNet(label_grid(0, 1, 1 / 3)).half(),
    ],
)
def test_round_trip(make, tmp_path, images):
    model = trained(make().float(), images).to(next(make().parameters()).dtype)
    model.config = {"image": {"size": 32}}
    model.save_pretrained(tmp_path / "new" / "folder")
    assert sorted(p.name for p in (tmp_path / "new/folder").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    state = torch.random.get_rng_state()
    again = LabelDistributionNet.from_pretrained(tmp_path / "new" / "folder")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert type(again) is type(model)
    assert not again.training
    assert again.config == {"image": {"size": 32}}
    assert again.labels.tolist() == model.labels.tolist()
    assert all(p.requires_grad for p in again.parameters())
    # Unaligned weights, as safetensors maps them, would give other last bits.
    assert all(p.data_ptr() % 64 == 0 for p in again.parameters())
    for name, value in again.state_dict().items():
        assert value.dtype == model.state_dict()[name].dtype
        assert torch.equal(value, model.state_dict()[name])
    model, again = model.float(), again.float()
    assert torch.equal(again.predict(images), model.predict(images))


def test_tiny_age_net_on_disk_is_as_small_as_the_paper_says(tmp_path):
    TinyAgeNet().save_pretrained(tmp_path)
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 3_800_000


def test_a_plain_net_takes_its_backbone_again(tmp_path, images):
    def backbone():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    model = trained(LabelDistributionNet(backbone(), range(3), num_features=4), images)
    model.save_pretrained(tmp_path)
    again = LabelDistributionNet.from_pretrained(tmp_path, backbone=backbone())
    assert torch.equal(again.predict(images), model.predict(images))
    with pytest.raises(CheckpointError, match="needs the argument backbone="):
        LabelDistributionNet.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"missing: features\.weight \[4, 3, 3, 3\]"):
        LabelDistributionNet.from_pretrained(tmp_path, backbone=nn.Conv2d(3, 4, 3))
    TinyAgeNet().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="TinyAgeNet makes its backbone itself"):
        LabelDistributionNet.from_pretrained(tmp_path, backbone=backbone())


def test_the_class_must_be_the_one_that_was_saved(tmp_path):
    TinyAttNet().save_pretrained(tmp_path)
    assert type(ThinAgeNet.from_pretrained(tmp_path)) is TinyAttNet
    with pytest.raises(CheckpointError, match="model 'TinyAttNet', expected one of ThinAttNet"):
        ThinAttNet.from_pretrained(tmp_path)


def test_checkpoints_from_before_the_model_had_its_grid(tmp_path, images):
    model = trained(TinyAgeNet(label_grid(-45, 45)), images)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"] = {"name": "ThinAgeNet", "rate": 0.25, "num_labels": 91}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = ThinAgeNet.from_pretrained(tmp_path)
    assert torch.equal(again.predict(images), model.predict(images))


def test_everything_that_does_not_fit_is_listed(tmp_path):
    TinyAgeNet(range(4)).save_pretrained(tmp_path)
    weights = safetensors.load_file(tmp_path / "model.safetensors")
    weights["head.weights"] = weights.pop("head.weight")
    weights["head.bias"] = torch.zeros(5)
    weights["features.0.weight"] = weights["features.0.weight"].int()
    safetensors.save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        TinyAgeNet.from_pretrained(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'model.safetensors'}: not the weights of this model; "
        "missing: head.weight [4, 128]; unexpected: head.weights [4, 128]; "
        "wrong shape: head.bias [5] (expected [4]); "
        "wrong kind of number: features.0.weight torch.int32 (expected torch.float32)"
    )


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: not the configuration"):
        TinyAgeNet.from_pretrained(tmp_path)
    TinyAgeNet(range(4)).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no weights that can be read"):
        TinyAgeNet.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no weights that can be read"):
        TinyAgeNet.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected an object, got list"),
        ("{", "JSONDecodeError"),
        ("[" * 100_000, "RecursionError"),
        (" " * (16 * 2**20 + 1), "16,777,217 bytes, expected at most 16,777,216"),
        ("{}", "KeyError: 'model'"),
        ('{"model": {"name": "TinyAgeNet"}}', "KeyError: 'label_grid'"),
        ('{"model": {"name": "os.system"}, "label_grid": {"values": [0, 1]}}', "'os.system'"),
        (
            '{"model": {"name": "TinyAgeNet", "rate": 1e9}, "label_grid": {"values": [0, 1]}}',
            r"rate must be in \(0, 1\]",
        ),
        (
            '{"model": {"name": "TinyAgeNet", "width": 9}, "label_grid": {"values": [0, 1]}}',
            "TypeError.*width",
        ),
        (
            '{"model": {"name": "TinyAgeNet"}, "label_grid": {"min": 0, "max": 1e18, "step": 1}}',
            "at most 100,000 labels",
        ),
        (
            '{"model": {"name": "TinyAgeNet"}, "label_grid": {"values": [0, 1' + "0" * 400 + "]}}",
            "Error",
        ),
    ],
)
def test_configurations_that_make_no_sense(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        TinyAgeNet.from_pretrained(tmp_path)


def test_sizes_that_the_weights_do_not_have_take_no_memory(tmp_path):
    config = {
        "model": {"name": "LabelDistributionNet", "num_features": 10**12, "pooling": "hybrid"},
        "label_grid": {"values": [0, 1]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors.save_file({"head.weight": torch.zeros(2, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"head\.weight \[2, 4\] \(expected \[2, 10{12}\]\)"):
        LabelDistributionNet.from_pretrained(tmp_path, backbone=nn.Identity())


def test_uneven_grids_are_written_label_by_label(tmp_path):
    TinyAgeNet(as_label_grid([0.0, 1.0, 4.0, 9.0])).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["label_grid"] == {"values": [0.0, 1.0, 4.0, 9.0]}


def test_push_to_hub_uploads_both_files_and_a_model_card(tmp_path, monkeypatch, images):
    hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    assert issubclass(TinyAgeNet, hub.PyTorchModelHubMixin)
    uploaded = {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **options):
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, folder_path, **options):
            uploaded.update({p.name: p.read_bytes() for p in folder_path.iterdir()})
            return "address of the commit"

    def download(repo_id, allow_patterns, revision):
        assert (repo_id, revision) == ("someone/age", "main")
        for name in allow_patterns:
            (tmp_path / name).write_bytes(uploaded[name])
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = trained(TinyAgeNet(), images)
    assert model.push_to_hub("someone/age") == "address of the commit"
    assert sorted(uploaded) == ["README.md", "config.json", "model.safetensors"]
    assert b"dldl_fast" in uploaded["README.md"]
    again = TinyAgeNet.from_pretrained("someone/age", revision="main")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(again.predict(images), model.predict(images))


def test_no_folder_and_no_repository(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder, and not the name of a repository"):
        TinyAgeNet.from_pretrained(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="no such folder, and not the name of a repository"):
        TinyAgeNet.from_pretrained("../a/b")


def test_local_folders_need_no_hub_package(tmp_path):
    script = f"""
import sys
sys.modules["huggingface_hub"] = None
from dldl_fast.data import MissingExtraError
from dldl_fast.models import TinyAgeNet
model = TinyAgeNet(range(5))
model.save_pretrained({str(tmp_path)!r})
assert TinyAgeNet.from_pretrained({str(tmp_path)!r}).labels.tolist() == [0, 1, 2, 3, 4]
for call in (
    lambda: model.push_to_hub("someone/age"),
    lambda: model.save_pretrained({str(tmp_path)!r}, push_to_hub=True),
    lambda: TinyAgeNet.from_pretrained("someone/age"),
):
    try:
        call()
    except MissingExtraError as error:
        assert "huggingface_hub" in str(error) and "pip install 'dldl_fast[hub]'" in str(error)
    else:
        raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_safetensors_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingExtraError, match=r"'safetensors'.*dldl_fast\[hub\]"):
        TinyAgeNet().save_pretrained(tmp_path)
