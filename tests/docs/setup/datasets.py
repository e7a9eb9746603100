"""For docs/datasets.md: pictures with the names of FG-NET's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.made_up import write_photo


def prepare(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name in ("001A02", "001A16", "002A05", "003A47"):
        write_photo(f"FGNET/images/{name}.JPG")
    return {}
