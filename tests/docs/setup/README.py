"""For README.md: features in a table, a trained model, a photo, and quick choices of `optimize`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dldl_fast.inference import PATHS
from tests.docs.made_up import write_detector, write_model, write_photo


def prepare(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for path in set(PATHS) - {"eager"}:  # measuring them all takes a minute
        monkeypatch.delitem(PATHS, path)
    write_detector()
    write_model("runs/my_faces")
    write_photo("holiday/beach.jpg")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    return {"X": X[:50], "y": 40 + 10 * np.tanh(X[:50, 0]), "X_new": X[50:]}
