"""What the engine does beyond one plain training: stages, resuming, several processes."""

from __future__ import annotations

import dataclasses
import io

import pytest
import torch
from torch import nn

from dldl_fast import DLDLv2Loss
from dldl_fast.data.batches import Batch
from dldl_fast.models import TinyAgeNet
from dldl_fast.training import Callback, LabelObjective, Stage, Training, TrainSettings


def tiny_net(seed: int = 0) -> TinyAgeNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyAgeNet(range(32), rate=0.05)


class Linear(nn.Module):
    """Column means to logits: no batch normalisation, so that gradients add up."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.head = nn.Linear(32, 32, dtype=torch.float64)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.mean((1, 2)).double())


def training_of(model: nn.Module, data, **settings) -> Training:
    criterion = DLDLv2Loss(labels=data.labels, sigma=1.5)
    made = TrainSettings(**{"device": "cpu", "precision": "float32", "batch_size": 32, **settings})
    return Training(model, data, LabelObjective(criterion), made)


def with_validation(data):
    """The last 32 training images choose the epoch."""
    cut = [
        dataclasses.replace(
            data.train,
            images=data.train.images[rows],
            target=data.train.target[rows],
            sigma=data.train.sigma[rows],
        )
        for rows in (slice(0, 96), slice(96, 128))
    ]
    return dataclasses.replace(data, train=cut[0], validation=cut[1])


class StateAfter(Callback):
    """Keeps the state of an epoch as a file would."""

    def __init__(self, training: Training, epoch: int) -> None:
        self.training, self.epoch = training, epoch
        self.file = io.BytesIO()

    def on_epoch(self, record) -> None:
        if record.epoch == self.epoch:
            torch.save(self.training.state_dict(), self.file)


def without_seconds(result):
    return [dataclasses.replace(record, seconds=0) for record in result.history]


STAGED = (Stage(2, lambda_=0.0), Stage(3, zero_head_bias=True))


@pytest.mark.parametrize("epoch", [1, 2, 4, 5])  # within, between and after the stages
def test_a_resumed_training_is_the_uninterrupted_one(stripes, epoch):
    data = with_validation(stripes)
    options = {"stages": STAGED, "ema": 0.9, "schedule": "step", "step_epochs": 1, "patience": 9}
    whole = training_of(tiny_net(), data, **options)
    saved = StateAfter(whole, epoch)
    expected = whole.run([saved])

    resumed = training_of(tiny_net(seed=9), data, **options)
    saved.file.seek(0)
    resumed.load_state_dict(torch.load(saved.file, weights_only=True))
    result = resumed.run()
    assert without_seconds(result) == without_seconds(expected)
    assert (result.steps, result.best_epoch) == (15, expected.best_epoch)
    for got, want in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(got, want)


def test_stages_have_their_own_lambda_optimiser_and_bias(stripes):
    seen = []

    class Spy(DLDLv2Loss):
        def forward(self, logits, target=None, sigma=None, weight=None, **kwargs):
            if logits.requires_grad:
                seen.append(self.options.lambda_)
            return super().forward(logits, target, sigma, weight, **kwargs)

    class Watch(Callback):
        def on_start(self, epochs, steps_per_epoch, done):
            self.biases, self.after_epoch = [], []

        def on_step(self, loss):
            self.biases.append(model.head.bias.detach().clone())

        def on_epoch(self, record):
            self.after_epoch.append(model.head.bias.detach().clone())

    model = Linear()
    settings = TrainSettings(
        batch_size=128, stages=STAGED, learning_rate=0.25, device="cpu", precision="float32"
    )
    objective = LabelObjective(Spy(labels=stripes.labels, lambda_=0.7))
    watch = Watch()
    result = Training(model, stripes, objective, settings).run([watch])
    assert seen == [0.0, 0.0, 0.7, 0.7, 0.7]
    assert [record.stage for record in result.history] == [1, 1, 2, 2, 2]
    # The bias is zeroed when the second stage begins, not in the model that the first one leaves.
    assert watch.after_epoch[1].abs().max() > 0.2
    # Adam's first step is as long as the learning rate: the moments of stage 1 are gone.
    moved = watch.biases[2][watch.biases[2] != 0]
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.25), rtol=1e-3, atol=0)
    # Half a cosine over each stage's own epochs.
    rates = [record.learning_rate for record in result.history]
    assert rates == pytest.approx([0.25, 0.125, 0.25, 0.1875, 0.0625])


def test_step_decay_is_the_papers(stripes):
    training = training_of(
        Linear(), stripes, epochs=5, schedule="step", step_epochs=2, step_factor=0.1, batch_size=128
    )
    rates = [record.learning_rate for record in training.run().history]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])
    assert training_of(Linear(), stripes, adam_epsilon=1e-7)._optimizer.defaults["eps"] == 1e-7


def gradient(training: Training, batch: Batch) -> tuple[float, torch.Tensor]:
    loss = training._backward(training._objective_now, batch)
    return loss, training._model.head.weight.grad.clone()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("parts", [2, 3])  # 13 rows: parts of different sizes
def test_micro_batches_leave_the_gradient_as_it_is(stripes, parts, weighted):
    rows = slice(0, 13)
    weight = torch.arange(13, dtype=torch.float64) if weighted else None
    batch = Batch(
        stripes.train.images[rows] / 255.0,
        stripes.train.target[rows],
        stripes.train.sigma[rows],
        weight,
    )
    loss, expected = gradient(training_of(Linear(), stripes), batch)
    criterion = DLDLv2Loss(labels=stripes.labels, sigma=1.5, backend="reference")
    model = Linear()
    reference = criterion(model(batch.images), batch.target, batch.sigma, weight)
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=1e-6)
    torch.testing.assert_close(expected, model.head.weight.grad, rtol=1e-5, atol=1e-7)

    split_loss, split = gradient(training_of(Linear(), stripes, micro_batches=parts), batch)
    assert split_loss == pytest.approx(loss, rel=1e-9)
    torch.testing.assert_close(split, expected, rtol=1e-9, atol=1e-12)


def test_rows_without_weight_do_not_count(stripes):
    part = dataclasses.replace(stripes.train, weight=torch.zeros(128, dtype=torch.float64))
    part.weight[:5] = 1.0
    batches = training_of(Linear(), dataclasses.replace(stripes, train=part), batch_size=128)
    loss, _ = gradient(batches, next(iter(batches._batches.epoch(1))))
    criterion = DLDLv2Loss(labels=stripes.labels, backend="reference")
    images = Linear().to(torch.float64)
    from dldl_fast.data.images import normalise

    pictures = normalise(part.images[:5] / 255.0)
    alone = criterion(images(pictures), part.target[:5], part.sigma[:5])
    assert loss == pytest.approx(alone.item(), rel=1e-5)


def test_the_average_of_the_weights_is_what_is_evaluated(stripes):
    class Collect(Callback):
        def __init__(self):
            self.weights = []

        def on_step(self, loss):
            self.weights.append(model.head.weight.detach().clone())

    model, collect = Linear(), Collect()
    training = training_of(model, stripes, epochs=3, batch_size=64, ema=0.75, learning_rate=0.1)
    result = training.run([collect])
    average = collect.weights[0]
    for weights in collect.weights[1:]:
        average = 0.75 * average + 0.25 * weights
    torch.testing.assert_close(training.model.head.weight.detach(), average)
    assert not torch.equal(model.head.weight, training.model.head.weight)
    assert training.evaluate(stripes.test) == result.history[-1].scores


def test_the_bias_of_the_average_is_zeroed_too(stripes):
    class Biases(Callback):
        def __init__(self):
            self.found = []

        def on_step(self, loss):
            self.found.append((model.head.bias.clone(), training.model.head.bias.clone()))

    model = Linear()
    training = training_of(model, stripes, stages=STAGED, ema=0.75, batch_size=128)
    biases = Biases()
    training.run([biases])
    bias, average = biases.found[2]  # after the first step of the second stage
    torch.testing.assert_close(average, 0.25 * bias)


def test_patience_ends_a_stage_and_the_best_epoch_is_the_result(stripes):
    data = with_validation(stripes)
    # So large a learning rate that it does not get better for long.
    training = training_of(Linear(), data, epochs=40, patience=3, learning_rate=3.0)
    result = training.run()
    errors = [record.scores["mae"] for record in result.history]
    assert len(errors) < 40
    assert result.best_epoch == errors.index(min(errors)) + 1 == len(errors) - 3
    assert training.evaluate(data.validation)["mae"] == min(errors)


def test_without_validation_images_the_last_epoch_is_the_result(stripes):
    training = training_of(Linear(), stripes, epochs=4, learning_rate=3.0)
    result = training.run()
    assert result.best_epoch == 4
    assert training.evaluate(stripes.test) == result.history[-1].scores
    with pytest.raises(ValueError, match="patience needs validation images"):
        training_of(Linear(), stripes, patience=2)


def test_frozen_batch_normalisation_keeps_its_statistics(stripes):
    for frozen in (True, False):
        model = tiny_net()
        before = model.features[1].running_mean.clone()
        training_of(model, stripes, epochs=1, freeze_batch_norm=frozen).run()
        assert torch.equal(model.features[1].running_mean, before) == frozen


def test_random_layers_change_with_the_epoch_and_not_with_the_caller(stripes):
    seen = []

    class Noted(Linear):
        def forward(self, images):
            if self.training:
                seen.append(torch.rand(1).item())
            return super().forward(images)

    for _ in range(2):
        torch.rand(5)
        before = torch.random.get_rng_state()
        training_of(Noted(), stripes, epochs=2, batch_size=128).run()
        assert torch.equal(torch.random.get_rng_state(), before)
    assert seen[0] != seen[1]
    assert seen[:2] == seen[2:]


def test_the_best_epoch_is_one_of_the_last_stage(stripes):
    data = with_validation(stripes)
    # The second stage has no time to get where the first one was.
    stages = (Stage(12), Stage(1, lambda_=0.0, zero_head_bias=True))
    training = training_of(Linear(), data, stages=stages, learning_rate=0.3)
    result = training.run()
    errors = [record.scores["mae"] for record in result.history]
    assert errors[-1] > min(errors[:-1])
    assert result.best_epoch == 13
    assert training.evaluate(data.validation)["mae"] == errors[-1]


def test_dropout_is_the_same_again_after_an_interruption(stripes):
    class Dropped(Linear):
        def forward(self, images):
            return super().forward(nn.functional.dropout(images, training=self.training))

    whole = training_of(Dropped(), stripes, epochs=3)
    saved = StateAfter(whole, 2)
    expected = whole.run([saved])
    resumed = training_of(Dropped(), stripes, epochs=3)
    saved.file.seek(0)
    resumed.load_state_dict(torch.load(saved.file, weights_only=True))
    torch.rand(7)  # the caller's random numbers must not matter
    assert without_seconds(resumed.run()) == without_seconds(expected)


def test_what_cannot_be_trained(stripes):
    with pytest.raises(ValueError, match="a batch of 4 images is too small for 1 processes with 5"):
        training_of(Linear(), stripes, batch_size=4, micro_batches=5)
    with pytest.raises(ValueError, match="zero_head_bias needs a model whose last layer"):
        training_of(nn.Linear(2, 2), stripes, stages=STAGED)
