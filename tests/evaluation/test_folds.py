from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dldl_fast.data import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.protocols import split_rows
from dldl_fast.data.sets.adience import EIGHT_GROUPS
from dldl_fast.evaluation import fold_accuracy

N = 203


def table(**columns) -> FaceTable:
    target = torch.arange(N, dtype=torch.float64) % 8
    return FaceTable(
        "made up", EIGHT_GROUPS, Path("."), tuple(f"{n}.png" for n in range(N)), target, **columns
    )


def predictions(t: FaceTable) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return (t.target + torch.randint(-2, 3, (N,), generator=random)).clamp(0, 7)


def test_official_folds_by_numpy():
    # Of unequal size: the mean over the folds is not that over the rows.
    fold = np.minimum(np.arange(N) // 30, 4)
    t = table(fold=tuple(fold.tolist()))
    predicted = predictions(t)
    away = (predicted - t.target).abs().numpy()
    exact = np.array([(away[fold == k] == 0).mean() for k in range(5)])
    one_off = np.array([(away[fold == k] <= 1).mean() for k in range(5)])
    found = fold_accuracy(t, predicted)
    np.testing.assert_allclose(found.exact, exact, rtol=1e-12)
    np.testing.assert_allclose(found.one_off, one_off, rtol=1e-12)
    numbers = found.mean, found.deviation, found.one_off_mean, found.one_off_deviation
    expected = exact.mean(), exact.std(ddof=1), one_off.mean(), one_off.std(ddof=1)
    np.testing.assert_allclose(numbers, expected, rtol=1e-12)
    assert found.mean != pytest.approx((away == 0).mean(), abs=1e-3)


def test_random_folds_are_those_of_the_seed():
    t = table()
    predicted = predictions(t)
    found = fold_accuracy(t, predicted, seed=3)
    rows = split_rows(t, "five-fold", fold=4, seed=3).test
    assert found.exact[4] == float((predicted == t.target)[rows].double().mean())


def test_bad_arguments():
    t = table()
    with pytest.raises(ValueError, match="must have several folds, such as five-fold, got 'random"):
        fold_accuracy(t, t.target, protocol="random-80-20")
    with pytest.raises(ValueError, match=r"one group for each of the 203 rows, got shape \[2\]"):
        fold_accuracy(t, torch.zeros(2))
    with pytest.raises(ValueError, match=r"prediction must hold numbers of groups, got \d\.5"):
        fold_accuracy(t, t.target + 0.5)
    with pytest.raises(DataError, match="who is in a picture is not known"):
        fold_accuracy(t, t.target, protocol="leave-one-person-out")
