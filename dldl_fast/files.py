"""Where files go, and writing them so that they are never half written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4


def cache_folder(name: str) -> Path:
    """A folder for what can be made again; it need not exist yet.

    It is ``dldl_fast/name`` below $XDG_CACHE_HOME or ``~/.cache``.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The standard has relative paths ignored.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "dldl_fast" / name


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a dictionary as JSON; NaN and infinity are refused, since JSON has none."""
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that it is never half written."""
    # A name of its own: another process may be writing the same file.
    part = path.with_name(f".{path.stem}.{uuid4().hex}.part{path.suffix}")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
