"""The PEP 517 backend: setuptools' own, building against the torch that is installed already.

With torch among the ordinary build requirements, pip's isolated build downloads a second torch,
often of another version or another kind than the one that the library then runs with. This backend
looks for torch in this order:

1. `DLDL_FAST_BUILD_TORCH`: a site-packages folder that holds torch, or `isolated` to ask for torch
   as a build requirement wherever one is installed.
2. torch in the build's own environment, as with `pip install --no-build-isolation`.
3. torch in the environment that pip runs in, seen through pip's isolation.
4. Where there is none, torch becomes a build requirement, and pip downloads it.

uv and `python -m build` isolate the build by an environment of its own, from which the outer one
cannot be found, so they end at 4 and download torch once into their caches. To use an installed
one there:

    DLDL_FAST_BUILD_TORCH=$(python -c 'import sysconfig; print(sysconfig.get_path("platlib"))') \
        python -m build --wheel

The binary uses torch's stable ABI, so any torch >= 2.10 does at run time, whichever was found here.
With `DLDL_FAST_NO_EXT=1` nothing is compiled and no torch is looked for.
"""

from __future__ import annotations

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from _build import installed_torch, settings

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_Settings = dict[str, str | list[str]] | None


def get_requires_for_build_wheel(config_settings: _Settings = None) -> list[str]:
    """Torch, where it is needed and there is none."""
    if settings.no_extension() or installed_torch.search_path() is not None:
        return []
    return ["torch>=2.10"]


get_requires_for_build_editable = get_requires_for_build_wheel


def build_wheel(
    wheel_directory: str,
    config_settings: _Settings = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel; return its file name."""
    _prepare()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str,
    config_settings: _Settings = None,
    metadata_directory: str | None = None,
) -> str:
    """Compile in place and build the wheel that points here; return its file name."""
    _prepare()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def _prepare() -> None:
    if not settings.no_extension():
        installed_torch.make_importable()
