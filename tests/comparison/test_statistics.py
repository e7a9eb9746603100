"""Folds, scores and the paired test."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from scipy.stats import pearsonr, wilcoxon

from dldl_fast.comparison import ComparisonData, Results, summarise
from dldl_fast.comparison.folds import fold_of_rows
from dldl_fast.comparison.report import format_p, table_cells
from dldl_fast.comparison.statistics import holm
from dldl_fast.data import DataError
from dldl_fast.labels import label_grid


def test_folds_are_a_partition_and_differ_by_seed() -> None:
    first, again, other = (fold_of_rows(53, 5, seed) for seed in (0, 0, 1))
    assert sorted(first.bincount().tolist()) == [10, 10, 11, 11, 11]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_group_is_in_two_folds() -> None:
    group = torch.randint(0, 17, (200,), generator=torch.Generator().manual_seed(0))
    for seed in range(5):
        fold = fold_of_rows(200, 4, seed, group)
        assert len(fold.unique()) == 4
        for number in group.unique():
            assert len(fold[group == number].unique()) == 1


def test_too_many_folds() -> None:
    with pytest.raises(DataError, match="number of rows, 3, got 4"):
        fold_of_rows(3, 4, 0)
    with pytest.raises(DataError, match="number of groups, 2, got 3"):
        fold_of_rows(6, 3, 0, torch.tensor([0, 0, 0, 1, 1, 1]))


@pytest.fixture
def data() -> ComparisonData:
    rng = np.random.default_rng(0)
    return ComparisonData(
        name="made",
        labels=label_grid(0, 10),
        target=torch.tensor(rng.uniform(0, 10, 40)),
        sigma=torch.tensor(rng.uniform(1, 2, 40)),
        features=torch.zeros(40, 1),
    )


@pytest.fixture
def results(data: ComparisonData) -> Results:
    rng = np.random.default_rng(1)
    folds = torch.tensor(np.stack([rng.permutation(np.arange(40) % 4) for _ in range(2)]))
    predictions = {
        name: data.target + torch.tensor(rng.normal(0, spread, (2, 40)))
        for name, spread in (("good", 1.0), ("bad", 3.0), ("like good", 1.1))
    }
    predictions["constant"] = torch.full((2, 40), 5.0, dtype=torch.float64)
    return Results(folds, predictions)


def test_scores_are_those_of_the_folds(data: ComparisonData, results: Results) -> None:
    y, sigma = data.target.numpy(), data.sigma.numpy()
    for line in summarise(data, results, "good"):
        expected: dict[str, list[float]] = {"mae": [], "e_error": [], "rmse": [], "pearson": []}
        for seed in range(2):
            for fold in range(4):
                rows = results.folds[seed].numpy() == fold
                y_hat = results.predictions[line.name][seed].numpy()[rows]
                error = y_hat - y[rows]
                expected["mae"].append(np.abs(error).mean())
                expected["rmse"].append(math.sqrt((error**2).mean()))
                expected["e_error"].append(1 - np.exp(-(error**2) / (2 * sigma[rows] ** 2)).mean())
                if line.name != "constant":
                    expected["pearson"].append(pearsonr(y_hat, y[rows])[0])
        for name, values in expected.items():
            score = line.scores[name]
            if not values:
                assert math.isnan(score.mean)
                assert table_cells(line)[4] == "n/a"
                continue
            assert score.folds == pytest.approx(values)
            assert score.mean == pytest.approx(np.mean(values))
            assert score.spread == pytest.approx(np.std(values, ddof=1))


@pytest.mark.parametrize("grouped", [False, True])
def test_paired_test(data: ComparisonData, results: Results, grouped: bool) -> None:
    group = np.arange(40) // 4
    if grouped:
        data = ComparisonData(**{**vars(data), "group": torch.tensor(group)})
    errors = {}
    for name, prediction in results.predictions.items():
        error = np.abs(prediction.numpy() - data.target.numpy()).mean(0)
        errors[name] = error.reshape(10, 4).mean(1) if grouped else error
    raw = {n: wilcoxon(errors[n], errors["good"]).pvalue for n in errors if n != "good"}
    smallest, middle, largest = sorted(raw, key=lambda name: raw[name])
    first = min(1.0, 3 * raw[smallest])
    second = max(first, min(1.0, 2 * raw[middle]))
    expected = {smallest: first, middle: second, largest: max(second, raw[largest])}
    for line in summarise(data, results, "good"):
        assert line.difference == pytest.approx((errors[line.name] - errors["good"]).mean())
        if line.name == "good":
            assert line.p_value is None
        else:
            assert line.p_value == pytest.approx(expected[line.name])


def test_holm_on_a_worked_example() -> None:
    # Sorted: 0.01 * 4, 0.013 * 3 (less, so the one before), 0.03 * 2, 0.7 * 1.
    assert holm([0.03, 0.01, 0.7, 0.013]) == pytest.approx([0.06, 0.04, 0.7, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert format_p(0.5) == "0.5"
