from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dldl_fast import metrics
from dldl_fast.data import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.label_spec import AGES, LabelSpec
from dldl_fast.evaluation import (
    RowPrediction,
    gather,
    largest_gap,
    make_report,
    rows_of_split,
    write_report,
)
from dldl_fast.functional import expectation, label_distribution, quantile
from dldl_fast.labels import label_grid

LABELS = label_grid(0, 100)
N = 600  # more than two chunks


def table(target: torch.Tensor, spec: LabelSpec = AGES, **columns) -> FaceTable:
    paths = tuple(f"{number}.png" for number in range(len(target)))
    return FaceTable("made up", spec, Path("."), paths, target, **columns)


def distributions(target: torch.Tensor) -> torch.Tensor:
    middle = target + 4 * torch.randn(len(target), dtype=torch.float64)
    return label_distribution(middle.clamp(0, 100), LABELS, 3 + 3 * torch.rand(len(target)))


def predicted(p: torch.Tensor, rows=None) -> list[RowPrediction]:
    values = expectation(p.log(), LABELS)
    low, high = quantile(p.log(), LABELS, [0.05, 0.95])
    numbers = range(len(p)) if rows is None else rows
    return [
        RowPrediction(
            row, float(values[row]), interval=(float(low[row]), float(high[row])),
            distribution=p[row], labels=LABELS,
        )
        for row in numbers
    ]  # fmt: skip


@pytest.mark.parametrize("own_sigma", [False, True])
def test_metrics_are_those_of_all_rows_at_once(own_sigma):
    target = 100 * torch.rand(N, dtype=torch.float64)
    sigma = 1 + torch.rand(N, dtype=torch.float64) if own_sigma else None
    p = distributions(target)
    report = make_report(*(t := table(target, sigma=sigma), gather(t, predicted(p))))
    value = expectation(p.log(), LABELS)
    deviation = 2.0 if sigma is None else sigma
    expected = {
        "mae": metrics.mae(value, target),
        "e_error": metrics.e_error(value, target, deviation),
        "rmse": metrics.rmse(value, target),
        "pearson": metrics.pearson(value, target),
        "bias": metrics.bias(value, target),
        "cs_1": metrics.cumulative_score(value, target, 1),
        "cs_3": metrics.cumulative_score(value, target, 3),
        "cs_5": metrics.cumulative_score(value, target, 5),
        "cs_10": metrics.cumulative_score(value, target, 10),
        "coverage_90": metrics.interval_coverage(p, target, LABELS),
        "width_90": metrics.interval_width(p, LABELS),
        "crps": metrics.crps(p, target, LABELS),
        "emd": metrics.emd(p, label_distribution(target, LABELS, deviation), LABELS),
        "calibration_error": metrics.calibration_error(p, target, LABELS),
    }
    assert list(report.metrics) == list(expected)
    for name, number in expected.items():
        assert report.metrics[name] == pytest.approx(float(number), rel=1e-9), name
    assert (report.count, report.left_out, report.reasons) == (N, 0, [])


def test_deviations_are_those_of_the_distributions():
    """More than two chunks, and rows without a distribution between them."""
    p = distributions(100 * torch.rand(N, dtype=torch.float64))
    rows = [RowPrediction(row.row, 5.0) if row.row % 3 == 1 else row for row in predicted(p)]
    std = gather(table(torch.zeros(N, dtype=torch.float64)), rows).std
    mean = p @ LABELS
    expected = (p * (LABELS - mean[:, None]) ** 2).sum(1).sqrt()
    known = torch.arange(N) % 3 != 1
    torch.testing.assert_close(std[known], expected[known], rtol=1e-9, atol=0)
    assert std[~known].isnan().all()


def test_rows_without_a_prediction_are_left_out():
    target = 100 * torch.rand(N, dtype=torch.float64)
    p = distributions(target)
    kept = torch.arange(N) % 3 != 0
    rows = predicted(p, kept.nonzero()[:, 0].tolist())
    rows += [RowPrediction(row, None, "no face found") for row in range(0, N, 3)]
    t = table(target)
    report = make_report(t, gather(t, rows))
    assert (report.count, report.left_out) == (400, 200)
    assert report.reasons[:2] == ["0.png: no face found", "3.png: no face found"]
    assert len(report.reasons) == 5
    value = expectation(p[kept].log(), LABELS)
    assert report.metrics["mae"] == pytest.approx(float(metrics.mae(value, target[kept])))
    expected = metrics.calibration_error(p[kept], target[kept], LABELS)
    assert report.metrics["calibration_error"] == pytest.approx(float(expected))
    assert report.metrics["crps"] == pytest.approx(
        float(metrics.crps(p[kept], target[kept], LABELS))
    )


