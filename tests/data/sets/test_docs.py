"""docs/datasets.md beside the data sets themselves."""

from __future__ import annotations

import re
from pathlib import Path

from dldl_fast.data.protocols import PROTOCOLS
from dldl_fast.data.sets import DATA_SETS

PAGE = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")
FIRST, LAYOUTS, USES = re.split(r"^## .*$", PAGE, flags=re.MULTILINE)


def cells(text: str) -> dict[str, list[str]]:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}


def test_the_first_table_says_what_the_registry_says() -> None:
    table = cells(FIRST)
    assert list(table) == list(DATA_SETS)
    for name, data in DATA_SETS.items():
        images, labels, sigma, protocols, where = table[name]
        spec = data.spec
        grid = f"{spec.label_min:g}:{spec.label_step:g}:{spec.label_max:g} {spec.unit}"
        assert images == ("" if data.images is None else f"{data.images:,}"), name
        assert labels.removesuffix(", or yours") == grid, name
        assert sigma.startswith(("own", f"{spec.sigma:g}")), name
        assert protocols == ", ".join(f"`{protocol}`" for protocol in data.protocols), name
        assert where == (f"<{data.where}>" if data.where else ""), name


def test_the_other_tables_are_complete() -> None:
    assert list(cells(LAYOUTS)) == list(DATA_SETS)
    assert list(cells(USES)) == list(PROTOCOLS)


def test_the_docstrings_say_where_to_get_the_data() -> None:
    for data in DATA_SETS.values():
        assert data.read.__doc__ is not None and data.where in data.read.__doc__, data.name


def test_the_example_runs(make_tree, monkeypatch) -> None:
    root = make_tree(pictures=["FGNET/images/001A02.JPG", "FGNET/images/002A30.JPG"])
    monkeypatch.chdir(root)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["held_out"].paths == ("images/001A02.JPG",)
