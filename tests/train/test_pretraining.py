from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from dldl_fast.data import FaceData, Split
from dldl_fast.data.batches import Batch
from dldl_fast.models import LabelDistributionNet, TinyAgeNet
from dldl_fast.training import Stage, TrainSettings
from dldl_fast.training.objective import IdentityObjective
from dldl_fast.training.pretrain import run_pretraining

pytest.importorskip("safetensors", reason="the extra faces is not installed")


@pytest.fixture
def persons() -> FaceData:
    """Three persons, each a pattern of brightness, with noise."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(40, 200, (3, 1, 8, 8), generator=generator).repeat_interleave(4, 2)
    patterns = patterns.repeat_interleave(4, 3)

    def part(count: int) -> Split:
        target = torch.arange(count) % 3
        noise = torch.randint(0, 50, (count, 1, 32, 32), generator=generator)
        return Split((patterns[target] + noise).to(torch.uint8), target.double())

    def same(images, target, _generator):
        return images, target

    labels = torch.arange(3, dtype=torch.float64)
    return FaceData("persons", "persons", labels, part(48), part(12), same, 0.0)


def tiny_net() -> TinyAgeNet:
    torch.manual_seed(0)
    return TinyAgeNet(range(11), rate=0.05)


@pytest.mark.parametrize("ema", [None, 0.5])
def test_features_learn_persons_and_are_transferred(persons, tmp_path, ema):
    net = tiny_net()
    head, before = net.head.weight.detach().clone(), net.features[0].weight.detach().clone()
    settings = TrainSettings(epochs=6, batch_size=16, ema=ema, device="cpu", learning_rate=0.01)
    report = run_pretraining(persons, net, settings, tmp_path)
    assert report.metrics["error"] < 0.2  # two thirds by chance
    assert json.loads((tmp_path / "metrics.json").read_text()) == report.metrics
    assert report.metrics["n_identities"] == 3

    saved = LabelDistributionNet.from_pretrained(tmp_path)
    assert torch.equal(saved.head.weight, head)  # untouched
    for name, tensor in net.features.state_dict().items():
        assert torch.equal(saved.features.state_dict()[name], tensor), name
    assert not torch.equal(saved.features[0].weight, before)

    # The features alone tell the persons apart: a linear layer on top learns them at once.
    beauty = TinyAgeNet(range(5), rate=0.05).eval()
    beauty.load_features(saved, tmp_path)
    from dldl_fast.data.images import normalise

    with torch.no_grad():
        features = beauty.pool(beauty.features(normalise(persons.test.images / 255.0)))
    middle = torch.stack([features[persons.test.target == person].mean(0) for person in range(3)])
    nearest = torch.cdist(features, middle).argmin(1)
    assert (nearest == persons.test.target).double().mean() > 0.9


def test_the_average_of_the_weights_does_not_disturb_the_training(persons, tmp_path):
    curves = []
    for ema in (None, 0.999):
        settings = TrainSettings(epochs=3, batch_size=16, ema=ema, device="cpu")
        report = run_pretraining(persons, tiny_net(), settings, tmp_path)
        curves.append([record.train_loss for record in report.history])
    assert curves[0] == curves[1]


def test_resuming(persons, tmp_path):
    settings = TrainSettings(epochs=3, batch_size=16, device="cpu")
    whole = run_pretraining(persons, tiny_net(), settings, tmp_path / "whole")

    from dldl_fast.training import Callback

    class Stop(Callback):
        def on_epoch(self, record):
            if record.epoch == 2:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run_pretraining(persons, tiny_net(), settings, tmp_path / "cut", callbacks=[Stop()])
    torch.rand(3)
    again = run_pretraining(persons, tiny_net(), settings, tmp_path / "cut", resume=True)
    curves = [
        [dataclasses.replace(record, seconds=0) for record in report.history]
        for report in (whole, again)
    ]
    assert curves[0] == curves[1]


def test_the_loss_is_a_weighted_mean():
    outputs = torch.tensor([[2.0, 0.0], [1.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 3.0, 0.0], dtype=torch.float64)
    rows = -outputs.log_softmax(1)[[0, 1, 2], [0, 0, 1]]
    objective, images = IdentityObjective(), torch.zeros(3)
    plain = objective.loss(outputs, Batch(images, target, None))
    assert plain.item() == pytest.approx(rows.mean().item(), rel=1e-6)
    weighted = objective.loss(outputs, Batch(images, target, None, weight))
    assert weighted.item() == pytest.approx(((rows[0] + 3 * rows[1]) / 4).item(), rel=1e-6)
    nothing = objective.loss(outputs, Batch(images, target, None, 0 * weight))
    assert nothing.item() == 0
    scores = objective.scores(outputs, Split(images, target))
    assert scores["error"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="has no lambda"):
        objective.for_stage(Stage(1, lambda_=0.0))


def test_too_few_persons(persons, tmp_path):
    one = dataclasses.replace(persons, labels=torch.zeros(1))
    with pytest.raises(ValueError, match="num_identities must be at least 2"):
        run_pretraining(one, tiny_net(), TrainSettings(device="cpu"), tmp_path)
