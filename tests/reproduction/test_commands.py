"""Every command from end to end, on small data, with numbers in the paper's place."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer.testing", reason="the extra cli is not installed")
pytest.importorskip("sklearn", reason="the extra compare is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
pytest.importorskip("matplotlib", reason="the extra faces is not installed")
pytest.importorskip("safetensors", reason="the extra faces is not installed")

from dldl_fast.comparison import run_comparison  # noqa: E402
from dldl_fast.data import label_spec_of, load_data  # noqa: E402
from dldl_fast.explain import occlusion  # noqa: E402
from dldl_fast.features import bif_features  # noqa: E402
from dldl_fast.models import LabelDistributionNet, TinyAgeNet  # noqa: E402
from dldl_fast.reproduction import compared, trained  # noqa: E402
from dldl_fast.reproduction.paper import TABLES  # noqa: E402
from dldl_fast.training import RunReport  # noqa: E402
from tests.command_line import invoke  # noqa: E402
from tests.reproduction.conftest import SENTINEL  # noqa: E402
from tests.reproduction.sheets import read_lines, read_page  # noqa: E402

WORK = Path("work", "quick-1-epochs")
CONSTANT = "constant (median of the training labels)"


def reproduce(name: str, *arguments: object) -> Path:
    """Run the command; the folder that it wrote, checked for what is true of all."""
    done = invoke("reproduce", name, *arguments, "--epochs", 1, "--device", "cpu")
    assert done.exit_code == 0, done.output
    out = Path("runs") / f"reproduce-{name}"
    endings = {f"{name}.{ending}" for ending in ("md", "csv", "png", "json")}
    assert {path.name for path in out.iterdir()} - {"work"} == endings
    assert np.asarray(Image.open(out / f"{name}.png").convert("L")).std() > 5
    record = json.loads((out / f"{name}.json").read_text())
    page = (out / f"{name}.md").read_text()
    assert record["command"].startswith("dldl-fast")
    assert record["differences"] and all(line in page for line in record["differences"])
    assert "torch" in record["versions"] and "threads" in record["machine"]

    headers, lines = read_lines(out / f"{name}.csv")
    table = record["table"]
    for rows, titles in (
        ([list(line.values()) for line in lines], headers),
        (table["lines"], table["headers"]),
    ):
        for row in rows:
            for cell, title in zip(row, titles, strict=True):
                assert ("77000" in str(cell)) <= title.endswith("(paper)"), (title, cell)
    return out


def scores(path: Path, sigma: float) -> tuple[float, float]:
    """MAE and e-error of predictions on disk, in plain Python."""
    _, lines = read_lines(path)
    errors = [float(line["prediction"]) - float(line["target"]) for line in lines]
    spread = [1 - math.exp(-(error**2) / (2 * sigma**2)) for error in errors]
    return sum(map(abs, errors)) / len(errors), sum(spread) / len(spread)


def test_set(faces: Path, size: int = 32):
    """Test images of the folder, normalised by hand, and their labels."""
    data = load_data(str(faces), label_spec_of(str(faces)), image_size=size)
    pixels = data.test.pictures(torch.arange(len(data.test))).double() / 255
    mean = torch.tensor([0.5958, 0.4637, 0.4065], dtype=torch.float64)
    std = torch.tensor([0.2693, 0.2409, 0.2352], dtype=torch.float64)
    inputs = (pixels - mean[:, None, None]) / std[:, None, None]
    return inputs.float(), data.test.target, data


test_set.__test__ = False  # type: ignore[attr-defined]


def predictions(model: LabelDistributionNet, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        p = model(inputs).double().softmax(1)
    return (p * model.labels).sum(1)


@pytest.mark.usefixtures("made_up_paper")
@pytest.mark.parametrize(
    ("name", "networks", "metrics"),
    [
        ("table2", {"DLDL-v2 (TinyAgeNet)": "TinyAgeNet", "DLDL-v2 (ThinAgeNet)": "ThinAgeNet"},
         ["MAE", "e-error"]),
        pytest.param(
            "table3",
            {"DLDL-v2 (TinyAttNet)": "TinyAttNet", "DLDL-v2 (ThinAttNet)": "ThinAttNet"},
            ["MAE", "RMSE", "Pearson"],
            marks=pytest.mark.slow,  # as table 2, with other names and metrics
        ),
        ("table4", {"no augmentation, HP": "", "augmentation, GAP": "", "augmentation, HP": ""},
         ["MAE", "e-error"]),
    ],
)  # fmt: skip
def test_networks_on_pictures(name, networks, metrics, faces):
    out = reproduce(name, "--data", faces)
    inputs, target, data = test_set(faces)
    page = read_page(out / f"{name}.md")
    assert list(page) == [*TABLES[name].rows, CONSTANT]
    _, lines = read_lines(out / f"{name}.csv")
    values, models = {line[""]: line for line in lines}, {}
    for row, folder in networks.items():
        model = LabelDistributionNet.from_pretrained(out / WORK / faces.name / (folder or row))
        error = (predictions(model, inputs) - target).numpy()
        expected = {
            "MAE": np.abs(error).mean(),
            "RMSE": np.sqrt((error**2).mean()),
            "e-error": (1 - np.exp(-(error**2) / 8)).mean(),
            "Pearson": np.corrcoef(error + target.numpy(), target.numpy())[0, 1],
        }
        for metric in metrics:
            found = float(values[row][f"{faces.name} {metric} (measured)"])
            assert found == pytest.approx(expected[metric], rel=1e-4)
        if name != "table4":
            count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
            assert float(values[row]["parameters, millions (measured)"]) == count
            assert float(values[row]["32 images, ms (measured)"]) > 0
            assert page[row]["32 images, ms (paper)"].startswith("77")
        models[row] = model
    if name == "table4":
        pooling = {row: model.pooling for row, model in models.items()}
        assert pooling == {
            "no augmentation, HP": "hybrid",
            "augmentation, GAP": "gap",
            "augmentation, HP": "hybrid",
        }
        plain, augmented = models["no augmentation, HP"], models["augmentation, HP"]
        assert not torch.equal(plain.head.weight, augmented.head.weight)
    others = set(TABLES[name].rows) - set(networks)
    for row in others:
        assert page[row][f"{faces.name} MAE (measured)"] == "not measured"
        assert page[row]["why not measured"] == "a result of others, which the paper quotes"
    if name != "table4":
        assert page[CONSTANT]["why not measured"] == "it is no network, and has no correlation"
        unit = {"table2": "years", "table3": "points"}[name]
        text = f"are label units, 0 to 100 (K = 101), and the paper's are {unit}."
        assert text in (out / f"{name}.md").read_text()
    constant = (data.train.target.median() - target).abs().mean()
    assert float(values[CONSTANT][f"{faces.name} MAE (measured)"]) == pytest.approx(float(constant))


def test_what_networks_learn_from_and_how_they_are_judged(faces, monkeypatch):
    """Only augmentation differs, and mirror images count where their labels are the same."""
    seen = {}

    def without_training(data, criterion, settings, out, *, model, **rest):
        seen[out.name] = data, model
        return RunReport({"interrupted": False}, [])

    monkeypatch.setattr(trained, "run_training", without_training)
    out = reproduce("table4", "--data", faces)
    images = torch.rand(4, 3, 32, 32)
    target = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for name, (data, _) in seen.items():
        changed, _ = data.augment(images, target, torch.Generator().manual_seed(0))
        assert torch.equal(changed, images) == (name == "no augmentation, HP")

    inputs, target, data = test_set(faces)
    _, model = seen["augmentation, HP"]
    both = (predictions(model, inputs) + predictions(model, inputs.flip(-1))) / 2
    plain = predictions(model, inputs)
    assert not torch.allclose(both, plain, atol=1e-3)
    _, lines = read_lines(out / "table4.csv")
    found = {line[""]: line[f"{faces.name} MAE (measured)"] for line in lines}
    assert float(found["augmentation, HP"]) == pytest.approx(float((plain - target).abs().mean()))
    mirrored = dataclasses.replace(data, mirror=True)
    score = trained.scores_of(model, mirrored, str(faces), ("mae",))
    assert score["mae"] == pytest.approx(float((both - target).abs().mean()))


@pytest.mark.usefixtures("made_up_paper")
def test_table_5_on_pictures(faces, monkeypatch):
    pretrained = TinyAgeNet(range(4), rate=0.02).eval()
    pretrained.save_pretrained("pretrained")
    features = {}

    def watched(data, entries, out, **rest):
        features[out.name] = data.features
        return run_comparison(data, entries, out, **rest)

    monkeypatch.setattr(compared, "run_comparison", watched)
    # A few of them: a hundred hyperplanes of all 4,616 take long.
    monkeypatch.setattr(compared, "bif_features", lambda images: bif_features(images)[:, ::99])
    out = reproduce("table5", "--data", faces, "--init", "pretrained")
    _, lines = read_lines(out / "table5.csv")
    values = {line[""]: line for line in lines}
    (work,) = out.glob(f"{WORK}-init-*/{faces.name}")
    for row, path in {
        "CNN: SVR": "CNN/predictions/linear-svr",
        "BIF: SVR": "BIF/predictions/linear-svr",
        "BIF: OHRank": "BIF/predictions/ohrank",
        "BIF: BFGS-LDL": "BIF/predictions/bfgs-ldl",
        "DLDL-v2": "network/predictions/dldl-v2",
    }.items():
        mae, e_error = scores(work / path / "seed0-fold0.csv", sigma=2.0)
        assert float(values[row][f"{faces.name} MAE (measured)"]) == pytest.approx(mae)
        assert float(values[row][f"{faces.name} e-error (measured)"]) == pytest.approx(e_error)
    assert not any(line["why not measured"] for line in lines)
    inputs, _, data = test_set(faces)
    tested = slice(len(data.train), None)  # they stand behind those to learn from
    with torch.no_grad():
        expected = pretrained.pool(pretrained.features(inputs))
    torch.testing.assert_close(features["CNN"][tested], expected, rtol=1e-4, atol=1e-5)
    pictures = data.test.pictures(torch.arange(len(data.test)))
    torch.testing.assert_close(features["BIF"][tested], bif_features(pictures)[:, ::99])
    assert features["network"] is None
    assert "features are those of pretrained" in (out / "table5.md").read_text()
    # The data's own parts: each of the rows that `train` would hold out, once.
    _, tested = read_lines(work / "network/predictions/dldl-v2/seed0-fold0.csv")
    assert [float(line["target"]) for line in tested] == test_set(faces)[1].tolist()


@pytest.mark.usefixtures("made_up_paper")
def test_table_5_on_features(features):
    out = reproduce("table5", "--data", features)
    page = read_page(out / "table5.md")
    assert list(page)[-4:] == [*(f"given: {m}" for m in ("SVR", "OHRank", "BFGS-LDL")), CONSTANT]
    for row in ("BIF: SVR", "CNN: OHRank"):
        assert "the data hold other features" in page[row]["why not measured"]
    assert float(page["given: SVR"]["rows MAE (measured)"]) < float(
        page[CONSTANT]["rows MAE (measured)"]
    )


def test_what_table_5_leaves_out_it_says(faces, features, monkeypatch):
    monkeypatch.setattr(compared, "bif_features", lambda images: images.flatten(1)[:, :8].float())
    page = read_page(reproduce("table5", "--data", faces, "--data", features) / "table5.md")
    assert list(page)[-1] == CONSTANT
    assert page["given: SVR"]["why not measured"] == f"{faces.name}: the data hold pictures"
    assert page["given: SVR"][f"{faces.name} MAE (measured)"] == "not measured"
    for method in ("SVR", "OHRank", "BFGS-LDL"):
        assert "needs --init" in page[f"CNN: {method}"]["why not measured"]
        assert page[f"CNN: {method}"][f"{faces.name} MAE (measured)"] == "not measured"
        assert page[f"BIF: {method}"]["why not measured"].startswith("rows: these features")


@pytest.mark.usefixtures("made_up_paper")
def test_table_6(features):
    out = reproduce("table6", "--data", features)
    page = read_page(out / "table6.md")
    assert list(page) == [*TABLES["table6"].rows, CONSTANT]
    _, lines = read_lines(out / "table6.csv")
    values = {line[""]: line for line in lines}
    for row, method in {"MR (l2)": "mr-l2", "DEX": "dex", "Ranking": "ranking"}.items():
        paths = sorted((out / WORK / "rows" / "methods" / "predictions" / method).iterdir())
        assert len(paths) == 3
        by_fold = [scores(path, sigma=0.5) for path in paths]
        expected = sum(mae for mae, _ in by_fold) / 3
        assert float(values[row]["rows MAE (measured)"]) == pytest.approx(expected)
    assert float(page["DEX"]["Morph MAE (paper)"]) >= SENTINEL


@pytest.mark.usefixtures("made_up_paper")
def test_table_7_goes_on_where_it_was(features):
    out = reproduce("table7", "--data", features)
    page = read_page(out / "table7.md")
    assert list(page) == [*TABLES["table7"].rows, CONSTANT]
    for row in TABLES["table7"].rows:
        assert float(page[row]["rows MAE (measured)"]) > 0
    predictions = out / WORK / "rows" / "sweep" / "predictions"
    assert {path.name for path in predictions.iterdir()} == {
        "lambda=0.01, step=1, K=10",
        "lambda=0.1, step=1, K=10",
        "lambda=1, step=1, K=10",
        "lambda=10, step=1, K=10",
        "lambda=1, step=4, K=4",
        "lambda=1, step=2, K=6",
        "lambda=1, step=0.5, K=19",
        "lambda=1, step=0.25, K=37",
        "median",
    }
    # A value that only its own run can have led to.
    fine = [
        scores(path, sigma=0.5)[0] for path in (predictions / "lambda=1, step=0.25, K=37").iterdir()
    ]
    _, lines = read_lines(out / "table7.csv")
    values = {line[""]: line["rows MAE (measured)"] for line in lines}
    assert float(values["lambda 1, step 0.25"]) == pytest.approx(sum(fine) / 3)

    before = {path: path.stat().st_mtime_ns for path in predictions.rglob("*.csv")}
    reproduce("table7", "--data", features)
    assert {path: path.stat().st_mtime_ns for path in predictions.rglob("*.csv")} == before

    done = invoke("reproduce", "table7", "--data", features, "--epochs", 2)
    assert done.exit_code == 0, done.output
    assert (out / "work" / "quick-2-epochs" / "rows" / "sweep" / "config.json").is_file()
    _, lines = read_lines(out / "table7.csv")
    assert {line[""]: line["rows MAE (measured)"] for line in lines} != values
    assert {path: path.stat().st_mtime_ns for path in predictions.rglob("*.csv")} == before


@pytest.mark.usefixtures("made_up_paper")
def test_fig_1(faces, features):
    out = reproduce("fig1", "--data", faces, "--data", features)
    _, lines = read_lines(out / "fig1.csv")
    counts = {float(line["label"]): int(line["count"]) for line in lines if line["data"] == "rows"}
    assert counts == {float(age): 4 for age in range(20, 30)}
    shares = [float(line["share"]) for line in lines if line["data"] == faces.name]
    assert sum(shares) == pytest.approx(1)
    page = read_page(out / "fig1.md")
    assert page["rows"]["rows (measured)"] == "40"
    assert page["rows"]["label range (measured)"] == "20 to 29 labels of rows"
    assert page["Morph"]["rows (measured)"] == "not measured"
    assert page["Morph"]["images (paper)"].startswith("77")
    assert page["Morph"]["why not measured"].endswith("give --data morph:FOLDER")


def test_fig_2():
    out = reproduce("fig2")
    _, lines = read_lines(out / "fig2.csv")
    assert len(lines) == 4 * 101
    for line in lines:
        sigma, label = float(line["sigma"]), float(line["label"])
        c = (1 + math.erf((label - 50) / sigma / math.sqrt(2))) / 2
        assert float(line["c"]) == pytest.approx(c, abs=1e-9)
        assert float(line["1 - c"]) == pytest.approx(1 - c, abs=1e-9)
        weights = [math.exp(-((k - 50) ** 2) / 2 / sigma**2) for k in range(101)]
        assert float(line["p"]) == pytest.approx(weights[int(label)] / sum(weights), abs=1e-9)
        assert line["ranking code"] == ("" if label == 100 else str(float(label < 50)))
    page = read_page(out / "fig2.md")
    distances = [float(list(row.values())[0]) for row in page.values()]
    assert distances == sorted(distances) and distances[0] < distances[-1] / 5


def test_fig_7_shows_the_ends_of_the_predictions(faces):
    out = reproduce("fig7", "--data", faces)
    inputs, target, _ = test_set(faces)
    model = LabelDistributionNet.from_pretrained(out / WORK / faces.name / "TinyAgeNet")
    order = predictions(model, inputs).argsort().tolist()
    _, lines = read_lines(out / "fig7.csv")
    assert [line["group"] for line in lines] == ["highest 2 predictions"] * 2 + [
        "lowest 2 predictions"
    ] * 2
    assert [int(line["test image"]) for line in lines] == [order[-1], order[-2], *order[:2]]
    labels = [float(line["label (label units)"]) for line in lines]
    assert labels == target[[order[-1], order[-2], *order[:2]]].tolist()


def test_fig_8_is_the_occlusion_of_the_network(faces):
    out = reproduce("fig8", "--data", faces)
    inputs, target, _ = test_set(faces)
    model = LabelDistributionNet.from_pretrained(out / WORK / faces.name / "TinyAgeNet")
    expected = occlusion(model, [(inputs, target)], flip=False)
    _, lines = read_lines(out / "fig8.csv")
    losses = [float(line["relative loss (measured)"]) for line in lines]
    wanted = [*expected.squares.flatten().tolist(), *expected.stripes.tolist()]
    np.testing.assert_allclose(losses, wanted, rtol=1e-3, atol=1e-6)
    record = json.loads((out / "fig8.json").read_text())
    first, worst, *_ = record["table"]["lines"]
    assert first[2] == pytest.approx(expected.mae, rel=1e-5)
    assert worst[3] == pytest.approx(100 * float(expected.squares.max()), rel=1e-3)
    place = int(expected.squares.argmax())
    assert worst[1] == f"row {place // 7 + 1} of 7, column {place % 7 + 1} of 7"


def test_fig_6_with_a_model_takes_the_rows_of_the_paper_where_it_can(tmp_path):
    root = tmp_path / "fgnet" / "images"
    root.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("001A02", "001A25", "001A30", "001A70", "002A03", "002A40"):
        pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{name}.JPG")
    from dldl_fast.data.images import MEAN, STD

    model = TinyAgeNet(rate=0.03)
    model.config = {"image": {"size": 48, "mean": MEAN, "std": STD}, "data": {"unit": "years"}}
    model.save_pretrained("model")
    out = reproduce("fig6", "--data", f"fg-net:{tmp_path / 'fgnet'}", "--model", "model")
    _, lines = read_lines(out / "fig6.csv")
    assert [(line["group"], float(line["label (years)"])) for line in lines] == [
        ("infants, 0 to 3 years", 2.0),
        ("adults, 20 to 35 years", 25.0),
        ("adults, 20 to 35 years", 30.0),
        ("senior people, 65 to 100 years", 70.0),
    ]
    assert all(line["row of the highest score (measured)"].endswith("of 3") for line in lines)
    assert "model, as it was trained there" in (out / "fig6.md").read_text()
    assert not (out / "work").exists()


def test_fig_6_takes_what_there_is(faces):
    out = reproduce("fig6", "--data", faces)
    _, lines = read_lines(out / "fig6.csv")
    assert [line["group"] for line in lines] == ["lowest labels", "middle labels", "highest labels"]
    labels = [float(line["label (label units)"]) for line in lines]
    target = test_set(faces)[1].sort().values.tolist()
    assert labels == [target[0], target[2], target[-1]]
    assert "infants (0 to 3 years)" in (out / "fig6.md").read_text()
