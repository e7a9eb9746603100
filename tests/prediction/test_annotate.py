from __future__ import annotations

import numpy as np
import pytest
import torch

from dldl_fast.labels import label_grid
from dldl_fast.prediction.annotate import MAX_SIDE, MIN_SIDE, annotated
from dldl_fast.prediction.result import predictions_of
from tests.prediction.conftest import face

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

LABELS = label_grid(0, 100)
YELLOW = (255, 196, 0)


def one_peak(at: int) -> torch.Tensor:
    p = torch.zeros(1, 101, dtype=torch.float64)
    p[0, at] = 1
    return p


def draw(width: int, height: int, found, at: int = 30) -> np.ndarray:
    grey = Image.new("RGB", (width, height), (120, 120, 120))
    return np.asarray(annotated(grey, predictions_of(one_peak(at), LABELS, [found]), LABELS, "y"))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 50), (480, 240)), ((600, 800), (600, 800)), ((6400, 3200), (1600, 800))],
)
def test_pictures_have_a_handy_size(size, expected):
    height, width, _ = draw(*size, None).shape
    assert (width, height) == expected
    assert MIN_SIDE <= max(width, height) <= MAX_SIDE


def test_the_box_is_where_the_face_is():
    pixels = draw(1200, 800, face(300, 100, 200))
    for row, column in ((100, 400), (300, 400), (200, 300), (200, 500)):  # the middles of its sides
        assert tuple(pixels[row, column]) == YELLOW
    assert tuple(pixels[200, 400]) == (120, 120, 120)  # nothing in it


def test_the_box_is_scaled_with_the_picture():
    pixels = draw(3200, 1600, face(800, 400, 200))
    for row, column in ((200, 450), (300, 450), (250, 400), (250, 500)):
        assert tuple(pixels[row, column]) == YELLOW


@pytest.mark.parametrize("top", [100, 560])  # room below, room above alone
def test_the_panel_is_beside_the_box(top):
    pixels = draw(800, 800, face(100, top, 200)).astype(int)
    plain = draw(800, 800, None)[0, 0]
    below, above = pixels[top + 220 :], pixels[: top - 20]
    changed = [bool((part != plain).any()) for part in (below, above)]
    assert changed == ([True, False] if top == 100 else [False, True])


def test_the_plot_shows_where_the_value_is():
    def line_of_value(at: int) -> float:
        pixels = draw(800, 800, None, at).astype(int)
        white = (pixels >= 250).all(-1)
        # The line is the longest white column; letters are shorter.
        runs = [max(map(len, "".join("x " [not w] for w in column).split()), default=0)
                for column in white.T]  # fmt: skip
        return float(np.argmax(runs))

    low, middle, high = (line_of_value(at) for at in (10, 50, 90))
    assert middle - low == pytest.approx(high - middle, abs=2)
    assert high - low > 80


def test_a_face_beyond_the_edge_is_no_trouble():
    for found in (face(-50, -50, 100), face(350, 350, 100), face(-10, -10, 500)):
        assert draw(400, 400, found).shape == (480, 480, 3)
    assert draw(1, 3000, None).shape == (1600, 1, 3)
