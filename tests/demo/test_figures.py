from __future__ import annotations

import numpy as np
import pytest
import torch

from dldl_fast.labels import label_grid
from dldl_fast.prediction.result import predictions_of

pytest.importorskip("matplotlib", reason="the extra faces is not installed")
pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

from dldl_fast.demo.figures import as_svg, distribution_figure  # noqa: E402

LABELS = label_grid(1, 5, 0.5)


@pytest.fixture
def prediction():
    distribution = torch.tensor([1.0, 2, 4, 8, 16, 32, 8, 4, 2], dtype=torch.float64)
    return predictions_of((distribution / distribution.sum())[None], LABELS, [None])[0]


def test_plot_shows_distribution_value_and_interval(prediction):
    axes = distribution_figure(prediction, LABELS, "points").axes[0]
    bars = [patch for patch in axes.patches if patch.get_width() > 0]
    middles = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    np.testing.assert_allclose(middles, [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5])
    heights = np.array([1.0, 2, 4, 8, 16, 32, 8, 4, 2]) / 77
    np.testing.assert_allclose([bar.get_height() for bar in bars], heights)
    np.testing.assert_allclose([bar.get_width() for bar in bars], 0.5)
    value, interval = axes.lines
    expected = float((heights * np.array(middles)).sum())
    np.testing.assert_allclose(value.get_xdata(), [expected, expected])
    # The cumulative sums are 1 3 7 15 31 63 71 75 77: 3.85 and 73.15 are first reached at these.
    np.testing.assert_array_equal(interval.get_xdata(), [2.0, 4.5])
    assert max(interval.get_ydata()) < 0
    assert axes.get_xlabel() == "points"


def test_units_are_no_formulas(prediction):
    svg = as_svg(distribution_figure(prediction, LABELS, r"$\frac"))
    assert svg.startswith(b"<?xml")
    assert b"</svg>" in svg
