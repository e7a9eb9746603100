from __future__ import annotations

import pytest

from dldl_fast.files import cache_folder


@pytest.mark.parametrize("value", ["", "relative/folder"])
def test_the_default_folder(value, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("inference") == tmp_path / ".cache" / "dldl_fast" / "inference"


def test_the_folder_that_the_user_chose(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("mtcnn") == tmp_path / "dldl_fast" / "mtcnn"
