"""Small data in the forms that the commands take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dldl_fast.reproduction import BUDGETS, trained
from dldl_fast.reproduction.paper import SIZES, TABLES

SENTINEL = 770_000
"""No measurement is as large."""


@pytest.fixture
def faces(write_folder) -> Path:
    """25 pictures, brighter the larger their label and to the right, with labels.csv."""
    image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
    folder: Path = write_folder([0.5 * number for number in range(25)])
    ramp = np.linspace(0, 60, 32)[None, :, None].repeat(32, 0).repeat(3, 2)
    for number in range(25):
        image.fromarray((ramp + 7 * number).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """40 rows of features that say something of an age from 20 to 29."""
    scipy_io = pytest.importorskip("scipy.io", reason="the extra compare is not installed")
    random = np.random.default_rng(0)
    age = 20 + np.arange(40) % 10
    rows = random.normal(size=(40, 6)) + age[:, None] * np.linspace(-0.3, 0.3, 6)
    path = tmp_path / "rows.mat"
    scipy_io.savemat(path, {"features": rows, "age": age})
    return path


@pytest.fixture
def made_up_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers in the place of the paper's that nothing here can measure."""
    for name, table in TABLES.items():
        rows = {
            row: tuple(None if number is None else SENTINEL + number / 1000 for number in numbers)
            for row, numbers in table.rows.items()
        }
        monkeypatch.setitem(TABLES, name, table._replace(rows=rows))
    for name in SIZES:
        monkeypatch.setitem(SIZES, name, (f"{SENTINEL}+1", f"{SENTINEL}-{SENTINEL + 9}"))


@pytest.fixture(autouse=True)
def small_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick budget with the smallest pictures that the networks take."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'description = "As default, with smaller pictures."\n'
        'network = "TinyAgeNet"\nimage_size = 32\naugmentation = "light"\n'
        "[[stages]]\nepochs = 24\n"
    )
    monkeypatch.setitem(BUDGETS, "quick", replace(BUDGETS["quick"], recipe=str(recipe)))


@pytest.fixture(autouse=True)
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "TIMED_IMAGES", 1)
    monkeypatch.setattr(trained, "TIMED_SIZE", 32)
    monkeypatch.setattr(trained, "TIMED_CALLS", 1)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "2000")
    torch.manual_seed(0)
