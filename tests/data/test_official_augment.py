from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Generator

pytest.importorskip("PIL", reason="the extra faces is not installed")

from dldl_fast.data import official_augment, pillow_operations
from dldl_fast.data.official_augment import (
    COLOUR_STEPS,
    OfficialAugmentation,
    OfficialParameters,
    apply,
    draw,
)

SIZE = 24
UNCHANGED = OfficialParameters(False, False, SIZE, 0.0, 1.0, 1.0, 1.0, COLOUR_STEPS)


# The oracle: float64 [S, S, 3] with values 0 to 255, from the formulas.


def cubic(x):
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def scaling(source, target):
    """Weights [target, source] of the cubic kernel, widened where it shrinks."""
    step = source / target
    width = max(step, 1.0)
    weights = np.array(
        [
            [cubic(((j + 0.5) - (i + 0.5) * step) / width) for j in range(source)]
            for i in range(target)
        ]
    )
    return weights / weights.sum(axis=1, keepdims=True)


def eight_bits(values):
    return np.clip(np.floor(values + 0.5), 0, 255)


def scaled(picture, size):
    weights = scaling(len(picture), size)
    rows = eight_bits(np.einsum("xj,yjc->yxc", weights, picture))
    return eight_bits(np.einsum("yi,ixc->yxc", weights, rows))


def turned(picture, degrees):
    size = len(picture)
    angle, middle = math.radians(degrees), size / 2
    result = np.zeros_like(picture)
    for y, x in itertools.product(range(size), repeat=2):
        right, up = x + 0.5 - middle, middle - (y + 0.5)
        # Where the point was before it was turned anticlockwise.
        old_x = middle + right * math.cos(angle) + up * math.sin(angle)
        old_y = middle - (-right * math.sin(angle) + up * math.cos(angle))
        if not (0 <= old_x < size and 0 <= old_y < size):
            continue
        left, top = math.floor(old_x - 0.5), math.floor(old_y - 0.5)
        for i, j in itertools.product((left, left + 1), (top, top + 1)):
            weight = (1 - abs(old_x - 0.5 - i)) * (1 - abs(old_y - 0.5 - j))
            result[y, x] += weight * picture[min(max(j, 0), size - 1), min(max(i, 0), size - 1)]
    return np.floor(result + 1e-9)


def grey(picture):
    return eight_bits(picture @ [0.299, 0.587, 0.114])[..., None].repeat(3, axis=2)


def mixed(picture, other, factor):
    return np.floor(np.clip(other + factor * (picture - other), 0, 255) + 1e-4)


def coloured(picture, step, factor):
    others = {
        "brightness": np.zeros_like(picture),
        "contrast": np.full_like(picture, math.floor(grey(picture).mean() + 0.5)),
        "saturation": grey(picture),
    }
    return mixed(picture, others[step], factor)


def oracle(picture, drawn):
    result = picture.astype(np.float64)
    if drawn.mirrored:
        result = result[:, ::-1]
    if drawn.grey:
        result = grey(result)
    result = scaled(turned(scaled(result, drawn.small_size), drawn.angle), len(picture))
    for step in drawn.colour_steps:
        result = coloured(result, step, getattr(drawn, step))
    return result


@pytest.fixture
def picture():
    """Both coarse structure and noise, so that every step and its place matter."""
    generator = np.random.default_rng(5)
    coarse = np.kron(generator.integers(0, 256, (6, 6, 3)), np.ones((4, 4, 1)))
    return np.clip(coarse + generator.integers(-40, 41, coarse.shape), 0, 255).astype(np.uint8)


def run(picture, drawn):
    result = apply(torch.from_numpy(picture.transpose(2, 0, 1).copy()), drawn)
    assert result.dtype == torch.uint8
    return result.permute(1, 2, 0).numpy().astype(np.float64)


@pytest.mark.parametrize(
    "change",
    [
        {"mirrored": True},
        {"grey": True},
        {"small_size": 12},
        {"small_size": 19},
        {"angle": 13.0},
        {"angle": -4.5},
        {"brightness": 0.63},
        {"brightness": 1.37},
        {"contrast": 0.63},
        {"contrast": 1.37},
        {"saturation": 0.63},
        {"saturation": 1.37},
    ],
    ids=str,
)
def test_every_step(picture, change):
    drawn = UNCHANGED._replace(**change)
    expected = oracle(picture, drawn)
    assert np.abs(expected - picture).mean() > 3  # it does something
    error = np.abs(run(picture, drawn) - expected)
    assert error.max() <= 1
    assert error.mean() < 0.02


def test_nothing_changes_nothing(picture):
    np.testing.assert_array_equal(run(picture, UNCHANGED), picture)


@pytest.mark.parametrize("order", list(itertools.permutations(COLOUR_STEPS)), ids="-".join)
@pytest.mark.parametrize("to_grey", [False, True])
def test_all_steps_in_order(picture, order, to_grey):
    drawn = OfficialParameters(True, to_grey, 15, 11.0, 1.3, 1.35, 0.7, order)
    error = np.abs(run(picture, drawn) - oracle(picture, drawn))
    # One level in the geometry grows with the factors.
    assert error.max() <= 4
    assert error.mean() < 0.3