def test_what_the_predictions_do_not_allow_is_not_known():
    t = table(torch.tensor([10.0, 20.0, 40.0]).double())
    rows = [RowPrediction(0, 11.0), RowPrediction(1, 18.0, interval=(15.0, 19.0))]
    rows += [RowPrediction(2, 44.0)]
    report = make_report(t, gather(t, rows))
    unknown = {"coverage_90", "width_90", "crps", "emd", "calibration_error"}
    assert {name for name, value in report.metrics.items() if value is None} == unknown
    rows = [row._replace(interval=(row.value - 2, row.value + 3)) for row in rows]
    report = make_report(t, gather(t, rows))
    assert report.metrics["coverage_90"] == pytest.approx(2 / 3)  # 9..14, 16..21, not 42..47
    assert report.metrics["width_90"] == 5.0
    assert report.metrics["crps"] is None


def test_groups_against_numbers_by_hand():
    target = torch.tensor([3.0, 9.5, 10.0, 19.0, 55.0, 100.0]).double()
    value = [5.0, 9.0, 13.0, 18.0, 45.0, 90.0]
    gender = ("f", "m", "f", "f", "m", "m")
    t = table(target, groups={"gender": gender, "tone": ("a",) * 6})
    rows = [RowPrediction(row, number) for row, number in enumerate(value)]
    report = make_report(t, gather(t, rows), ["gender"])
    found = [(row.group, row.count, row.mae, row.bias) for row in report.groups["label"]]
    assert found == [
        ("0 to 10", 2, 1.25, 0.75),
        ("10 to 20", 2, 2.0, 1.0),
        ("50 to 60", 1, 10.0, -10.0),
        ("90 to 100", 1, 10.0, -10.0),
    ]
    found = [(row.group, row.count, row.mae, row.bias) for row in report.groups["gender"]]
    assert found == [("f", 3, 2.0, pytest.approx(4 / 3)), ("m", 3, pytest.approx(20.5 / 3),
                     pytest.approx(-20.5 / 3))]  # fmt: skip
    assert list(report.groups) == ["label", "gender"]
    assert report.gaps == {"gender": None}  # too few rows


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (LabelSpec(1, 5, 0.1, 0.5, "points"), ["1 to 1.4", "1.4 to 1.8", "4.6 to 5"]),
        (LabelSpec(16, 77, 1, 2, "years"), ["16 to 20", "20 to 30", "70 to 77"]),
        (LabelSpec(-45, 45, 1, 3, "degrees"), ["-45 to -36", "-36 to -27", "36 to 45"]),
    ],
)
@pytest.mark.filterwarnings("ignore:pearson. prediction is constant")
def test_label_groups_are_decades_or_tenths_of_the_range(spec, names):
    low, high = spec.label_min, spec.label_max
    target = torch.linspace(low, high, 1001, dtype=torch.float64)
    t = table(target, spec)
    report = make_report(t, gather(t, [RowPrediction(0, low), RowPrediction(1000, high)]))
    assert len(report.groups["label"]) == 2
    report = make_report(t, gather(t, [RowPrediction(row, 0.0) for row in range(1001)]))
    found = [row.group for row in report.groups["label"]]
    assert [*found[:2], found[-1]] == names
    assert sum(row.count for row in report.groups["label"]) == 1001
    shares = [float(name.removeprefix("cs_")) for name in report.metrics if name.startswith("cs_")]
    assert shares == pytest.approx([0.01 * (high - low), 0.03 * (high - low),
                                    0.05 * (high - low), 0.1 * (high - low)])  # fmt: skip


def test_the_gap_is_between_the_extreme_groups():
    generator = torch.Generator().manual_seed(0)
    errors = torch.rand(90, generator=generator, dtype=torch.float64)
    ids = torch.arange(90) % 3
    errors[ids == 1] += 1.0
    gap = largest_gap(errors, ids, ["a", "b", "c"])
    means = [float(errors[ids == group].mean()) for group in range(3)]
    best = "ac"[means[2] < means[0]]
    assert (gap.worst, gap.best) == ("b", best)
    assert gap.difference == pytest.approx(means[1] - min(means[0], means[2]))
    # With many rows a bootstrap of means is a normal distribution.
    parts = [errors[ids == group] for group in (1, "abc".index(best))]
    spread = float(sum(part.var(correction=0) / len(part) for part in parts) ** 0.5)
    assert gap.low == pytest.approx(gap.difference - 1.96 * spread, abs=0.15 * spread)
    assert gap.high == pytest.approx(gap.difference + 1.96 * spread, abs=0.15 * spread)
    assert gap == largest_gap(errors, ids, ["a", "b", "c"])


