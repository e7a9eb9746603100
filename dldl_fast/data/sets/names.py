"""Data sets whose labels are the names of their pictures: FG-NET, AgeDB and UTKFace."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.label_spec import AGES, LabelSpec
from dldl_fast.data.sets.rows import LabelRow, table_of
from dldl_fast.data.sets.tree import Tree

AGES_TO_101 = LabelSpec(0, 101, 1, sigma=2.0, unit="years")
"""AgeDB has a person of 101 years."""

AGES_TO_116 = LabelSpec(0, 116, 1, sigma=2.0, unit="years")
"""UTKFace has persons of up to 116 years."""

_GENDERS = {"0": "male", "1": "female", "f": "female", "m": "male"}
_RACES = ("White", "Black", "Asian", "Indian", "Others")


def read_fg_net(root: Path) -> FaceTable:
    """FG-NET: 1,002 pictures of 82 persons at ages of 0 to 69.

    ::

        FGNET/
            images/
                001A02.JPG    person 001, 2 years
                001A43a.JPG   person 001, 43 years, first of several pictures

    The folder ``images`` itself may be given as well. There is no official split; the custom is to
    leave one person out at a time, the protocol ``leave-one-person-out`` with folds 0 to 81, in the
    order of the persons' numbers. The paper does not use this data set; sigma is that of MORPH.

    Where to get it: https://yanweifu.github.io/FG_NET_data/ (research only).

    Args:
        root: folder of the data set.

    Raises:
        DataError: if it is laid out in another way, naming the file.

    Source:
        Panis et al., Overview of research on facial ageing using the FG-NET ageing database,
        IET Biometrics 2016.
    """
    tree = Tree(root, "an FG-NET tree", "images/*.JPG, with names like 001A02.JPG")
    rows = []
    for file in tree.pictures_in("images"):
        person, age = _parts(tree, file, r"(\d{3})A(\d{1,3})[a-z]?\.jpe?g", "001A02.JPG")
        rows.append(LabelRow(str(tree.root / file), file, float(age), person=person))
    return table_of("fg-net", AGES, tree, rows, {"all": 1002})


def read_agedb(root: Path) -> FaceTable:
    """AgeDB: 16,488 pictures of 568 well-known persons at ages of 1 to 101.

    ::

        AgeDB/
            0_MariaCallas_35_f.jpg   number, name, age, gender

    The labels reach to 101, one more than the paper's. Group: ``gender``. There is no official
    split for ages; ``subject-exclusive`` keeps persons apart. The paper does not use this data set;
    sigma is that of MORPH.

    Where to get it: https://ibug.doc.ic.ac.uk/resources/agedb/ (the password of the archive from
    the authors; non-commercial research only).

    Args:
        root: folder of the data set, or the one around it.

    Raises:
        DataError: if it is laid out in another way, naming the file.

    Source:
        Moschoglou et al., AgeDB: the first manually collected, in-the-wild age database, CVPR
        workshops 2017.
    """
    tree = Tree(root, "an AgeDB tree", "AgeDB/*.jpg, with names like 0_MariaCallas_35_f.jpg")
    rows = []
    for file in tree.pictures_in("AgeDB"):
        person, age, gender = _parts(
            tree, file, r"\d+_(.+)_(\d{1,3})_([fm])\.jpe?g", "0_MariaCallas_35_f.jpg"
        )
        groups = {"gender": _GENDERS[gender.lower()]}
        where = str(tree.root / file)
        rows.append(LabelRow(where, file, float(age), person=person, groups=groups))
    return table_of("agedb", AGES_TO_101, tree, rows, {"all": 16_488})


def read_utkface(root: Path) -> FaceTable:
    """UTKFace, aligned and cropped: 23,708 faces at ages of 1 to 116.

    ::

        UTKFace/
            26_1_2_20170116174525125.jpg.chip.jpg   age, gender, race, date and time

    The labels reach to 116, more than the paper's. Age, gender and race were estimated by a model
    and then looked over by a person, so they are no facts. Groups are ``gender`` (0 male, 1 female)
    and ``race`` (0 White, 1 Black, 2 Asian, 3 Indian, 4 Others). Three names of the release lack
    one of the two; those pictures keep their age and have ``unknown`` in both groups. There is no
    official split, and persons are not known. The paper does not use this data set; sigma is that
    of MORPH.

    Where to get it: https://susanqq.github.io/UTKFace/ (non-commercial research only).

    Args:
        root: folder of the data set, or the one around it.

    Raises:
        DataError: if it is laid out in another way, naming the file.

    Source:
        Zhang et al., Age progression/regression by conditional adversarial autoencoder, CVPR 2017.
    """
    tree = Tree(
        root,
        "a UTKFace tree",
        "UTKFace/*.jpg, with names like 26_1_2_20170116174525125.jpg.chip.jpg",
    )
    rows = []
    incomplete = 0
    for file in tree.pictures_in("UTKFace"):
        age, rest = _parts(
            tree, file, r"(\d{1,3})_(.*)\.jpe?g", "26_1_2_20170116174525125.jpg.chip.jpg"
        )
        match = re.match(r"([01])_([0-4])_\d{8}", rest)
        incomplete += match is None
        groups = {
            "gender": "unknown" if match is None else _GENDERS[match[1]],
            "race": "unknown" if match is None else _RACES[int(match[2])],
        }
        rows.append(LabelRow(str(tree.root / file), file, float(age), groups=groups))
    note = f"Gender and race are unknown in {incomplete:,} incomplete names." if incomplete else ""
    return table_of("utkface", AGES_TO_116, tree, rows, {"all": 23_708}, note)


def _parts(tree: Tree, file: str, pattern: str, example: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, PurePosixPath(file).name, re.IGNORECASE)
    if match is None:
        raise DataError(f"{tree.root / file}: expected a name like {example}; move it elsewhere")
    return match.groups()
