"""What the build of this installation did: written by _build/extension.py, read here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class BuildInfo(NamedTuple):
    """Versions at the build; `no_extension` and `no_cuda` say why a library was not built.

    A version is None, and a reason empty, where the build had nothing to say.
    """

    torch: str | None = None
    compiler: str | None = None
    cuda_toolkit: str | None = None
    cuda_architectures: str | None = None
    no_extension: str = ""
    no_cuda: str = ""


def build_info() -> BuildInfo:
    """Read it; nothing is known where no build has run, as in a checkout used from its folder."""
    try:
        text = Path(__file__).with_name("_build_info.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return BuildInfo()
    return BuildInfo(**json.loads(text))
