"""Which rows of a data set to learn from, and which to test on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dldl_fast.data.base import DataError, hold_out
from dldl_fast.data.face_table import FaceTable

FOLDS = 5

PROTOCOLS = {
    "official": "the data set's own parts",
    "official-validation": "learn from the training part, test on the validation part",
    "official-merged": "learn from training and validation part, test on the test part",
    "random-80-20": "a random share of the rows is held out; persons are in both parts",
    "subject-exclusive": "a random share of the persons is held out",
    "five-fold": "every row is tested in one of five folds; persons are not divided",
    "leave-one-person-out": "fold k tests the k-th person",
}
"""All protocols and what they do."""


class Parts(NamedTuple):
    """Which rows are in which part of a data set; a row is in one of them at most."""

    train: Tensor
    """bool [N]."""
    validation: Tensor | None
    """bool [N], where the protocol has such a part."""
    test: Tensor
    """bool [N]."""


def folds_of(table: FaceTable, protocol: str) -> int:
    """How many folds a protocol has on a table, 1 where there is nothing to choose.

    Raises:
        DataError: if the table lacks what the protocol needs.
        ValueError: if there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
    if protocol == "five-fold":
        return FOLDS
    if protocol == "leave-one-person-out":
        return len(set(_persons(table, protocol)))
    return 1


def split_rows(
    table: FaceTable, protocol: str, *, fold: int = 0, seed: int = 0, fraction: float = 0.2
) -> Parts:
    """The parts of a data set.

    Args:
        table: the data set.
        protocol: a key of `PROTOCOLS`.

            - ``"official"``: the column ``split``, as it is.
            - ``"official-validation"``: learns from the training part and tests on the validation
              part, as the paper does with ChaLearn 2015, whose test part had no labels.
            - ``"official-merged"``: learns from training and validation part and tests on the test
              part, as the paper does with ChaLearn 2016.
            - ``"random-80-20"``: holds out a random share of the rows. It is the paper's for MORPH,
              SCUT-FBP and CFD. Persons with several pictures are in both parts, so that on MORPH
              a network is tested on faces that it knows: the errors are smaller than on strangers.
            - ``"subject-exclusive"``: holds out a random share of the persons, with all their rows.
            - ``"five-fold"``: the data set's own folds, where it has some; else random ones, of as
              many persons each or, where persons are not known, of as many rows.
            - ``"leave-one-person-out"``: holds out the person `fold` in the order of their names.
        fold: which of several, from 0.
        seed: of the random choice.
        fraction: share to hold out, of ``"random-80-20"`` and ``"subject-exclusive"``.

    Raises:
        DataError: if the table lacks what the protocol needs: an official split, persons, or rows.
        ValueError: if there is no such protocol or fold, or `fraction` is not in (0, 1).

    Example:
        >>> from pathlib import Path
        >>> from dldl_fast.data.label_spec import AGES
        >>> paths, ages = ("a1.jpg", "a2.jpg", "b.jpg"), torch.tensor([1.0, 2.0, 3.0])
        >>> table = FaceTable("three", AGES, Path("."), paths, ages, person=("a", "a", "b"))
        >>> split_rows(table, "leave-one-person-out", fold=0).test
        tensor([ True,  True, False])
    """
    folds = folds_of(table, protocol)
    if not 0 <= fold < folds:
        raise ValueError(
            f"fold must be from 0 to {folds - 1} for {protocol!r} on {table.name}, got {fold}"
        )
    if protocol.startswith("official"):
        return _official(table, protocol)
    if protocol == "random-80-20":
        test = hold_out(len(table), fraction, seed)
    elif protocol == "subject-exclusive":
        person_of = _numbers(_persons(table, protocol))
        test = hold_out(int(person_of.max()) + 1, fraction, seed)[person_of]
    elif protocol == "five-fold":
        test = _fold_of_rows(table, seed) == fold
    else:
        test = _numbers(_persons(table, protocol)) == fold
    return _checked(table, protocol, ~test, None, test)


def _official(table: FaceTable, protocol: str) -> Parts:
    if table.split is None:
        raise DataError(
            f"{table.name} has no official split, which {protocol!r} needs; "
            "choose another protocol, such as random-80-20"
        )
    train, validation, test = (
        torch.tensor([split == part for split in table.split])
        for part in ("train", "validation", "test")
    )
    if protocol == "official-validation":
        return _checked(table, protocol, train, None, validation)
    if protocol == "official-merged":
        return _checked(table, protocol, train | validation, None, test)
    return _checked(table, protocol, train, validation if bool(validation.any()) else None, test)


def _fold_of_rows(table: FaceTable, seed: int) -> Tensor:
    if table.fold is not None:
        return torch.tensor(table.fold)
    unit_of = torch.arange(len(table)) if table.person is None else _numbers(table.person)
    count = int(unit_of.max()) + 1 if len(table) else 0
    if count < FOLDS:
        what = "rows" if table.person is None else "persons"
        raise DataError(f"{table.name}: {FOLDS} folds need as many {what}, got {count}")
    fold_of_unit = torch.empty(count, dtype=torch.int64)
    order = torch.randperm(count, generator=Generator().manual_seed(seed))
    fold_of_unit[order] = torch.arange(count) % FOLDS
    return fold_of_unit[unit_of]


def _persons(table: FaceTable, protocol: str) -> tuple[str, ...]:
    if table.person is None:
        raise DataError(
            f"{table.name}: who is in a picture is not known, but {protocol!r} needs it; "
            "choose another protocol, such as random-80-20, or add a column 'person'"
        )
    return table.person


def _numbers(persons: tuple[str, ...]) -> Tensor:
    """Every row's person as a number from 0, in the order of the names."""
    number = {person: index for index, person in enumerate(sorted(set(persons)))}
    return torch.tensor([number[person] for person in persons])


def _checked(
    table: FaceTable, protocol: str, train: Tensor, validation: Tensor | None, test: Tensor
) -> Parts:
    for part, rows in (("to learn from", train), ("to test on", test)):
        if not bool(rows.any()):
            raise DataError(f"{table.name}: {protocol!r} leaves no rows {part}")
    return Parts(train, validation, test)