def test_small_groups_take_no_part_in_the_gap():
    errors = torch.tensor([1.0] * 10 + [2.0] * 10 + [50.0] * 9).double()
    ids = torch.tensor([0] * 10 + [1] * 10 + [2] * 9)
    gap = largest_gap(errors, ids, ["a", "b", "rare"])
    assert (gap.worst, gap.best, gap.difference) == ("b", "a", 1.0)
    assert largest_gap(errors[10:], ids[10:], ["a", "b", "rare"]) is None


def test_the_part_that_is_evaluated():
    split = ("train", "test", "validation", "test")
    t = table(torch.arange(4.0).double(), split=split)
    assert rows_of_split(t, None)[0].paths == ("1.png", "3.png")
    assert rows_of_split(t, "validation")[0].paths == ("2.png",)
    assert rows_of_split(t, "all")[0].paths == t.paths
    no_parts = table(torch.arange(4.0).double())
    assert rows_of_split(no_parts, None) == (no_parts, "all rows")
    with pytest.raises(DataError, match="no row is of the part 'train'; the data have no parts"):
        rows_of_split(no_parts, "train")
    with pytest.raises(DataError, match="part 'validation'; the data have test, train"):
        rows_of_split(t.rows(torch.tensor([True, True, False, True])), "validation")


def test_errors():
    t = table(torch.tensor([1.0, 2.0]).double(), groups={"gender": ("f", "m")})
    with pytest.raises(DataError, match="no group column 'tone'; there are: gender"):
        make_report(t, gather(t, [RowPrediction(0, 1.0)]), ["tone"])
    with pytest.raises(DataError, match="no row has a prediction; 1.png: no face found"):
        make_report(t, gather(t, [RowPrediction(1, None, "no face found")]))
    p = torch.full((101,), 1 / 101).double()
    rows = [RowPrediction(0, 1.0, distribution=p, labels=LABELS)]
    rows += [RowPrediction(1, 1.0, distribution=p, labels=LABELS + 1)]
    with pytest.raises(DataError, match="on different label grids"):
        gather(t, rows)


def test_files(tmp_path):
    target = 60 * torch.rand(40, dtype=torch.float64)
    gender = tuple("fm"[number % 2] for number in range(40))
    t = table(target, groups={"gender": gender})
    rows = [RowPrediction(row, float(target[row]) + 1 + row % 2) for row in range(40)]
    report = make_report(t, gather(t, rows), ["gender"])
    write_report(report, tmp_path / "deep", command="dldl-fast evaluate ...")
    found = json.loads((tmp_path / "deep" / "evaluation.json").read_text())
    assert found["metrics"]["mae"] == pytest.approx(1.5)
    assert found["metrics"]["crps"] is None
    assert found["gaps"]["gender"]["difference"] == pytest.approx(1.0)
    assert found["command"] == "dldl-fast evaluate ..."
    with (tmp_path / "deep" / "groups.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    last = [line for line in lines if line["column"] == "gender"]
    assert [(line["group"], line["count"]) for line in last] == [("f", "20"), ("m", "20")]
    assert [float(line["mae"]) for line in last] == pytest.approx([1.0, 2.0])
    ages = [line for line in lines if line["column"] == "label"]
    counts, _ = np.histogram(target.numpy(), range(0, 70, 10))
    assert [int(line["count"]) for line in ages] == [count for count in counts if count]


def test_groups_are_judged_by_their_most_probable_one():
    spec = LabelSpec(0, 2, 1, sigma=0.5, unit="groups")
    grid = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    target = torch.tensor([0.0, 1.0, 2.0, 2.0, 0.0], dtype=torch.float64)
    # The expectations are all nearest to 1; the most probable ones are 0, 2, 0, 2.
    p = torch.tensor(
        [[0.5, 0.1, 0.4], [0.3, 0.1, 0.6], [0.6, 0.0, 0.4], [0.4, 0.1, 0.5]], dtype=torch.float64
    )
    rows = [RowPrediction(n, float(p[n] @ grid), distribution=p[n], labels=grid) for n in range(4)]
    rows.append(RowPrediction(4, None, "no face found"))
    t = table(target, spec)
    report = make_report(t, gather(t, rows))
    assert report.metrics["accuracy"] == 0.5
    assert report.metrics["one_off_accuracy"] == 0.75
    values_alone = [RowPrediction(n, float(n % 2)) for n in range(5)]
    report = make_report(t, gather(t, values_alone))
    assert report.metrics["accuracy"] is None and report.metrics["mae"] == 0.6
