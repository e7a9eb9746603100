from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from dldl_fast import functional
from dldl_fast.metrics import (
    calibration_error,
    crps,
    emd,
    interval_coverage,
    interval_width,
    mae,
)
from dldl_fast.metrics.distributions import calibration_rows
from tests.cases import bent_grid

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def predictions(rows, n_labels, dtype=torch.float64):
    """Distributions, one of them certain and one with gaps; targets between and beyond labels."""
    p = (2 * torch.randn(rows, n_labels, dtype=torch.float64)).softmax(-1)
    p[1] = torch.eye(n_labels)[n_labels // 2]
    p[2, ::2] = 0
    p[2] /= p[2].sum()
    labels = bent_grid(n_labels) - 2
    target = -4 + (n_labels + 3) * torch.rand(rows, dtype=torch.float64)
    target[3:5] = labels[[0, -1]]
    target[5] = labels[n_labels // 2]
    return p.to(dtype), target, labels


def exactly(p):
    """What the metrics make of probabilities that do not sum to 1."""
    p = p.double()
    return p / p.sum(-1, keepdim=True)


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("n_labels", [2, 3, 101])
def test_crps_by_its_other_form(n_labels, dtype):
    """E|X - y| - E|X - X'| / 2, which knows no cumulative distribution."""
    p, target, labels = predictions(9, n_labels, dtype)
    q = exactly(p)
    distance = (labels - labels.unsqueeze(-1)).abs()
    to_target = (q * (labels - target.unsqueeze(-1)).abs()).sum(-1)
    want = to_target - torch.einsum("ni,ij,nj->n", q, distance, q) / 2
    value = crps(p, target, labels)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(want.mean().item(), abs=1e-12)


def test_crps_by_scipy():
    p, target, labels = predictions(9, 11)
    want = [
        stats.energy_distance(labels, [y], row / row.sum(), [1.0]) ** 2 / 2
        for row, y in zip(p.numpy(), target.tolist(), strict=True)
    ]
    assert crps(p, target, labels).item() == pytest.approx(np.mean(want), abs=1e-12)


def test_crps_of_certain_predictions_is_the_mae():
    labels = bent_grid(9)
    chosen = torch.randint(9, (20,))
    target = 12 * torch.rand(20) - 2
    value = crps(torch.eye(9)[chosen], target, labels)
    assert value.item() == pytest.approx(mae(labels[chosen], target).item(), abs=1e-12)


@pytest.mark.parametrize("n_labels", [2, 17])
def test_emd_by_scipy(n_labels):
    p, _, labels = predictions(9, n_labels)
    q = p.flip(0).flip(1)
    want = [
        stats.wasserstein_distance(labels, labels, one, other)
        for one, other in zip(p.numpy(), q.numpy(), strict=True)
    ]
    assert emd(p, q, labels).item() == pytest.approx(np.mean(want), abs=1e-12)
    assert emd(q, p, labels).item() == pytest.approx(np.mean(want), abs=1e-12)
    assert emd(p, p, labels).item() == 0


@pytest.mark.parametrize("level", [0.1, 0.5, 0.8, 0.9, 0.95])
def test_intervals_by_quantiles_of_the_logits(level):
    p, target, labels = predictions(40, 31)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = functional.quantile(p.log(), labels, ends)
    inside = [a <= y <= b for a, y, b in zip(low, target, high, strict=True)]
    assert interval_coverage(p, target, labels, level).item() == np.mean(inside)
    want = (high - low).mean().item()
    assert interval_width(p, labels, level).item() == pytest.approx(want, abs=1e-12)


def test_interval_by_hand():
    p = torch.tensor([[0.05, 0.2, 0.5, 0.2, 0.05]]).expand(5, 5)
    target = torch.tensor([9.99, 10.0, 40.0, 40.01, 30.0])
    labels = [0, 10, 20, 40, 50]
    assert interval_coverage(p, target, labels, 0.8).item() == 0.6  # in [10, 40]
    assert interval_width(p, labels, 0.8).item() == 30
    assert interval_width(p, labels, 0.91).item() == 50


def test_exact_interval_ends_do_not_depend_on_rounding():
    p = torch.full((1, 20), 0.05, dtype=torch.float64)
    for percent in (10, 30, 50, 70, 90):
        width = interval_width(p, range(20), percent / 100).item()
        assert width == 20 * percent // 100  # both ends are ties; each gives the lower label


def in_plain_python(p, target, labels, u):
    shares = []
    for row, y in zip(p.tolist(), target.tolist(), strict=True):
        k = min(range(len(labels)), key=lambda k: (abs(labels[k] - y), k))
        lower, upper = math.fsum(row[:k]), math.fsum(row[: k + 1])
        if upper > lower:
            shares.append(min(max((u - lower) / (upper - lower), 0), 1))
        else:
            shares.append(float(u >= upper))
    return math.fsum(shares) / len(shares)


@pytest.mark.parametrize("n_labels", [2, 3, 101])
def test_calibration_by_its_definition(n_labels):
    p, target, labels = predictions(25, n_labels)
    levels = [k / 100 for k in range(1, 100)]
    share = [in_plain_python(p, target, labels.tolist(), u) for u in levels]
    assert calibration_rows(p, target, labels).mean(0).tolist() == pytest.approx(share, abs=1e-9)
    want = np.mean(np.abs(np.subtract(share, levels)))
    assert calibration_error(p, target, labels).item() == pytest.approx(want, abs=1e-9)


def test_exactly_calibrated_predictions_have_no_error_however_coarse_the_grid():
    for p in ([0.5, 0.5], [0.25, 0.5, 0.25], [0.125, 0.0, 0.5, 0.375]):
        counts = [int(8 * mass) for mass in p]
        target = torch.tensor([float(k) for k, n in enumerate(counts) for _ in range(n)])
        rows = torch.tensor(p).expand(8, len(p))
        assert calibration_error(rows, target, range(len(p))).item() < 1e-15
        off_label = target + 0.4 * torch.rand(8) - 0.2  # the nearest label stays the same
        assert calibration_error(rows, off_label, range(len(p))).item() < 1e-15


def test_a_label_without_probability_is_no_jump():
    p = torch.tensor([[0.5, 0.0, 0.5]])
    shares = calibration_rows(p, torch.ones(1), range(3))
    assert shares.tolist() == [[0.0] * 49 + [1.0] * 50]  # from 0.50 on


def test_calibration_tells_overconfident_predictions_from_calibrated_ones():
    rows, labels = 4000, torch.arange(21, dtype=torch.float64)
    logits = -0.5 * ((labels - 4 - 12 * torch.rand(rows, 1)) / 2) ** 2
    target = labels[torch.multinomial(logits.softmax(-1), 1).squeeze(-1)]
    assert calibration_error(logits.softmax(-1), target, labels) < 1 / math.sqrt(rows)
    assert calibration_error((9 * logits).softmax(-1), target, labels) > 0.1
    too_high = logits.roll(2, -1).softmax(-1)
    assert calibration_error(too_high, target, labels) > 0.2


def test_calibration_error_is_at_most_a_half():
    certain = torch.eye(3)[[2, 2]]
    assert calibration_error(certain, torch.zeros(2), range(3)).item() == pytest.approx(0.5)
    assert calibration_error(certain.flip(1), torch.full((2,), 9.0), range(3)) <= 0.5


def test_leading_dimensions_and_devices_of_labels():
    p, target, labels = predictions(12, 5)
    nested = p.reshape(3, 4, 5), target.reshape(3, 4), labels.tolist()
    for metric in (crps, interval_coverage, calibration_error):
        assert metric(*nested) == metric(p, target, labels)
    assert emd(nested[0], nested[0].flip(-1), labels) == emd(p, p.flip(-1), labels)


METRICS = (crps, interval_coverage, calibration_error)
GOOD = torch.full((2, 4), 0.25)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("p", "target", "error", "message"),
    [
        (GOOD[:, :3], torch.zeros(2), ValueError, r"distribution must have shape \[N, 4\]"),
        (GOOD, torch.zeros(2, 1), ValueError, r"target must have shape \[2\] to match"),
        (GOOD, torch.tensor([0, math.nan]), ValueError, "target must be finite"),
        (GOOD, torch.tensor([0, math.inf]), ValueError, "target must be finite"),
        (GOOD, [0.0, 1.0], TypeError, "target must be a real tensor, got list"),
        (GOOD.long(), torch.zeros(2), TypeError, "floating dtype, got torch.int64"),
        (GOOD.tolist(), torch.zeros(2), TypeError, "floating dtype, got list"),
        (torch.eye(4)[:2] * 1.02, torch.zeros(2), ValueError, "row 0 .* the sum 1.02;.*softmax"),
        (GOOD * math.nan, torch.zeros(2), ValueError, "row 0 .* the sum nan"),
        (torch.tensor([[0.5, 0.5, 0.5, -0.5]] * 2), torch.zeros(2), ValueError, "smallest -0.5"),
        (GOOD[:0], torch.zeros(0), ValueError, "distribution must hold at least one value"),
    ],
)
def test_bad_input(metric, p, target, error, message):
    with pytest.raises(error, match=message):
        metric(p, target, range(4))


def test_bad_input_of_the_others():
    with pytest.raises(ValueError, match=r"same shape, got \[2, 4\] and \[1, 4\]"):
        emd(GOOD, GOOD[:1], range(4))
    with pytest.raises(ValueError, match="target_distribution must hold probabilities"):
        emd(GOOD, 2 * GOOD, range(4))
    for level in (0, 1, -0.5, math.nan):
        with pytest.raises(ValueError, match=r"level must be in \(0, 1\), got"):
            interval_width(GOOD, range(4), level)
    with pytest.raises(ValueError, match="at least one value"):
        interval_width(GOOD[:0], range(4))


@pytest.mark.parametrize("dtype", FLOATING)
def test_a_softmax_of_any_precision_is_accepted(dtype):
    for scale, n_labels in itertools.product((0.01, 1, 10), (2, 101, 1001)):
        p = (scale * torch.randn(50, n_labels)).to(dtype).softmax(-1)
        assert interval_width(p, range(n_labels)).isfinite()
