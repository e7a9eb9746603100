"""Which torch a build uses, and when it asks pip for one."""

from __future__ import annotations

import importlib.util
import os
import sys
import venv
from pathlib import Path

import pytest
import torch

from _build import backend, installed_torch
from _build.settings import BuildError

SITE_PACKAGES = Path(torch.__file__).parent.parent


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DLDL_FAST_BUILD_TORCH", "DLDL_FAST_NO_EXT"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A build process as pip starts it: torch is not to be seen, here or in a plain child."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )


def test_importable_torch_is_taken_as_it_is() -> None:
    assert installed_torch.search_path() == []
    assert backend.get_requires_for_build_wheel() == []


@pytest.mark.usefixtures("isolated")
def test_torch_is_found_through_the_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    found = installed_torch.search_path()
    assert found is not None
    assert any((Path(folder) / "torch" / "__init__.py").is_file() for folder in found)
    assert os.environ["PYTHONPATH"] not in found
    assert backend.get_requires_for_build_editable() == []

    first = sys.path[0]
    monkeypatch.setattr(sys, "path", [first])
    installed_torch.make_importable()
    assert sys.path[0] == first, "what the isolated build installed must stay in front"
    assert set(found) <= set(sys.path)


@pytest.mark.usefixtures("isolated")
def test_torch_is_asked_for_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    venv.create(tmp_path / "empty", with_pip=False, symlinks=os.name != "nt")
    folder, suffix = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
    python = tmp_path / "empty" / folder / f"python{suffix}"
    monkeypatch.setattr(sys, "executable", str(python))
    assert installed_torch.search_path() is None
    assert backend.get_requires_for_build_wheel() == ["torch>=2.10"]
    assert backend.get_requires_for_build_editable() == ["torch>=2.10"]


@pytest.mark.usefixtures("isolated")
def test_an_interpreter_that_does_not_start_has_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    assert installed_torch.search_path() is None


@pytest.mark.usefixtures("isolated")
def test_override_by_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLDL_FAST_BUILD_TORCH", str(SITE_PACKAGES))
    assert installed_torch.search_path() == [str(SITE_PACKAGES)]
    assert backend.get_requires_for_build_wheel() == []


@pytest.mark.usefixtures("isolated")
def test_override_asks_for_a_torch_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLDL_FAST_BUILD_TORCH", "isolated")
    assert backend.get_requires_for_build_wheel() == ["torch>=2.10"]


def test_override_by_a_folder_without_torch_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DLDL_FAST_BUILD_TORCH", str(tmp_path))
    with pytest.raises(BuildError, match="DLDL_FAST_BUILD_TORCH must be 'isolated' or a site-pack"):
        installed_torch.search_path()


@pytest.mark.usefixtures("isolated")
def test_no_torch_is_looked_for_without_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLDL_FAST_NO_EXT", "1")
    monkeypatch.setenv("DLDL_FAST_BUILD_TORCH", "isolated")
    assert backend.get_requires_for_build_wheel() == []


def test_unknown_value_of_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLDL_FAST_NO_EXT", "yes")
    with pytest.raises(BuildError, match="DLDL_FAST_NO_EXT must be one of 0, 1; got 'yes'"):
        backend.get_requires_for_build_wheel()
