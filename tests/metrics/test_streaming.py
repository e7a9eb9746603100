from __future__ import annotations

import math
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
import torchmetrics

from dldl_fast.metrics import streaming
from tests.metrics.streams import CASES, LABELS, Case, batches, make_rows

SIZES = [1, 0, 9, 2, 11]
ROWS = make_rows(sum(SIZES))
EVERY = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def close(value: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(value, want, rtol=1e-12, atol=1e-14, equal_nan=True)


def whole(case: Case) -> torch.Tensor:
    return case.function(*(ROWS[name] for name in case.arguments))


def test_every_class_is_tested() -> None:
    classes = {
        value
        for name, value in vars(streaming).items()
        if name.endswith("Metric") and not name.startswith("_") and name != "Metric"
    }
    assert {type(case.make()) for case in CASES} == classes
    assert len(classes) == 15


@EVERY
def test_batches_of_unequal_size_give_what_all_rows_give(case: Case) -> None:
    metric = case.make()
    for batch in batches(case, ROWS, SIZES):
        metric.update(*batch)
    value = metric.compute()
    assert value.dtype == torch.float64
    close(value, whole(case))


@EVERY
def test_forward_gives_the_batch_and_keeps_the_rest(case: Case) -> None:
    metric = case.make()
    for batch in batches(case, ROWS, [4, 19]):
        close(metric(*batch), case.function(*batch))
    close(metric.compute(), whole(case))


@EVERY
def test_reset_copies_and_pickles(case: Case) -> None:
    metric = case.make()
    first, second = batches(case, ROWS, [12, 11])
    metric.update(*first)
    others = metric.clone(), pickle.loads(pickle.dumps(metric))
    metric.reset()
    metric.update(*second)
    close(metric.compute(), case.function(*second))
    for other in others:
        other.update(*second)
        close(other.compute(), whole(case))


@pytest.mark.skipif(
    not hasattr(torchmetrics.Metric, "merge_state"), reason="this torchmetrics cannot"
)
@EVERY
def test_two_metrics_are_merged(case: Case) -> None:
    one, other = case.make(), case.make()
    first, second = batches(case, ROWS, [3, 20])
    one.update(*first)
    other.update(*second)
    one.merge_state(other)
    close(one.compute(), whole(case))


@EVERY
def test_without_rows_the_result_is_nan_with_a_warning(case: Case) -> None:
    metric = case.make()
    metric.update(*batches(case, make_rows(0), [0])[0])
    with pytest.warns(UserWarning, match=f"{type(metric).__name__} was given no rows"):
        assert metric.compute().isnan().all()


@EVERY
def test_casts_of_a_model_around_it_change_nothing(case: Case) -> None:
    model = torch.nn.Module()
    model.metric = case.make()
    model.half().bfloat16()
    for batch in batches(case, ROWS, SIZES):
        model.metric.update(*batch)
    close(model.metric.compute(), whole(case))


@EVERY
def test_nothing_is_made_on_the_default_device(case: Case) -> None:
    """The rows say where to compute, wherever tensors are made otherwise."""
    metric, arguments = case.make(), [ROWS[name] for name in case.arguments]
    with torch.device("meta"):
        metric.update(*arguments)
        values = case.function(*arguments), metric.compute()
    for value in values:
        close(value, whole(case))


def test_a_collection_keeps_metrics_apart_that_agree_in_the_first_batch() -> None:
    """It would let two of them share their states, had these the same names."""
    collection = torchmetrics.MetricCollection(
        {
            "mae": streaming.MAEMetric(),
            "bias": streaming.BiasMetric(),
            "rmse": streaming.RMSEMetric(),
            "within 5": streaming.CumulativeScoreMetric(5),
            "within 10": streaming.CumulativeScoreMetric(10),
            "group mae": streaming.GroupMAEMetric(borders=[50]),
            "group bias": streaming.GroupBiasMetric(borders=[50]),
            "other groups": streaming.GroupMAEMetric(borders=[2.5]),
            "same again": streaming.MAEMetric(),
        }
    )
    collection.update(torch.tensor([2.0]), torch.tensor([1.0]))
    collection.update(torch.tensor([1.0, 11.0]), torch.tensor([4.0, 4.0]))
    found = {name: value.tolist() for name, value in collection.compute().items()}
    assert found["mae"] == found["same again"] == pytest.approx(11 / 3)
    assert found["bias"] == pytest.approx(5 / 3)
    assert found["rmse"] == pytest.approx(math.sqrt(59 / 3))
    assert found["within 5"] == pytest.approx(2 / 3)
    assert found["within 10"] == 1
    assert found["group mae"] == pytest.approx([11 / 3, math.nan], nan_ok=True)
    assert found["group bias"] == pytest.approx([5 / 3, math.nan], nan_ok=True)
    assert found["other groups"] == [1, 5]


def test_a_collection_keeps_intervals_and_grids_apart() -> None:
    wide = [10 * label for label in LABELS]
    collection = torchmetrics.MetricCollection(
        {
            "90%": streaming.IntervalWidthMetric(LABELS),
            "50%": streaming.IntervalWidthMetric(LABELS, 0.5),
            "wide": streaming.IntervalWidthMetric(wide),
        }
    )
    certain = torch.eye(len(LABELS))[:1]
    collection.update(certain)  # all widths are 0
    collection.update(torch.full((1, len(LABELS)), 1 / len(LABELS)))
    found = {name: value.item() for name, value in collection.compute().items()}
    assert found == {"90%": 17 / 2, "50%": 15 / 2, "wide": 170 / 2}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (streaming.MAEMetric, torchmetrics.MeanAbsoluteError),
        (streaming.RMSEMetric, lambda: torchmetrics.MeanSquaredError(squared=False)),
        (streaming.PearsonMetric, torchmetrics.PearsonCorrCoef),
    ],
)
def test_values_by_torchmetrics(ours: type, theirs: type) -> None:
    metric, other = ours(), theirs().set_dtype(torch.float64)
    for size in (5, 3, 30):
        prediction, target = torch.randn(2, size, dtype=torch.float64)
        metric.update(prediction, target)
        other.update(prediction, target)
    close(metric.compute(), other.compute())


