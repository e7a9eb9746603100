"""Bio-inspired features against their definition, pixel by pixel, and what they must not notice."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dldl_fast.features import BIF_DIMENSION, BIF_SIZE, bif_features, l2_normalize
from dldl_fast.features.bif import BANDS, N_ORIENTATIONS, gabor_filters

ROWS, COLUMNS = BIF_SIZE


def by_band(features: Tensor) -> list[Tensor]:
    """[N, orientations, cell rows, cell columns] of every band."""
    grids = [
        tuple((side - band.cell) // (band.cell // 2) + 1 for side in BIF_SIZE) for band in BANDS
    ]
    parts = features.split([N_ORIENTATIONS * rows * columns for rows, columns in grids], 1)
    return [
        part.reshape(-1, N_ORIENTATIONS, *grid) for part, grid in zip(parts, grids, strict=True)
    ]


def mirrored(i: int, length: int) -> int:
    i = abs(i)
    return i if i < length else 2 * (length - 1) - i


def defined_filter(size: int, sigma: float, wavelength: float, theta: float) -> np.ndarray:
    half = size // 2
    values = np.empty((size, size))
    for y in range(-half, half + 1):
        for x in range(-half, half + 1):
            across = x * math.cos(theta) + y * math.sin(theta)
            along = -x * math.sin(theta) + y * math.cos(theta)
            values[y + half, x + half] = math.exp(
                -(across**2 + 0.09 * along**2) / (2 * sigma**2)
            ) * math.cos(2 * math.pi * across / wavelength)
    values -= values.mean()
    return values / math.sqrt((values**2).sum())


def defined_feature(
    image: np.ndarray, scales: list[tuple[np.ndarray, int]], top: int, left: int, cell: int
) -> float:
    largest = []
    for row in range(top, top + cell):
        for column in range(left, left + cell):
            responses = []
            for kernel, half in scales:
                rows = [mirrored(row + d, ROWS) for d in range(-half, half + 1)]
                columns = [mirrored(column + d, COLUMNS) for d in range(-half, half + 1)]
                responses.append((kernel * image[np.ix_(rows, columns)]).sum())
            largest.append(max(responses))
    mean = sum(largest) / len(largest)
    return math.sqrt(sum((value - mean) ** 2 for value in largest) / len(largest))


def test_features_are_their_definition() -> None:
    image = torch.rand(ROWS, COLUMNS)
    features = by_band(bif_features(image[None]))
    random = np.random.default_rng(1)
    for band, got in zip(BANDS, features, strict=True):
        _, _, cell_rows, cell_columns = got.shape
        corners = [(0, 0), (cell_rows - 1, cell_columns - 1)]
        inside = (int(random.integers(cell_rows)), int(random.integers(cell_columns)))
        for row, column in [*corners, inside]:
            orientation = int(random.integers(N_ORIENTATIONS))
            theta = math.pi * orientation / 8
            scales = [(defined_filter(*scale, theta), scale.size // 2) for scale in band.scales]
            top, left = row * band.cell // 2, column * band.cell // 2
            want = defined_feature(image.double().numpy(), scales, top, left, band.cell)
            assert got[0, orientation, row, column].item() == pytest.approx(want, rel=1e-4)


def test_dimension_is_that_of_the_paper() -> None:
    assert bif_features(torch.rand(1, 1, 70, 50)).shape == (1, BIF_DIMENSION)
    assert BIF_DIMENSION == 4616
    assert len(BANDS) == 6
    assert N_ORIENTATIONS == 8


def test_bands_are_those_of_2009() -> None:
    """Size, sigma and wavelength of both filters, and the cell."""
    assert [(*band.scales[0], *band.scales[1], band.cell) for band in BANDS] == [
        (5, 2.0, 2.5, 7, 2.8, 3.5, 6),
        (9, 3.6, 4.6, 11, 4.5, 5.6, 8),
        (13, 5.4, 6.8, 15, 6.3, 7.9, 10),
        (17, 7.3, 9.1, 19, 8.2, 10.3, 12),
        (21, 9.2, 11.5, 23, 10.2, 12.7, 14),
        (25, 11.3, 14.1, 27, 12.3, 15.4, 16),
    ]


def test_filters_have_mean_0_and_length_1() -> None:
    for band in BANDS:
        for scale in band.scales:
            filters = gabor_filters(scale)
            assert filters.shape == (8, 1, scale.size, scale.size)
            assert filters.sum((1, 2, 3)).abs().max() < 1e-5
            torch.testing.assert_close(filters.square().sum((1, 2, 3)), torch.ones(8))
            # Turned by a quarter, the filters are each other's.
            torch.testing.assert_close(filters[:4].rot90(-1, (2, 3)), filters[4:])


@pytest.mark.parametrize("image", [torch.full((2, 3, 90, 71), 0.3), torch.full((2, 64, 64), 255)])
def test_even_image_gives_zeros(image: Tensor) -> None:
    image = image.to(torch.uint8) if image.dtype == torch.int64 else image
    features = bif_features(image)
    assert torch.equal(features, torch.zeros(2, BIF_DIMENSION))
    assert torch.equal(l2_normalize(features), features)


def test_brightness_does_not_count_and_contrast_scales() -> None:
    image = torch.rand(2, 1, 80, 64)
    features = bif_features(image)
    assert features.min() >= 0
    assert features.mean() > 0.01
    torch.testing.assert_close(bif_features(image + 3), features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(bif_features(2 * image), 2 * features)
    torch.testing.assert_close(l2_normalize(bif_features(0.1 * image)), l2_normalize(features))


@pytest.mark.parametrize("band", range(6))
def test_grating_excites_its_orientation_and_band_most(band: int) -> None:
    y, x = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")
    theta = torch.arange(8).reshape(-1, 1, 1) * math.pi / 8
    phase = 2 * math.pi * (x * theta.cos() + y * theta.sin()) / BANDS[band].scales[0].wavelength
    energy = torch.stack([part.mean((2, 3)) for part in by_band(bif_features(phase.cos()))], 1)
    for orientation in range(8):  # the one of the grating
        strongest = divmod(int(energy[orientation].argmax()), 8)
        assert strongest == (band, orientation)


def test_kinds_of_images_agree() -> None:
    pixels = torch.randint(256, (2, 1, 66, 50), dtype=torch.uint8)
    features = bif_features(pixels)
    for same in (pixels[:, 0], pixels.expand(-1, 3, -1, -1), pixels / 255, (pixels / 255).double()):
        torch.testing.assert_close(bif_features(same), features, rtol=1e-4, atol=1e-5)
    channels = torch.zeros(3, 3, 66, 50)
    for channel in range(3):
        channels[channel, channel] = pixels[0, 0] / 255
    want = features[:1] * torch.tensor([[0.299], [0.587], [0.114]])
    torch.testing.assert_close(bif_features(channels), want, rtol=1e-4, atol=1e-5)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    images = torch.rand(66, ROWS, COLUMNS)  # more than are computed at a time
    some = [0, 63, 64, 65]
    few = bif_features(images[some])
    torch.testing.assert_close(bif_features(images)[some], few, rtol=1e-4, atol=1e-5)
    assert torch.equal(bif_features(images[some]), few)
    assert bif_features(images[:0]).shape == (0, BIF_DIMENSION)


@pytest.mark.parametrize(
    ("shape", "middle"),
    [
        ((120, 120), (slice(None), slice(16, 104))),  # sides cut off
        ((200, 88), (slice(40, 160), slice(None))),  # top and bottom
    ],
)
def test_middle_is_cut_out_and_scaled(shape: tuple[int, int], middle: tuple[slice, slice]) -> None:
    Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
    image = torch.rand(shape)
    scaled = Image.fromarray(image[middle].numpy()).resize(
        (COLUMNS, ROWS), Image.Resampling.BILINEAR
    )
    want = bif_features(torch.from_numpy(np.array(scaled))[None])
    torch.testing.assert_close(bif_features(image[None]), want, rtol=1e-3, atol=1e-5)


def test_features_are_not_differentiated() -> None:
    assert not bif_features(torch.rand(1, 64, 64, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([[1.0]], TypeError, "images must be a tensor, got list"),
        (torch.ones(1, 8, 8, dtype=torch.int64), TypeError, "uint8 or floating point, got torch.i"),
        (torch.ones(8, 8), ValueError, r"images must have shape .* got \[8, 8\]"),
        (torch.ones(1, 2, 8, 8), ValueError, r"got \[1, 2, 8, 8\]"),
        (torch.ones(1, 1, 0, 8), ValueError, r"got \[1, 1, 0, 8\]"),
        (torch.full((1, 8, 8), math.nan), ValueError, "images must hold finite values"),
    ],
)
def test_what_is_no_image(images: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bif_features(images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_unit_length(dtype: torch.dtype) -> None:
    features = torch.rand(4, 3, 50, dtype=dtype)
    features[1, 2] = 0
    got = l2_normalize(features)
    assert got.dtype == dtype
    want = torch.ones(4, 3, dtype=dtype)
    want[1, 2] = 0
    torch.testing.assert_close(got.square().sum(-1), want)
    norm = features[0, 0].square().sum().sqrt()
    torch.testing.assert_close(got[0, 0] * norm, features[0, 0])


def test_integers_cannot_be_normalised() -> None:
    with pytest.raises(
        TypeError, match="features must be a floating-point tensor, got torch.int64"
    ):
        l2_normalize(torch.ones(1, 2, dtype=torch.int64))
