"""Choices of earlier runs, kept as one small JSON file each in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from dldl_fast.cache import cache_folder
from dldl_fast.files import write_json


class Choice(NamedTuple):
    """Which path was the fastest.

    Attributes:
        path: its name.
        milliseconds: time of the example on every path that was measured.
    """

    path: str
    milliseconds: dict[str, float]


def recall(key: dict[str, Any]) -> Choice | None:
    """The choice made for a key, or None if there is none that can be read."""
    try:
        entry = json.loads(_file(key).read_text(encoding="utf-8"))
        milliseconds = {str(k): float(v) for k, v in entry["milliseconds"].items()}
        choice = Choice(str(entry["path"]), milliseconds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # missing or damaged: it is measured and written again
    return choice if choice.path in milliseconds and entry.get("key") == key else None


def remember(key: dict[str, Any], choice: Choice) -> None:
    """Keep a choice for later runs; warn if the folder cannot be written to."""
    file = _file(key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"key": key, **choice._asdict()})
    except OSError as error:
        warnings.warn(
            f"the choice of the inference path cannot be kept ({error}); the next run measures "
            "again; set XDG_CACHE_HOME to a folder that can be written to",
            stacklevel=3,
        )


def _file(key: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder("inference") / f"{digest[:32]}.json"
