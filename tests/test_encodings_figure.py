"""The command that draws the encodings."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra faces is not installed")
testing = pytest.importorskip("typer.testing", reason="the extra cli is not installed")

from matplotlib.figure import Figure  # noqa: E402

from dldl_fast.cli.app import app  # noqa: E402


def invoke(*arguments: object):
    return testing.CliRunner().invoke(app, ["encodings", *map(str, arguments)])


def test_panels_hold_the_encodings_of_an_age_of_50(tmp_path: Path, monkeypatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, path: drawn.append(self) or save(self, path)
    )
    out = tmp_path / "new" / "figure.png"
    result = invoke("--out", out)
    assert result.exit_code == 0, result.output
    assert out.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in out.parent.iterdir()] == ["figure.png"]

    density, cumulative, ranking = (
        {line.get_label(): line.get_xydata() for line in axes.lines} for axes in drawn[0].axes
    )
    assert set(density) == set(cumulative) == set(ranking) - {"ranking code"}
    ages = np.arange(101.0)
    for name, points in density.items():
        sigma = float(name.removeprefix(r"$\sigma$ = "))
        np.testing.assert_array_equal(points[:, 0], ages)
        gaussian = np.exp(-((ages - 50) ** 2) / 2 / sigma**2)
        np.testing.assert_allclose(points[:, 1], gaussian / gaussian.sum(), rtol=1e-9, atol=1e-10)
        c = cumulative[name]
        np.testing.assert_array_equal(c[:, 0], ages)
        assert c[50, 1] == 0.5
        assert (np.diff(c[:, 1]) >= 0).all()
        np.testing.assert_array_equal(ranking[name], np.stack([ages, 1 - c[:, 1]], 1)[:-1])
    np.testing.assert_array_equal(ranking["ranking code"], np.stack([ages, ages < 50], 1)[:-1])


def test_errors_are_one_message(tmp_path: Path, monkeypatch) -> None:
    result = invoke("--out", tmp_path / "figure.unheard")
    assert result.exit_code == 1
    assert result.output.startswith("Error: Format 'unheard' is not supported")
    assert not list(tmp_path.iterdir())

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = invoke("--out", tmp_path / "figure.png")
    assert result.exit_code == 1
    assert "pip install 'dldl_fast[faces]'" in " ".join(result.output.split())
