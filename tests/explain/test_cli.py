from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dldl_fast.explain import occlusion
from dldl_fast.models import LabelDistributionNet
from dldl_fast.prediction import AgeEstimator
from tests.command_line import invoke
from tests.prediction.conftest import MEAN, SIZE, STD, model, picture  # noqa: F401

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
pytest.importorskip("typer.testing", reason="the extra cli is not installed")
pytest.importorskip("safetensors", reason="the extra hub is not installed")
pytest.importorskip("matplotlib", reason="the extra faces is not installed")

ROWS = 9


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    lines = ["path,label"]
    for number in range(ROWS):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{22 + 3 * number}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def expected_inputs(data):
    """Normalised, [N, 3, S, S]."""
    faces = [np.asarray(Image.open(data / f"{number}.png")) for number in range(ROWS)]
    pixels = torch.from_numpy(np.stack(faces)) / 255.0
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


def test_all_pictures_and_their_numbers(model, data, tmp_path):  # noqa: F811
    model.save_pretrained(tmp_path / "model")
    done = invoke("explain", data, "--model", "model", "--no-align", "--count", 4)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "runs" / "explain-faces"
    names = ["score_maps.png", "best_and_worst.png", "curves.png", "occlusion.png"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "explain.json"])
    for name in names:
        assert np.asarray(Image.open(folder / name).convert("L")).std() > 5

    found = json.loads((folder / "explain.json").read_text())
    target = 22 + 3 * torch.arange(ROWS, dtype=torch.float64)
    hidden = occlusion(model, [(expected_inputs(data), target)])
    torch.testing.assert_close(
        torch.tensor(found["occlusion"]["squares"]).double(), hidden.squares, rtol=1e-3, atol=1e-5
    )
    values = AgeEstimator(model, align=False).predict_many(
        [np.asarray(Image.open(data / f"{number}.png")) for number in range(ROWS)]
    )
    predictions = [one.predictions[0] for one in values]
    order = np.argsort([one.std for one in predictions], kind="stable")
    errors = np.array([abs(p.value - y) for p, y in zip(predictions, target.tolist(), strict=True)])
    np.testing.assert_allclose(
        found["risk_coverage"]["mae"], errors[order].cumsum() / np.arange(1, ROWS + 1), rtol=1e-6
    )
    assert found["occlusion"]["mae"] == pytest.approx(errors.mean(), rel=1e-5)
    assert found["count"] == ROWS


def test_model_without_places_has_no_score_maps(data, tmp_path):
    backbone = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    net = LabelDistributionNet(backbone, range(20, 51), num_features=3)
    net.config = {"image": {"size": SIZE, "mean": MEAN, "std": STD}, "data": {"unit": "years"}}
    estimator = AgeEstimator(net, align=False)
    from dldl_fast.data.sets import read_csv
    from dldl_fast.evaluation import gather, model_predictions
    from dldl_fast.explain.job import Explanation, write_explanation

    table = read_csv(data)
    scores = gather(table, model_predictions(estimator, table))
    written = write_explanation(Explanation(estimator, table, scores), tmp_path / "out", count=3)
    assert written == ["best_and_worst.png", "curves.png", "explain.json"]
    assert "occlusion" not in json.loads((tmp_path / "out" / "explain.json").read_text())


def test_what_is_wrong_is_said(model, data, tmp_path):  # noqa: F811
    model.save_pretrained(tmp_path / "model")
    done = invoke("explain", data, "--model", tmp_path / "none", "--no-align")
    assert done.exit_code == 1 and "none" in done.output
    done = invoke("explain", data, "--model", "model", "--no-align", "--split", "test")
    assert done.exit_code == 1 and "no row is of the part 'test'" in done.output
