"""For docs/photos.md: a trained model and a photo."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.made_up import write_detector, write_model, write_photo


def prepare(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    write_detector()
    write_model("runs/photos")
    write_photo("holiday/beach.jpg")
    return {}
