from __future__ import annotations

import pytest
import torch

from dldl_fast.data.base import DataError
from dldl_fast.data.protocols import split_rows
from dldl_fast.data.sets import open_source
from dldl_fast.data.sets.adience import AGE_GROUPS, read_adience

HEADER = (
    "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\t"
    "fiducial_score\n"
)


def row(user: str, image: str, face: int, age: str, gender: str = "m") -> str:
    return f"{user}\t{image}.jpg\t{face}\t{age}\t{gender}\t0\t414\t1086\t1383\t-115\t30\t17\n"


def tables(*extra: str) -> dict[str, str]:
    """Five folds with a picture each, and more rows in the first one."""
    return {
        f"fold_{fold}_data.txt": HEADER
        + row(f"{fold}@N0", "a", fold, f"({AGE_GROUPS[fold][0]}, {AGE_GROUPS[fold][1]})", "f")
        + ("".join(extra) if fold == 0 else "")
        for fold in range(5)
    }


def pictures(kind: str = "faces/{}/coarse_tilt_aligned_face") -> list[str]:
    return [f"{kind.format(f'{fold}@N0')}.{fold}.a.jpg" for fold in range(5)]


def test_groups_folds_and_albums(make_tree):
    extra = row("9@N1", "b", 7, "None", "u"), row("9@N1", "b", 8, "(60, 100)", "u")
    files = [*pictures(), "faces/9@N1/coarse_tilt_aligned_face.8.b.jpg"]
    table = open_source(f"adience:{make_tree(tables(*extra), files)}")
    assert table.paths == (files[0], files[5], *files[1:5])
    assert table.target.tolist() == [0, 7, 1, 2, 3, 4]
    assert table.fold == (0, 0, 1, 2, 3, 4)
    assert table.person == ("0@N0", "9@N1", "1@N0", "2@N0", "3@N0", "4@N0")
    assert table.groups == {"gender": ("female", "unknown", *["female"] * 4)}
    assert table.spec.grid().tolist() == list(range(8)) and table.spec.unit == "groups"
    assert table.note == (
        "1 rows without an age are left out. "
        "Not the official number of pictures: all 6 instead of 19,369."
    )
    parts = split_rows(table, "five-fold", fold=0, seed=5)
    assert parts.test.tolist() == [True, True, False, False, False, False]
    assert torch.equal(parts.train, ~parts.test)


@pytest.mark.parametrize(
    ("age", "group", "moved"),
    [
        ("(0, 2)", 0, False),
        ("(8, 12)", 2, False),
        ("(8, 13)", 2, False),
        ("(38, 43)", 5, False),
        ("2", 0, True),
        ("3", 0, True),  # as near to 4-6
        ("13", 2, True),
        ("22", 3, True),
        ("23", 4, True),
        ("35", 4, True),
        ("36", 5, True),
        ("46", 6, True),
        ("57", 7, True),
        ("(8, 23)", 3, True),
        ("(27, 32)", 4, True),
        ("(38, 48)", 5, True),
        ("(80, 120)", 7, True),
    ],
)
def test_ages_that_are_no_group(make_tree, age, group, moved):
    extra = "faces/x/coarse_tilt_aligned_face.1.b.jpg"
    table = read_adience(make_tree(tables(row("x", "b", 1, age)), [*pictures(), extra]))
    assert table.target[1] == group
    assert ("1 ages that are no group were moved to the nearest one." in table.note) == moved


def test_aligned_pictures_come_first(make_tree):
    aligned = pictures("aligned/{}/landmark_aligned_face")
    table = read_adience(make_tree(tables(), [*pictures(), *aligned]))
    assert table.paths == tuple(aligned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("fold_3_data.txt"), "not an Adience tree .*: expected fold_0_data.txt to"),
        (lambda t: t.update({"fold_1_data.txt": "a\tb\n"}), "row 1: expected tab-sep.* got a,b"),
        (
            lambda t: t.update({"fold_1_data.txt": HEADER + "a\tb\n"}),
            "fold_1_data.txt, row 2: expected 12 fields, got 2",
        ),
        (
            lambda t: t.update({"fold_2_data.txt": HEADER + row("2@N0", "a", 2, "old")}),
            r"row 2: expected an age like \(25, 32\), 35 or None, got 'old'",
        ),
        (
            lambda t: t.update({"fold_2_data.txt": HEADER + row("2@N0", "c", 2, "4")}),
            "row 2: picture 'faces/2@N0/coarse_tilt_aligned_face.2.c.jpg' is not below",
        ),
    ],
)
def test_bad_trees(make_tree, change, message):
    changed = tables()
    change(changed)
    with pytest.raises(DataError, match=message):
        read_adience(make_tree(changed, pictures()))
