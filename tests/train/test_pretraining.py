from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from dldl_fast.data import DataError, FaceData, Split
from dldl_fast.data.batches import Batch
from dldl_fast.data.identities import hold_out_images, read_identities
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
    settings = TrainSettings(epochs=15, batch_size=16, ema=ema, device="cpu", learning_rate=0.01)
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


def write_persons(folder, counts: dict[str, int]) -> None:
    image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
    for number, (person, count) in enumerate(counts.items()):
        (folder / person).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((32, 32, 3), 40 * number + index, np.uint8)
            image.fromarray(pixels).save(folder / person / f"{index}.png")


def test_a_folder_of_persons(tmp_path):
    write_persons(tmp_path, {"ben": 5, "anna": 3, "once": 1})
    table = read_identities(tmp_path)
    assert table.paths[0] == "anna/0.png"
    assert table.target.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert table.note == "1 persons with fewer than 2 pictures were left out."
    parts = hold_out_images(table, 0.4, seed=0)
    assert [int(parts.test[table.target == person].sum()) for person in (0, 1)] == [1, 2]
    assert not bool((parts.test & parts.train).any())
    assert bool((parts.test | parts.train).all())
    most = hold_out_images(table, 0.99, seed=0)
    assert [int(most.train[table.target == person].sum()) for person in (0, 1)] == [1, 1]
    with pytest.raises(DataError, match="fewer than 2 persons with at least 4 pictures"):
        read_identities(tmp_path, min_images=4)
    (tmp_path / "stray.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"stray\.png: expected it in a folder named by its person"):
        read_identities(tmp_path)
    with pytest.raises(ValueError, match="min_images must be at least 2, got 1"):
        read_identities(tmp_path, min_images=1)
    with pytest.raises(ValueError, match="test_fraction must be between 0 and 1, got 1"):
        hold_out_images(table, 1.0, seed=0)


def test_the_commands_pretrain_and_train(write_folder, tmp_path):
    testing = pytest.importorskip("typer.testing", reason="the extra cli is not installed")
    from dldl_fast.cli.app import app

    def invoke(*arguments):
        return testing.CliRunner().invoke(app, [str(argument) for argument in arguments])

    persons, out = tmp_path / "persons", tmp_path / "pretrained"
    write_persons(persons, {"anna": 6, "ben": 6, "carl": 6})
    options = ["--image-size", 32, "--device", "cpu", "--epochs", 2, "--batch-size", 4]
    result = invoke("pretrain", persons, "--out", out, *options)
    assert result.exit_code == 0, result.output
    assert "3 persons, 15 images to learn from, 3 held out; TinyAgeNet" in result.output
    pretrained = LabelDistributionNet.from_pretrained(out)

    source = write_folder([i / 4 for i in range(16)])
    result = invoke(
        "train", "--data", source, "--out", tmp_path / "out", "--label-max", 10, "--init", out,
        *options, "--learning-rate", 1e-12,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    trained = LabelDistributionNet.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(trained.features[0].weight, pretrained.features[0].weight)

    result = invoke("train", "--data", source, "--network", "ThinAgeNet", "--init", out, *options)
    assert result.exit_code == 1
    assert "not the weights of this model; wrong shape" in re.sub(r"\s+", " ", result.output)
    result = invoke("pretrain", persons, "--recipe", "official-staged", *options)
    assert result.exit_code == 1
    assert "has no lambda" in result.output
