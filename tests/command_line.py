"""Commands of `dldl-fast` in the process of the tests."""

from __future__ import annotations

from typing import Any


def invoke(*arguments: object) -> Any:
    """What `dldl-fast ARGUMENTS` printed, and its exit status."""
    from typer.testing import CliRunner

    from dldl_fast.cli.app import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])
