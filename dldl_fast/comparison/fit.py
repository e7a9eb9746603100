"""One training run of a network with one method, under the budget that all methods get."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from sklearn.preprocessing import StandardScaler
from torch import Generator, Tensor, nn

from dldl_fast.comparison.data import ComparisonData
from dldl_fast.data.images import normalise
from dldl_fast.methods import Method
from dldl_fast.models import TinyAgeNet
from dldl_fast.models.feature_net import FeatureNet
from dldl_fast.training import TrainingDivergedError, TrainSettings, predict

HIDDEN_UNITS = 256
"""Of the network for features, which has one hidden layer with ReLU."""

WEIGHT_DECAY = 1e-2
"""Of AdamW."""


class _Task(NamedTuple):
    """What differs between features and images."""

    new_network: Callable[[int], FeatureNet]
    """A network with so many outputs."""
    batch: Callable[[Tensor, Generator], tuple[Tensor, Tensor]]
    """Inputs and targets of a step from the numbers of its rows."""
    test_outputs: Callable[[FeatureNet], Tensor]
    """Outputs for the test rows, on the CPU."""


def fit_network(
    data: ComparisonData,
    train: Tensor,
    test: Tensor,
    method: Method,
    settings: TrainSettings,
    on_epoch: Callable[[], None] | None = None,
) -> Tensor:
    """Train a new network and predict the test rows.

    A network for features is an MLP, for images the convolutions and the pooling of TinyAgeNet;
    both end in one linear layer. The settings' seed alone decides the initial weights up to that
    layer, the batches and the random changes of images, whatever the method is; last layers of as
    many outputs begin the same as well. AdamW, with a learning rate that falls to 0 along half a
    cosine.

    Args:
        data: all rows.
        train: numbers of the training rows, int64 [N].
        test: numbers of the test rows, int64 [M].
        method: output size, loss and decoder; its parameters, if any, are trained too.
        settings: budget and seed; computes in float32 whatever its precision is. Features are
            always computed on the CPU, in one thread.
        on_epoch: called after every epoch.

    Returns:
        Predicted values, float64 [M].

    Raises:
        TrainingDivergedError: if a loss is not finite.
    """
    if data.features is not None:
        device = torch.device("cpu")
        task = _feature_task(data.features, data.target, train, test)
        with _one_thread():
            return _fit(task, data.sigma, train, method, settings, device, on_epoch)
    device = settings.resolved_device()
    task = _image_task(data, test, device)
    return _fit(task, data.sigma, train, method, settings, device, on_epoch)


def _fit(
    task: _Task,
    sigma: Tensor,
    train: Tensor,
    method: Method,
    settings: TrainSettings,
    device: torch.device,
    on_epoch: Callable[[], None] | None,
) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = task.new_network(method.out_features)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    method.to(device)
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *method.parameters()],
        lr=settings.learning_rate,
        weight_decay=WEIGHT_DECAY,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    generator = Generator().manual_seed(settings.seed)
    batches = math.ceil(len(train) / settings.batch_size)
    for epoch in range(1, settings.epochs + 1):
        network.train()
        total = torch.zeros((), dtype=torch.float64, device=device)
        order = torch.randperm(len(train), generator=generator)
        # Of nearly equal size: batch normalisation could not do with a last one of one row.
        for part in torch.tensor_split(order, batches):
            rows = train[part]
            inputs, target = task.batch(rows, generator)
            loss = method.loss(network(inputs), target, sigma[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        schedule.step()
        if not math.isfinite(total.item()):
            raise TrainingDivergedError(
                f"{method.name}: the loss became {total.item()} in epoch {epoch}; lower the "
                f"learning rate (now {settings.learning_rate:g}) or leave this method out"
            )
        if on_epoch is not None:
            on_epoch()
    network.eval()
    with torch.inference_mode():
        return method.cpu().decode(task.test_outputs(network))


def _feature_task(features: Tensor, target: Tensor, train: Tensor, test: Tensor) -> _Task:
    scaler = StandardScaler().fit(features[train].numpy())
    standardised = torch.from_numpy(scaler.transform(features.numpy()))
    width = features.shape[1]

    def new_network(outputs: int) -> FeatureNet:
        hidden = nn.Sequential(nn.Linear(width, HIDDEN_UNITS), nn.ReLU())
        return FeatureNet(hidden, nn.Identity(), HIDDEN_UNITS, outputs)

    return _Task(
        new_network,
        lambda rows, _: (standardised[rows], target[rows]),
        lambda network: network(standardised[test]),
    )


def _image_task(data: ComparisonData, test: Tensor, device: torch.device) -> _Task:
    images, pictures = data.images, data.training_images
    assert images is not None and pictures is not None  # for the type checker: no features

    def new_network(outputs: int) -> FeatureNet:
        net = TinyAgeNet(data.labels)
        # The last layer is the last thing that is drawn: what comes before is the same for all.
        return FeatureNet(net.features, net.pool, net.head.in_features, outputs)

    def batch(rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        chosen = pictures[rows].to(device) / 255.0
        changed, target = data.augment(chosen, data.target[rows].to(device), generator)
        return normalise(changed), target

    return _Task(new_network, batch, lambda network: predict(network, images[test], device))


@contextmanager
def _one_thread() -> Iterator[None]:
    """More threads make small layers slower, and other sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
