"""The environment variables of a build, and the error that ends one."""

from __future__ import annotations

import os


class BuildError(SystemExit):
    """Ends the build with a message; a traceback through pip would only bury it."""

    def __init__(self, message: str) -> None:
        super().__init__(f"dldl_fast: {message}")


def choice(variable: str, *values: str) -> str:
    """Value of an environment variable that allows `values` only; the first is the default."""
    value = os.environ.get(variable) or values[0]
    if value not in values:
        raise BuildError(f"{variable} must be one of {', '.join(values)}; got {value!r}")
    return value


def no_extension() -> bool:
    """Whether DLDL_FAST_NO_EXT=1 asks for an installation without compiled code."""
    return choice("DLDL_FAST_NO_EXT", "0", "1") == "1"


def cuda() -> str:
    """DLDL_FAST_CUDA: "auto", "0" or "1"."""
    return choice("DLDL_FAST_CUDA", "auto", "0", "1")
