"""Folders with results of a job that goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dldl_fast.files import write_json


class ResumeError(ValueError):
    """A folder with results that do not belong to this job."""


def keep_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write what the results in a folder depend on, or check that it is what is written there.

    Args:
        path: JSON file in the folder, which is made if missing.
        settings: JSON values.

    Raises:
        ResumeError: if other settings are there, naming one.
        OSError: if the folder cannot be written.
    """
    # As it will be read: tuples are lists in JSON.
    wanted = json.loads(json.dumps(settings, allow_nan=False))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResumeError(f"{path}: not JSON ({error}); choose another folder") from error
    if not isinstance(found, dict):
        raise ResumeError(f"{path}: not the settings of a job; choose another folder")
    for name in {**wanted, **found}:
        if wanted.get(name) != found.get(name):
            raise ResumeError(
                f"{path.parent} holds results with {name} = {found.get(name)}, other than now, "
                f"{wanted.get(name)}; choose another folder, or the same settings"
            )
