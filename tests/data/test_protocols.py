from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.label_spec import AGES
from dldl_fast.data.protocols import PROTOCOLS, folds_of, split_rows
from dldl_fast.data.sets import DATA_SETS


def table_of(count: int, **columns: object) -> FaceTable:
    paths = tuple(f"{row}.jpg" for row in range(count))
    target = torch.arange(count, dtype=torch.float64)
    return replace(FaceTable("some", AGES, Path("."), paths, target), **columns)


def rows_of(mask: Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


OFFICIAL = table_of(5, split=("test", "train", "validation", "train", "test"))


def test_official() -> None:
    train, validation, test = split_rows(OFFICIAL, "official")
    assert rows_of(train) == [1, 3]
    assert validation is not None and rows_of(validation) == [2]
    assert rows_of(test) == [0, 4]
    assert split_rows(table_of(2, split=("train", "test")), "official").validation is None


def test_the_papers_use_of_official_parts() -> None:
    train, validation, test = split_rows(OFFICIAL, "official-validation")
    assert (rows_of(train), validation, rows_of(test)) == ([1, 3], None, [2])
    train, validation, test = split_rows(OFFICIAL, "official-merged")
    assert (rows_of(train), validation, rows_of(test)) == ([1, 2, 3], None, [0, 4])


def test_random_80_20() -> None:
    table = table_of(50, person=("the same",) * 50)
    parts = [split_rows(table, "random-80-20", seed=seed) for seed in (0, 0, 1)]
    assert all(int(test.sum()) == 10 for _, _, test in parts)
    assert torch.equal(parts[0].test, parts[1].test)
    assert not torch.equal(parts[0].test, parts[2].test)
    assert int(split_rows(table, "random-80-20", fraction=0.5).test.sum()) == 25


def test_leave_one_person_out_goes_by_the_names() -> None:
    table = table_of(4, person=("010", "002", "010", "001"))
    assert folds_of(table, "leave-one-person-out") == 3
    tested = [
        rows_of(split_rows(table, "leave-one-person-out", fold=fold).test) for fold in range(3)
    ]
    assert tested == [[3], [1], [0, 2]]


def test_official_folds() -> None:
    table = table_of(6, fold=(0, 4, 2, 2, 1, 3), person=("a",) * 6)
    tested = [rows_of(split_rows(table, "five-fold", fold=fold).test) for fold in range(5)]
    assert tested == [[0], [4], [2, 3], [5], [1]]
    assert table.rows(torch.tensor([False, True, True, False, False, False])).fold == (4, 2)


def test_five_folds_of_rows_are_even_and_random() -> None:
    table = table_of(23)
    tests = [split_rows(table, "five-fold", fold=fold, seed=3).test for fold in range(5)]
    assert sorted(int(test.sum()) for test in tests) == [4, 4, 5, 5, 5]
    assert torch.stack(tests).sum(0).tolist() == [1] * 23
    assert rows_of(tests[0]) != list(range(0, 23, 5))
    assert not torch.equal(tests[0], split_rows(table, "five-fold", seed=4).test)


@given(
    person=st.lists(st.sampled_from("abcdefgh"), max_size=40).map(lambda drawn: [*drawn, *"abcde"]),
    protocol=st.sampled_from(["subject-exclusive", "five-fold", "leave-one-person-out"]),
    fold=st.integers(0, 7),
    seed=st.integers(0, 99),
    fraction=st.floats(0.01, 0.99),
)
@settings(deadline=None)
def test_persons_are_never_in_two_parts(
    person: list[str], protocol: str, fold: int, seed: int, fraction: float
) -> None:
    table = table_of(len(person), person=tuple(person))
    fold %= folds_of(table, protocol)
    parts = split_rows(table, protocol, fold=fold, seed=seed, fraction=fraction)
    learned = {person[row] for row in rows_of(parts.train)}
    tested = {person[row] for row in rows_of(parts.test)}
    assert learned and tested and not learned & tested
    assert bool((parts.train ^ parts.test).all())


def test_subject_exclusive_counts_persons_not_rows() -> None:
    person = tuple("a" * 90 + "bcdefghij")
    test = split_rows(table_of(len(person), person=person), "subject-exclusive", seed=1).test
    assert len({person[row] for row in rows_of(test)}) == 2


@pytest.mark.parametrize(
    ("table", "protocol", "fold", "error", "message"),
    [
        (OFFICIAL, "80-20", 0, ValueError, "no protocol '80-20'; expected one of official, "),
        (OFFICIAL, "official", 1, ValueError, "fold must be from 0 to 0 for 'official' on some"),
        (OFFICIAL, "five-fold", 5, ValueError, "fold must be from 0 to 4 for 'five-fold'"),
        (OFFICIAL, "five-fold", -1, ValueError, "fold must be from 0 to 4"),
        (table_of(3), "official", 0, DataError, "some has no official split"),
        (table_of(3), "subject-exclusive", 0, DataError, "who is in a picture is not known"),
        (table_of(3), "leave-one-person-out", 0, DataError, "some: who is in a picture is"),
        (table_of(4), "five-fold", 0, DataError, "5 folds need as many rows, got 4"),
        (table_of(9, person=("a",) * 9), "five-fold", 0, DataError, "as many persons, got 1"),
        (table_of(9, person=("a",) * 9), "leave-one-person-out", 0, DataError, "no rows to learn"),
        (table_of(9, person=("a",) * 9), "subject-exclusive", 0, DataError, "at least 2 items"),
        (table_of(2, split=("train", "validation")), "official", 0, DataError, "no rows to test"),
        (table_of(1), "random-80-20", 0, DataError, "at least 2 items, got 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_split(table, protocol, fold, error, message) -> None:
    with pytest.raises(error, match=message):
        split_rows(table, protocol, fold=fold)


def test_fraction() -> None:
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        split_rows(OFFICIAL, "random-80-20", fraction=1)


def test_the_data_sets_protocols_exist() -> None:
    for data in DATA_SETS.values():
        assert data.protocols and set(data.protocols) <= set(PROTOCOLS), data.name
