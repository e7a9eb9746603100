"""Measured numbers beside the paper's, and the files that hold them."""

from __future__ import annotations

import csv
import json

import pytest

from dldl_fast.reproduction.measurements import Measurements, Sheet, beside_paper
from dldl_fast.reproduction.paper import Column, PaperTable
from dldl_fast.reproduction.report import Outcome, write_outcome

PAPER = PaperTable(
    "A table",
    (Column("", "parameters"), Column("morph", "mae"), Column("cfd", "mae")),
    {"DEX": (1.5, 3.25, None), "DLDL": (2.5, None, 7.0)},
)


@pytest.fixture
def found():
    found = Measurements()
    found.add("DLDL", "", {"parameters": 4.0, "milliseconds": 12345.6})
    found.add("DLDL", "faces", {"mae": 8.125, "e_error": 0.5})
    found.add("DLDL", "cfd", {"mae": 9.0})
    found.add("median", "faces", {"mae": 10.0})
    found.leave_out("median", "", "no network")
    found.leave_out("DEX", "faces", "no time")
    found.leave_out("DEX", "cfd", "no faces")
    return found


def test_measured_columns_stand_beside_those_of_the_paper(found):
    sheet = beside_paper(PAPER, found, "quoted")
    assert sheet.headers == [
        "",
        "parameters, millions (paper)",
        "parameters, millions (measured)",
        "Morph MAE (paper)",
        "CFD MAE (paper)",
        "CFD MAE (measured)",
        "32 images, ms (measured)",
        "faces MAE (measured)",
        "faces e-error (measured)",
        "why not measured",
    ]
    assert sheet.lines == [
        ["DEX", 1.5, None, 3.25, None, None, None, None, None, "faces: no time; cfd: no faces"],
        ["DLDL", 2.5, 4.0, None, 7.0, 9.0, 12345.6, 8.125, 0.5, ""],
        ["median", None, None, None, None, None, None, 10.0, None, "no network"],
    ]


def test_a_row_without_anything_says_why():
    sheet = beside_paper(PAPER, Measurements(), "quoted")
    assert [line[-1] for line in sheet.lines] == ["quoted", "quoted"]
    assert not any("(measured)" in header for header in sheet.headers)


def test_files(found, tmp_path):
    sheet = beside_paper(PAPER, found, "quoted")
    numbers = Sheet(["label", "share"], [[1, 0.123456789], [2, None]])
    outcome = Outcome(sheet, lambda path: path.write_bytes(b"png"), ["Data: others."], ["Look."])
    out = tmp_path / "out"
    out.mkdir()
    made = {"command": "dldl-fast reproduce table6", "machine": "a computer"}
    names = write_outcome(out, "table6", "A title", outcome, made)
    assert sorted(names) == sorted(path.name for path in out.iterdir())

    page = (out / "table6.md").read_text()
    assert page.startswith("# A title\n\n|  | parameters, millions (paper) |")
    assert "| DEX | 1.5 | not measured | 3.25 |  | not measured |" in page
    assert "| DLDL | 2.5 | 4 |  | 7 | 9 | 12346 | 8.125 | 0.5 |  |" in page
    for part in (
        "- Look.",
        "## What differs from the paper\n\n- Data: others.",
        "![A title](table6.png)",
        "- command: dldl-fast reproduce table6\n- machine: a computer",
    ):
        assert part in page

    with (out / "table6.csv").open(newline="") as file:
        first, *lines = csv.reader(file)
    assert first == sheet.headers
    assert lines[0] == ["DEX", "1.5", "", "3.25", *[""] * 5, "faces: no time; cfd: no faces"]

    record = json.loads((out / "table6.json").read_text())
    assert record["command"] == "dldl-fast reproduce table6"
    assert record["table"] == {"headers": sheet.headers, "lines": sheet.lines}

    other = Outcome(sheet, outcome.draw, [], numbers=numbers)
    write_outcome(out, "fig1", "A title", other, made)
    assert (out / "fig1.csv").read_text() == "label,share\n1,0.123456789\n2,\n"
    assert "Look" not in (out / "fig1.md").read_text()