def test_an_offset_costs_the_correlation_no_digits() -> None:
    metric = streaming.PearsonMetric()
    target = torch.randn(500, dtype=torch.float64).round(decimals=3)
    prediction = (target + torch.randn(500)).round(decimals=3)
    for p, t in zip((prediction + 1e9).split(7), (target - 1e9).split(7), strict=True):
        metric.update(p, t)
    want = torch.corrcoef(torch.stack([prediction, target]))[0, 1]
    assert metric.compute().item() == pytest.approx(want.item(), abs=1e-7)  # spacing of 1e9


def test_constant_stream_is_nan_with_a_warning() -> None:
    metric = streaming.PearsonMetric()
    for size in (1, 7, 100):
        metric.update(torch.full((size,), 0.1), torch.randn(size))
    with pytest.warns(UserWarning, match="pearson: prediction is constant"):
        assert metric.compute().isnan()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(torch.tensor([0.2]), torch.tensor([0.3]))
        assert metric.compute().isfinite()


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="threshold must be"):
        streaming.CumulativeScoreMetric(-1)
    with pytest.raises(ValueError, match="either borders=.* or n_groups=G"):
        streaming.GroupMAEMetric()
    with pytest.raises(ValueError, match="n_groups must be at least 1, got 0"):
        streaming.GroupMAEMetric(n_groups=0)
    with pytest.raises(ValueError, match="borders must be finite increasing"):
        streaming.GroupBiasMetric(borders=[2, 1])
    with pytest.raises(ValueError, match="level must be in"):
        streaming.IntervalWidthMetric(LABELS, 1.0)
    with pytest.raises(ValueError, match="strictly increasing"):
        streaming.CRPSMetric([1, 1])


def test_bad_batches() -> None:
    with pytest.raises(ValueError, match="same shape"):
        streaming.MAEMetric().update(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="borders=.* or groups="):
        streaming.GroupMAEMetric(n_groups=2).update(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="n_groups = 2, got 2"):
        streaming.GroupMAEMetric(n_groups=2).update(
            torch.zeros(1), torch.zeros(1), torch.tensor([2])
        )


def test_torchmetrics_is_needed_by_the_classes_only() -> None:
    program = """
import sys
import dldl_fast, dldl_fast.metrics
assert "torchmetrics" not in sys.modules
sys.modules["torchmetrics"] = None
try:
    import dldl_fast.metrics.streaming
except ImportError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("MissingExtraError")
    assert "pip install 'dldl_fast[metrics]'" in run.stdout