def test_the_corners_are_black(picture):
    drawn = UNCHANGED._replace(angle=15.0)
    result = run(np.full_like(picture, 200), drawn)
    assert (result[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    assert (result[8:16, 8:16] == 200).all()


def test_a_grey_picture_is_one_of_equal_channels(picture):
    plane = torch.from_numpy(picture[..., 0].copy())[None]
    for seed in range(10):
        drawn = draw(Generator().manual_seed(seed), SIZE)
        assert torch.equal(apply(plane, drawn), apply(plane.expand(3, -1, -1), drawn))


def test_grey_in_one_channel_is_grey_in_three(picture):
    colours = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    in_grey = apply(colours, UNCHANGED._replace(grey=True))
    for seed in range(10):
        drawn = draw(Generator().manual_seed(seed), SIZE)
        expected = apply(in_grey, drawn._replace(grey=False))
        assert torch.equal(apply(colours, drawn._replace(grey=True)), expected)


@pytest.fixture(scope="module")
def drawn():
    return [draw(Generator().manual_seed(seed), 224) for seed in range(4000)]


def test_ranges(drawn):
    def values(name):
        return np.array([getattr(one, name) for one in drawn])

    for name in ("mirrored", "grey"):
        assert abs(values(name).mean() - 0.5) < 0.03
    assert set(values("small_size")) == set(range(112, 225))
    assert abs(values("small_size").mean() - 168) < 2
    for name, low, high in [("angle", -15, 15)] + [(name, 0.6, 1.4) for name in COLOUR_STEPS]:
        share = (values(name) - low) / (high - low)
        assert 0 <= share.min() < 0.01
        assert 0.99 < share.max() < 1
        # Uniform: a twelfth as variance, a half as mean.
        assert abs(share.mean() - 0.5) < 0.02
        assert abs(share.var() - 1 / 12) < 0.004


def test_all_numbers_are_independent(drawn):
    numbers = np.array([one[:7] for one in drawn], dtype=np.float64)
    correlation = np.corrcoef(numbers.T) - np.eye(7)
    assert np.abs(correlation).max() < 0.07


def test_every_order_is_as_likely(drawn):
    orders = [one.colour_steps for one in drawn]
    for order in itertools.permutations(COLOUR_STEPS):
        assert abs(orders.count(order) / len(orders) - 1 / 6) < 0.025


@pytest.mark.parametrize(("size", "sizes"), [(1, {1}), (4, {2, 3, 4}), (5, {3, 4, 5})])
def test_small_sizes_include_both_ends(size, sizes):
    drawn = [draw(Generator().manual_seed(seed), size).small_size for seed in range(300)]
    assert set(drawn) == sizes
    assert min(drawn.count(one) for one in sizes) > 300 / len(sizes) - 30


def test_without_mirroring_all_else_is_the_same(picture):
    colours = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    mirrored = 0
    for seed in range(12):
        drawn = draw(Generator().manual_seed(seed), SIZE)
        mirrored += drawn.mirrored
        for flip in (True, False):
            expected = apply(colours, drawn._replace(mirrored=drawn.mirrored and flip))
            actual = OfficialAugmentation(flip=flip)(colours, Generator().manual_seed(seed))
            assert torch.equal(actual, expected)
    assert mirrored > 2


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (torch.zeros(3, 8, 8), r"float32 \[3, 8, 8\]"),
        (torch.zeros(8, 8, dtype=torch.uint8), r"uint8 \[8, 8\]"),
        (torch.zeros(4, 8, 8, dtype=torch.uint8), r"uint8 \[4, 8, 8\]"),
        (torch.zeros(3, 8, 9, dtype=torch.uint8), r"uint8 \[3, 8, 9\]"),
        (torch.zeros(3, 0, 0, dtype=torch.uint8), r"uint8 \[3, 0, 0\]"),
    ],
)
def test_wrong_pictures(wrong, got):
    with pytest.raises(ValueError, match=r"picture must be uint8 \[C, S, S\] .*, got " + got):
        apply(wrong, UNCHANGED)


@pytest.mark.parametrize("size", [7, 24, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_gives_the_same(size, channels, monkeypatch):
    functional = pytest.importorskip(
        "torchvision.transforms.v2.functional", reason="no torchvision that fits torch is installed"
    )
    assert official_augment._operations() is functional
    generator = Generator().manual_seed(0)
    for seed in range(20):
        shape = (channels, size, size)
        picture = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        drawn = draw(Generator().manual_seed(seed), size)
        results = []
        for operations in (functional, pillow_operations):
            monkeypatch.setattr(official_augment, "_operations", lambda made=operations: made)
            results.append(apply(picture, drawn))
        assert torch.equal(*results)
