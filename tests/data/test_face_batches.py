from __future__ import annotations

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch
from torch import Generator

pytest.importorskip("PIL", reason="the extra faces is not installed")

from dldl_fast.data import Split
from dldl_fast.data.batches import epoch_rows, seed_of
from dldl_fast.data.face_batches import FaceBatches
from dldl_fast.data.images import MEAN, STD
from dldl_fast.data.official_augment import OfficialAugmentation, apply, draw

COUNT, SIZE, SEED = 21, 16, 11


@pytest.fixture
def split():
    images = torch.randint(
        0, 256, (COUNT, 3, SIZE, SIZE), dtype=torch.uint8, generator=Generator().manual_seed(0)
    )
    # The target says which row it is; the images are in another order.
    rows = torch.arange(COUNT, dtype=torch.float64)
    return Split(images, rows, rows / 100, rows + 1, torch.arange(COUNT).flip(0))


def make(split, augment="official", **settings):
    settings = {"batch_size": 6, "seed": SEED} | settings
    augment = OfficialAugmentation() if augment == "official" else augment
    return FaceBatches(split, augment=augment, **settings)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("epoch", [1, 2])
def test_images_targets_and_sigmas(split, workers, epoch):
    batches = list(make(split, workers=workers).epoch(epoch))
    orders = epoch_rows(COUNT, 6, SEED, epoch)
    assert len(batches) == len(orders) == 3
    for batch, rows in zip(batches, orders, strict=True):
        assert torch.equal(batch.target, rows.double())
        assert torch.equal(batch.sigma, rows.double() / 100)
        assert torch.equal(batch.weight, rows.double() + 1)
        assert batch.images.dtype == torch.float32
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        for image, row in zip(batch.images, rows.tolist(), strict=True):
            generator = Generator().manual_seed(seed_of(SEED, epoch, row))
            pixels = apply(split.images[COUNT - 1 - row], draw(generator, SIZE)).double()
            for channel in range(3):
                expected = (pixels[channel] / 255 - MEAN[channel]) / STD[channel]
                np.testing.assert_allclose(image[channel].numpy(), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_the_same_bytes_for_any_number_of_workers(split):
    made = [make(split, workers=workers) for workers in (0, 1, 3)]
    for epoch in (1, 2):
        first, *others = (list(batches.epoch(epoch)) for batches in made)
        assert len(first) == len(made[0]) == 3
        for other in others:
            assert all(same(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batches_of_one(split, workers, processes):
    whole = list(make(split).epoch(2))
    parts = [
        list(make(split, workers=workers, rank=rank, processes=processes).epoch(2))
        for rank in range(processes)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        for together, *pieces in zip(batch, *shares, strict=True):
            assert torch.equal(torch.stack(pieces, 1).flatten(0, 1), together)


def test_another_epoch_another_order_and_other_changes(split):
    batches = make(split, batch_size=COUNT)
    (first,), (second,), (again,) = (list(batches.epoch(number)) for number in (1, 2, 1))
    assert same(first, again)
    assert not torch.equal(first.target, second.target)
    by_row = [batch.images[batch.target.argsort()] for batch in (first, second)]
    for row in range(COUNT):
        assert not torch.equal(by_row[0][row], by_row[1][row])


def test_another_seed(split):
    (first,), (second,) = (
        list(make(split, batch_size=COUNT, seed=seed).epoch(1)) for seed in (1, 2)
    )
    assert not torch.equal(first.target, second.target)
    by_row = [batch.images[batch.target.argsort()] for batch in (first, second)]
    assert not torch.equal(*by_row)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_was_left_early(split, workers):
    batches = make(split, workers=workers, batch_size=2)
    expected = list(make(split, batch_size=2).epoch(2))
    left = batches.epoch(1)
    next(left)
    assert all(same(a, b) for a, b in zip(batches.epoch(2), expected, strict=True))
    with pytest.raises(RuntimeError, match="epoch 1 cannot go on: another epoch has begun"):
        next(left)


def test_no_augmentation_and_no_sigma(split):
    batches = make(Split(split.images, split.target), augment=None, batch_size=COUNT)
    (batch,) = batches.epoch(1)
    assert batch.sigma is None
    actual = batch.images.double() * torch.tensor(STD)[:, None, None]
    actual = (actual + torch.tensor(MEAN)[:, None, None]) * 255
    expected = split.images[batch.target.long()].double()
    torch.testing.assert_close(actual, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("augment", ["official", None])
def test_grey_pictures_are_repeated(split, augment):
    grey = Split(split.images[:, :1], split.target)
    colour = Split(split.images[:, :1].expand(-1, 3, -1, -1), split.target)
    pairs = zip(make(grey, augment).epoch(1), make(colour, augment).epoch(1), strict=True)
    for one, three in pairs:
        assert torch.equal(one.images, three.images)


def test_fewer_images_than_a_batch(split):
    batches = make(split, batch_size=100)
    assert len(batches) == 1
    assert [len(batch.target) for batch in batches.epoch(1)] == [COUNT]


def threads(picture, generator):
    return torch.full((3, SIZE, SIZE), torch.get_num_threads(), dtype=torch.uint8)


def test_workers_use_one_thread(split):
    torch.set_num_threads(2)
    batch = next(make(split, threads, workers=1).epoch(1))
    assert round((batch.images[0, 0, 0, 0] * STD[0] + MEAN[0]).item() * 255) == 1


def test_workers_read_the_pictures_where_they_are(split):
    start = split.images.data_ptr()
    end = start + split.images.numel()

    def where(picture, generator):
        inside = start <= picture.data_ptr() < end
        return torch.full((3, SIZE, SIZE), 7 if inside else 9, dtype=torch.uint8)

    batch = next(make(split, where, workers=1).epoch(1))
    assert round((batch.images[0, 0, 0, 0] * STD[0] + MEAN[0]).item() * 255) == 7


def test_pictures_mapped_from_a_file(split, tmp_path):
    path = tmp_path / "pixels"
    path.write_bytes(split.images.numpy().tobytes())
    mapped = torch.from_file(
        str(path), shared=False, size=split.images.numel(), dtype=torch.uint8
    ).reshape(split.images.shape)
    pairs = zip(
        make(dataclasses.replace(split, images=mapped), workers=2).epoch(1),
        make(split).epoch(1),
        strict=True,
    )
    assert all(same(a, b) for a, b in pairs)


def killed(picture, generator):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_reported(split):
    with pytest.raises(RuntimeError, match="loads pictures ended unexpectedly .*use fewer workers"):
        next(make(split, killed, workers=1).epoch(1))


def wrong(picture, generator):
    raise KeyError("no such colour")


def test_an_error_in_a_worker_stays_what_it_is(split):
    with pytest.raises(KeyError, match="no such colour"):
        next(make(split, wrong, workers=1).epoch(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 2, "processes": 2}, r"rank must be in \[0, 2\), got 2"),
        ({"batch_size": 2, "processes": 3}, "3 processes need .* batch_size 2 and 21 images"),
        ({"batch_size": 0}, "1 processes need .* batch_size 0"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
    ],
)
def test_bad_arguments(split, settings, message):
    with pytest.raises(ValueError, match=message):
        make(split, **settings)
