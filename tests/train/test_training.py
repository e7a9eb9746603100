from __future__ import annotations

import csv
import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from dldl_fast import DLDLv2Loss, functional
from dldl_fast.metrics import e_error, mae
from dldl_fast.models import TinyAgeNet
from dldl_fast.training import (
    Callback,
    LabelObjective,
    Training,
    TrainingDivergedError,
    TrainSettings,
    predict,
    run_training,
)

pytest.importorskip("safetensors", reason="the extra faces is not installed")
pytest.importorskip("matplotlib", reason="the extra faces is not installed")


class StopAfter(Callback):
    """Ctrl-C after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step(self, loss: float) -> None:
        self.steps -= 1
        if self.steps == 0:
            raise KeyboardInterrupt


def criterion_for(data) -> DLDLv2Loss:
    return DLDLv2Loss(labels=data.labels, sigma=1.5)


def training_of(model: nn.Module, data, settings: TrainSettings) -> Training:
    return Training(model, data, LabelObjective(criterion_for(data)), settings)


def small(data, count: int):
    part = data.train
    rows = slice(count)
    train_part = dataclasses.replace(
        part, images=part.images[rows], target=part.target[rows], sigma=part.sigma[rows]
    )
    return dataclasses.replace(data, train=train_part)


def test_training_learns_and_the_checkpoint_repeats_its_predictions(stripes, tmp_path):
    settings = TrainSettings(epochs=8, batch_size=16, device="cpu", precision="float32")
    report = run_training(stripes, criterion_for(stripes), settings, tmp_path, command="a command")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == report.metrics
    constant = torch.full_like(stripes.test.target, stripes.baseline)
    assert metrics["baseline_mae"] == mae(constant, stripes.test.target).item()
    assert metrics["baseline_mae"] > 5
    assert metrics["mae"] < 0.4 * metrics["baseline_mae"]
    assert metrics["e_error"] < metrics["baseline_e_error"]
    assert metrics["command"] == "a command"
    assert (metrics["epochs"], metrics["steps"]) == (8, 64)
    assert not metrics["interrupted"]

    state = torch.random.get_rng_state()
    model = TinyAgeNet.from_pretrained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(model.labels, stripes.labels)
    assert not model.training
    logits = predict(model, stripes.test.images)
    prediction = functional.expectation(logits, model.labels)
    assert mae(prediction, stripes.test.target).item() == pytest.approx(metrics["mae"], abs=1e-5)
    again = e_error(prediction, stripes.test.target, stripes.test.sigma).item()
    assert again == pytest.approx(metrics["e_error"], abs=1e-6)
    assert model.config["loss"]["lambda_"] == 1.0
    assert model.config["training"]["learning_rate"] == 1e-3

    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 9))
    assert float(rows[-1]["mae"]) == metrics["mae"]
    assert float(rows[-1]["train_loss"]) < 0.5 * float(rows[0]["train_loss"])
    assert float(rows[0]["learning_rate"]) == 1e-3
    assert float(rows[4]["learning_rate"]) == pytest.approx(5e-4)
    assert (tmp_path / "training.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "history.csv",
        "last",
        "metrics.json",
        "model.safetensors",
        "training.png",
    ]


def test_the_seed_decides_everything(stripes, tmp_path):
    data = small(stripes, 40)

    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 100)  # the caller's state must not matter, nor change
        state = torch.random.get_rng_state()
        settings = TrainSettings(epochs=1, batch_size=16, seed=seed, device="cpu")
        run_training(data, criterion_for(data), settings, tmp_path)
        assert torch.equal(torch.random.get_rng_state(), state)
        model = TinyAgeNet.from_pretrained(tmp_path)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    first = weights(0)
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)


def test_every_row_meets_its_own_target_and_sigma_once_per_epoch(stripes):
    seen = []

    class Spy(DLDLv2Loss):
        def forward(self, logits, target=None, sigma=None, weight=None, **kwargs):
            if logits.requires_grad:  # not the evaluation
                seen.extend(zip(target.tolist(), sigma.tolist(), strict=True))
            return super().forward(logits, target, sigma, weight, **kwargs)

    data = small(stripes, 37)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 32))
    settings = TrainSettings(epochs=2, batch_size=12, device="cpu")
    result = Training(model, data, LabelObjective(Spy(labels=data.labels)), settings).run()
    assert result.steps == 6
    pairs = set(zip(data.train.target.tolist(), data.train.sigma.tolist(), strict=True))
    first, second = seen[:36], seen[36:]
    assert len(set(first)) == len(set(second)) == 36
    assert set(seen) <= pairs
    assert first != second


@pytest.mark.parametrize("steps", [1, 5])
def test_ctrl_c_leaves_a_usable_checkpoint_and_the_metrics_so_far(stripes, tmp_path, steps):
    data = small(stripes, 48)
    settings = TrainSettings(epochs=50, batch_size=16, device="cpu")
    report = run_training(
        data, criterion_for(data), settings, tmp_path, callbacks=[StopAfter(steps)]
    )
    assert report.metrics["interrupted"]
    assert report.metrics["steps"] == steps
    assert report.metrics["epochs"] == len(report.history) == steps // 3
    logits = predict(TinyAgeNet.from_pretrained(tmp_path), data.test.images)
    prediction = functional.expectation(logits, data.labels)
    expected = mae(prediction, data.test.target).item()
    assert json.loads((tmp_path / "metrics.json").read_text())["mae"] == pytest.approx(
        expected, abs=1e-5
    )
    assert (tmp_path / "training.png").is_file()


def test_ctrl_c_before_the_first_step_writes_nothing(stripes, tmp_path):
    class Stop(Callback):
        def on_start(self, epochs: int, steps_per_epoch: int, done: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(
            stripes,
            criterion_for(stripes),
            TrainSettings(device="cpu"),
            tmp_path,
            callbacks=[Stop()],
        )
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_ends_the_training(stripes):
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(math.nan))

        def forward(self, images):
            return self.scale * images.mean() + torch.zeros(len(images), 32)

    with pytest.raises(TrainingDivergedError, match="nan in epoch 1, step 1; lower the learning"):
        training_of(Broken(), stripes, TrainSettings(device="cpu")).run()


def test_bfloat16_autocast_trains_too(stripes):
    data = small(stripes, 16)
    torch.manual_seed(0)
    model = TinyAgeNet(range(32))
    settings = TrainSettings(epochs=1, batch_size=16, device="cpu", precision="bfloat16")
    result = training_of(model, data, settings).run()
    assert result.steps == 1
    single = predict(model, data.test.images[:4])
    half = predict(model, data.test.images[:4], precision="bfloat16")
    assert half.dtype == torch.float32
    assert not torch.equal(single, half)
    torch.testing.assert_close(single, half, rtol=0.1, atol=0.1)


def test_precision_auto_follows_the_processor(monkeypatch):
    settings, cpu = TrainSettings(), torch.device("cpu")
    for capabilities, expected in (
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"architecture": "aarch64"}, "float32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert settings.resolved_precision(cpu) == expected
    assert TrainSettings(precision="float32").resolved_precision(cpu) == "float32"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("batch_size", 0, "batch_size must be at least 1"),
        ("learning_rate", 0.0, "learning_rate must be finite and > 0"),
        ("learning_rate", math.nan, "learning_rate must be finite and > 0"),
        ("seed", -1, r"seed must be in \[0, 2\*\*63\)"),
        ("precision", "float16", "precision must be one of"),
    ],
)
def test_settings_that_make_no_sense(setting, value, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**{setting: value})


def test_unknown_device():
    with pytest.raises(ValueError, match="device 'toaster' cannot be used"):
        TrainSettings(device="toaster").resolved_device()
