"""Find the torch of the environment that the build is for, though the build is isolated from it.

pip hides the site-packages of the environment from an isolated build by environment variables of
the build process, which runs the environment's own interpreter. A child of that interpreter without
these variables sees what the user sees, whatever the kind of environment: plain, virtual, virtual
with the system's packages, or the packages of the user.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from _build.settings import BuildError

VARIABLE = "DLDL_FAST_BUILD_TORCH"

_CHILD = """
import importlib.util, json, sys
spec = importlib.util.find_spec("torch")
found = spec is not None and spec.origin is not None
print(json.dumps([path for path in sys.path if path] if found else None))
"""
_ISOLATION = ("PYTHONPATH", "PYTHONNOUSERSITE")


def search_path() -> list[str] | None:
    """Folders to append to sys.path so that torch can be imported; None if there is no torch."""
    override = os.environ.get(VARIABLE, "")
    if override and override != "isolated":
        if not (Path(override) / "torch" / "__init__.py").is_file():
            raise BuildError(
                f"{VARIABLE} must be 'isolated' or a site-packages folder that holds torch; "
                f"there is no torch in {override!r}"
            )
        return [override]
    if importlib.util.find_spec("torch") is not None:
        return []
    return None if override == "isolated" else _outside_isolation()


def _outside_isolation() -> list[str] | None:
    environment = {name: value for name, value in os.environ.items() if name not in _ISOLATION}
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        path: list[str] | None = json.loads(child.stdout.splitlines()[-1])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        # An environment whose interpreter does not start is no place to find torch in.
        return None
    return path


def make_importable() -> None:
    """Let `import torch` find it, behind everything that the isolated build installed."""
    sys.path.extend(folder for folder in search_path() or () if folder not in sys.path)
