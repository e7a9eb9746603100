"""docs/methods.md beside the methods themselves."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from dldl_fast.methods import METHODS, make_method

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
OUTPUTS = {"1": 1, "K − 1": 6, "K": 7}


def test_the_table_has_all_methods_in_their_order_and_their_sizes() -> None:
    lines = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert [name for name, _ in lines] == list(METHODS)
    for name, outputs in lines:
        assert make_method(name, range(7)).out_features == OUTPUTS[outputs], name


def test_what_the_page_says_of_decoders_and_distributions() -> None:
    for name in METHODS:
        method = make_method(name, range(7))
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        outputs = torch.randn(3, method.out_features, dtype=torch.float64)
        if "| expectation |" in row:
            expectation = method.distribution(outputs) @ method.labels
            torch.testing.assert_close(method.decode(outputs), expectation)
    without = {name for name in METHODS if not make_method(name, range(7)).has_distribution}
    assert without == {"ranking", "or-cnn", "mr-l1", "mr-l2"}


def test_the_page_names_the_methods_with_a_sigma() -> None:
    (sentence,) = re.findall(r"`sigma=` is used by ([^;]+);", PAGE)
    named = re.findall(r"`([a-z0-9-]+)`", sentence)
    assert named == [name for name, cls in METHODS.items() if "sigma" in cls.settings]


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    assert names["distribution"].shape == (8, 101) and names["predicted_age"].shape == (8,)
