"""What a job refuses, how it goes on, and what its picture holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

pytest.importorskip("typer.testing", reason="the extra cli is not installed")
pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
pytest.importorskip("matplotlib", reason="the extra faces is not installed")
pytest.importorskip("safetensors", reason="the extra faces is not installed")

from matplotlib.figure import Figure  # noqa: E402

from dldl_fast.cli.reproduce import Name  # noqa: E402
from dldl_fast.models import CheckpointError, TinyAgeNet  # noqa: E402
from dldl_fast.reproduction import REPRODUCTIONS, Watch, make_job, reproduce  # noqa: E402
from dldl_fast.reproduction.labels import histogram  # noqa: E402
from dldl_fast.reproduction.measurements import Measurements  # noqa: E402
from dldl_fast.reproduction.paper import TABLES  # noqa: E402
from dldl_fast.reproduction.plots import plot_table  # noqa: E402
from dldl_fast.resume import ResumeError  # noqa: E402
from dldl_fast.training import Callback  # noqa: E402
from tests.command_line import invoke  # noqa: E402
from tests.reproduction.sheets import read_lines  # noqa: E402


def test_the_command_knows_all_names_and_says_them():
    assert get_args(Name) == tuple(REPRODUCTIONS)
    done = invoke("reproduce", "table1")
    assert done.exit_code == 2
    for name in REPRODUCTIONS:
        assert f"'{name}'" in done.output
    with pytest.raises(ValueError, match="name must be one of table2, .*, got 'table1'"):
        reproduce(make_job("table1", [], Path("out")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table2", "--data", "rows.mat"], "table2 needs pictures, and rows.mat holds features"),
        (["fig8", "--data", "diabetes"], "fig8 needs pictures, and diabetes holds features"),
        (["fig2", "--data", "rows.mat"], "fig2 is made from no data, got rows.mat"),
        (["table6", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["fig6", "--data", "a", "--data", "b"], "fig6 shows one data set, got a, b"),
        (["table6", "--model", "m"], "table6 takes no --model; fig6, fig7, fig8 do"),
        (["table7", "--init", "m"], "table7 takes no --init, got m"),
        (["fig6", "--init", "a", "--init", "b"], "fig6 takes 1 --init, got a, b"),
        (["fig6", "--init", "a", "--model", "b"], "give either --model, a trained network, or"),
        (["table4", "--device", "abacus"], "device 'abacus' cannot be used"),
    ],
)
def test_errors_are_one_message(arguments, message):
    pytest.importorskip("sklearn", reason="the extra compare is not installed")
    done = invoke("reproduce", *arguments)
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output
    assert not list(Path().rglob("*.md"))


def test_bad_budget():
    with pytest.raises(ValueError, match="budget must be one of quick, paper, got 'free'"):
        make_job("fig1", [], Path("out"), budget="free")


def test_budgets_are_those_of_the_recipes():
    paper = make_job("table2", [], Path("out"), budget="paper")
    assert (paper.settings.total_epochs, paper.settings.batch_size) == (60, 128)
    assert paper.recipe.image_size == 224 and paper.sources == ("orl-age",)
    assert make_job("table2", [], Path("out"), budget="paper", epochs=3).settings.total_epochs == 3
    assert make_job("table2", [], Path("out")).settings.total_epochs == 12


def test_without_matplotlib_nothing_is_trained(faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = invoke("reproduce", "table4", "--data", faces, "--epochs", 1)
    assert done.exit_code == 1
    assert "pip install 'dldl_fast[faces]'" in done.output
    assert not Path("runs").exists()


def test_pretrained_features_must_fit(faces):
    TinyAgeNet(range(4), rate=0.25).save_pretrained("tiny")
    job = make_job("table2", [str(faces)], Path("out"), epochs=1, init=[Path("tiny")], device="cpu")
    with pytest.raises(CheckpointError, match="--init has no features for ThinAgeNet; give one"):
        reproduce(job)
    # The other network has begun with them.
    assert list(Path("out").glob("work/quick-1-epochs-init-*/*/TinyAgeNet/model.safetensors"))


class StopsAfterAnEpoch(Watch):
    def on_training(self, title):
        class Stop(Callback):
            def on_epoch(self, record):
                raise KeyboardInterrupt

        return [Stop()]


def test_a_training_goes_on_as_if_nothing_had_been(faces):
    def job(folder: str, watch: Watch | None = None):
        return make_job("fig7", [str(faces)], Path(folder), epochs=2, device="cpu", watch=watch)

    with pytest.raises(KeyboardInterrupt):
        reproduce(job("stopped", StopsAfterAnEpoch()))
    assert not Path("stopped/fig7.md").exists()
    reproduce(job("stopped"))
    reproduce(job("whole"))
    assert Path("stopped/fig7.csv").read_text() == Path("whole/fig7.csv").read_text()
    _, lines = read_lines(
        Path("stopped/work/quick-2-epochs") / faces.name / "TinyAgeNet" / "history.csv"
    )
    assert [line["epoch"] for line in lines] == ["1", "2"]


def test_another_data_set_of_the_same_name_is_refused(faces):
    def run():
        reproduce(make_job("fig7", [str(faces)], Path("out"), epochs=1, device="cpu"))

    run()
    table = faces / "labels.csv"
    table.write_text(table.read_text().replace("12.0", "11.5"))
    with pytest.raises(ResumeError, match="holds another training .*targets was.*delete that"):
        run()


def test_series_of_the_picture_say_whose_they_are(monkeypatch, tmp_path):
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: drawn.append(self))
    found = Measurements()
    found.add("DEX", "faces", {"mae": 8.5, "e_error": 0.5})
    found.add("median", "faces", {"mae": 9.5})
    plot_table(tmp_path / "a.png", TABLES["table6"], found)
    left, right = drawn[0].axes
    assert [text.get_text() for text in left.get_yticklabels()] == [
        *TABLES["table6"].rows,
        "median",
    ]
    series = {line.get_label(): line.get_xydata().tolist() for line in left.lines}
    assert list(series) == [f"paper: {name} MAE" for name in ("ChaLearn15", "ChaLearn16", "Morph")]
    assert series["paper: Morph MAE"][:3] == [[2.282, 0], [2.347, 1], [2.311, 2]]
    (line,) = right.lines
    assert line.get_label() == "measured: faces MAE"
    assert line.get_xydata().tolist() == [[8.5, 2.0], [9.5, 7.0]]


def test_histogram():
    target = torch.tensor([1.0, 1.06, 2.0, 4.98, 5.0], dtype=torch.float64)
    centres, counts = histogram(target)  # bins of 0.1
    assert centres.tolist() == pytest.approx([1 + 0.1 * place for place in range(41)])
    filled = {place: int(count) for place, count in enumerate(counts.tolist()) if count}
    assert filled == {0: 1, 1: 1, 10: 1, 40: 2}
    centres, counts = histogram(torch.tensor([3.0, 3.0]))
    assert centres.tolist() == [3.0] and counts.tolist() == [2.0]
