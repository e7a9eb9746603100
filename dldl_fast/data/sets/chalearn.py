"""Apparent ages: ChaLearn LAP 2015 and 2016, and APPA-REAL, which has the pictures of 2016."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import finite_number, read_fields, read_rows
from dldl_fast.data.label_spec import AGES
from dldl_fast.data.sets.rows import LabelRow, deviation, table_of
from dldl_fast.data.sets.tree import Tree

SIZES_2015 = {"train": 2476, "validation": 1136, "test": 1079}
SIZES_2016 = {"train": 4113, "validation": 1500, "test": 1978}

_OWN_TABLE = r"(.*/)?(?P<part>train|valid|test)(ation)?(15|16)?(_gt)?\.csv"
_APPA_TABLE = r"(.*/)?gt_avg_(?P<part>train|valid|test)\.csv"
_PICTURE = re.compile(r".*\.(jpe?g|png)", re.IGNORECASE)


def read_chalearn15(root: Path) -> FaceTable:
    """ChaLearn LAP 2015 (ICCV): 4,691 pictures with mean and standard deviation of guessed ages.

    ::

        chalearn15/
            Train.csv         image_1.jpg;21;3.84  (name, mean, standard deviation)
            Train/            2,476 pictures
            Validation.csv
            Validation/       1,136 pictures
            Test.csv
            Test/             1,079 pictures; may be missing

    Tables with commas and with a header are read too, also as ``train_gt.csv`` or
    ``train15_gt.csv``, and the pictures of a part may be in any folder that begins with its name.

    The split is the organisers'. The paper trains on the training part and tests on the
    validation part: the protocol ``official-validation``.

    Where to get it: https://chalearnlap.cvc.uab.cat/dataset/18/description/ (registration;
    research only).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file and the row.

    Source:
        Escalera et al., ChaLearn Looking at People 2015, ICCV workshops 2015; sizes: Table 1.
    """
    tree = Tree(
        root,
        "a ChaLearn 2015 tree",
        "Train.csv, Validation.csv, and the pictures in Train/ and Validation/",
    )
    rows = list(_rows_of_challenge(tree, ("train", "validation")))
    return table_of("chalearn15", AGES, tree, rows, SIZES_2015)


def read_chalearn16(root: Path) -> FaceTable:
    """ChaLearn LAP 2016 (CVPR): 7,591 pictures with mean and standard deviation of guessed ages.

    ::

        chalearn16/
            gt/train_gt.csv   image,mean,stdv
            gt/valid_gt.csv
            gt/test_gt.csv
            images/train_1/, train_2/    4,113 pictures
            images/valid/                1,500 pictures
            images/test_1/, test_2/      1,978 pictures

    The tree of APPA-REAL, which has the same pictures and guesses, is read too. Tables and
    pictures may be in any folder; the pictures of a part in one that begins with its name.

    The split is the organisers'. The paper trains on training and validation part together, 5,613
    pictures, and tests on the test part: the protocol ``official-merged``.

    Where to get it: https://chalearnlap.cvc.uab.cat/dataset/19/description/ (registration;
    research only).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file and the row.

    Source:
        Escalera et al., ChaLearn Looking at People and Faces of the World, CVPR workshops 2016;
        sizes: Table 1.
    """
    tree = Tree(
        root,
        "a ChaLearn 2016 tree",
        "train_gt.csv, valid_gt.csv, test_gt.csv (or gt_avg_*.csv of APPA-REAL), and the pictures "
        "in folders that begin with train, valid and test",
    )
    if tree.matching(_APPA_TABLE):
        rows = list(_rows_of_appa_real(tree))
    else:
        rows = list(_rows_of_challenge(tree, ("train", "validation", "test")))
    return table_of("chalearn16", AGES, tree, rows, SIZES_2016)


def read_appa_real(root: Path) -> FaceTable:
    """APPA-REAL: 7,591 pictures with about 38 guessed ages each.

    The target is the mean of the guesses, the apparent age, and sigma their standard deviation;
    the real age, which is in the tables too, is not used.

    ::

        appa-real-release/
            gt_avg_train.csv  file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age
            gt_avg_valid.csv
            gt_avg_test.csv
            train/            4,113 pictures; the crops X.jpg_face.jpg beside them are not used
            valid/            1,500 pictures
            test/             1,978 pictures

    The split is the authors'.

    Where to get it: https://chalearnlap.cvc.uab.cat/dataset/26/description/ (research only).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file and the row.

    Source:
        Agustsson et al., Apparent and real age estimation in still images with deep residual
        regressors on APPA-REAL database, FG 2017.
    """
    tree = Tree(
        root,
        "an APPA-REAL tree",
        "gt_avg_train.csv, gt_avg_valid.csv, gt_avg_test.csv, and the pictures in train/, valid/ "
        "and test/",
    )
    rows = list(_rows_of_appa_real(tree))
    return table_of("appa-real", AGES, tree, rows, SIZES_2016)


def _rows_of_challenge(tree: Tree, needed: tuple[str, ...]) -> Iterator[LabelRow]:
    for split, file in _tables(tree, _OWN_TABLE, needed).items():
        path = tree.table(file)
        expected = "rows of image, mean and standard deviation"
        # 2015 has semicolons, 2016 commas.
        _, first = next(read_rows(path, expected), (1, [""]))
        delimiter = ";" if ";" in first[0] else ","
        for number, fields in read_rows(path, expected, delimiter=delimiter):
            where = f"{path}, row {number}"
            if not any(fields) or (number == 1 and not _PICTURE.fullmatch(fields[0])):
                continue
            if len(fields) != 3:
                raise DataError(f"{where}: expected image, mean and stdv, got {len(fields)} fields")
            yield _row(where, split, fields[0], fields[1], fields[2])


def _rows_of_appa_real(tree: Tree) -> Iterator[LabelRow]:
    columns = ("file_name", "apparent_age_avg", "apparent_age_std")
    for split, file in _tables(tree, _APPA_TABLE, ("train", "validation", "test")).items():
        path = tree.table(file)
        for number, fields in read_fields(path, columns, ",".join(columns)):
            yield _row(f"{path}, row {number}", split, *(fields[name] for name in columns))


def _tables(tree: Tree, pattern: str, needed: tuple[str, ...]) -> Mapping[str, str]:
    """The table of every part, in the order of the parts."""
    tables: dict[str, str] = {}
    for match in tree.matching(pattern):
        file, part = match.string, match["part"].lower()
        split = "validation" if part == "valid" else part
        if split in tables:
            raise tree.wrong(f"{tables[split]} and {file} both have labels of the {split} part")
        tables[split] = file
    lacking = [split for split in needed if split not in tables]
    if lacking:
        raise tree.wrong(f"no labels of the {lacking[0]} part")
    return {split: tables[split] for split in SIZES_2016 if split in tables}


def _row(where: str, split: str, image: str, mean: str, spread: str) -> LabelRow:
    label = finite_number(mean, "age", where)
    # Train, train_1, Validation, valid: the folder begins as the split's name does.
    folder = rf"{split[:5]}[^/]*"
    return LabelRow(where, image, label, deviation(spread, where), split, folder=folder)
