"""The command `dldl-fast`."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, or say what to install for it and exit with status 1."""
    missing = [package for package in ("typer", "rich") if find_spec(package) is None]
    if missing:
        print(
            f"dldl-fast: the command line needs {' and '.join(missing)}, not installed here.\n"
            "Run: pip install 'dldl_fast[cli]' (or 'dldl_fast[faces]' to train on faces as well).",
            file=sys.stderr,
        )
        raise SystemExit(1)
    from dldl_fast.cli.app import app

    app()
