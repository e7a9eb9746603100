"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Where files of one kind are kept: ``dldl_fast/<name>`` below $XDG_CACHE_HOME or ``~/.cache``.

    The folder may be missing.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The standard has relative paths ignored.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "dldl_fast" / name
