from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FIGURES = Path(__file__).parents[2] / "docs" / "figures"


def test_pictures_of_the_loss_are_those_of_this_library(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra faces is not installed")
    image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
    spec = importlib.util.spec_from_file_location("loss_figures", FIGURES / "loss.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(tmp_path)

    for name in ("loss_targets.png", "loss_gradients.png"):
        drawn, committed = (
            np.asarray(image.open(folder / name).convert("L")).astype(float)
            for folder in (tmp_path, FIGURES)
        )
        assert drawn.shape == committed.shape
        # Other versions of matplotlib place text a little differently; another curve is more.
        assert np.abs(drawn - committed).mean() < 1, name
