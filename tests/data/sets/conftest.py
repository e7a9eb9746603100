"""Tiny trees in the layout of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

MakeTree = Callable[..., Path]


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """Writes text files and empty pictures into a new folder."""

    def make(
        tables: Mapping[str, str] = {}, pictures: Iterable[str] = (), name: str = "tree"
    ) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, text in {**tables, **dict.fromkeys(pictures, "")}.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return root

    return make
