from __future__ import annotations

import os

import pytest

from dldl_fast.data.base import DataError
from dldl_fast.data.sets import read_fg_net, read_morph, tree

links = pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
TABLE = "id_num,age,gender,race,photo\n1,20,M,B,000001_00M20.JPG\n"


@links
def test_links_to_files_must_stay_below_the_root(make_tree):
    outside = make_tree(pictures=["000001_00M20.JPG"], name="outside")
    root = make_tree({"morph.csv": TABLE}, ["store/one.jpg"])
    (root / "Album2").mkdir()
    link = root / "Album2" / "000001_00M20.JPG"
    link.symlink_to("../store/one.jpg")
    assert read_morph(root).paths == ("Album2/000001_00M20.JPG",)
    link.unlink()
    link.symlink_to(outside / "000001_00M20.JPG")
    message = r"row 2: picture '000001_00M20\.JPG' is a link that leads outside"
    with pytest.raises(DataError, match=message):
        read_morph(root)


@links
def test_links_to_folders_are_not_followed(make_tree):
    outside = make_tree(pictures=["001A02.JPG"], name="outside")
    root = make_tree({"readme.txt": ""})
    (root / "images").symlink_to(outside)
    message = r"found images \(a link that is not followed\), readme\.txt"
    with pytest.raises(DataError, match=message):
        read_fg_net(root)
    assert read_fg_net(root / "images").paths == ("001A02.JPG",)


@links
def test_a_link_in_a_circle_ends(make_tree):
    root = make_tree(pictures=["images/001A02.JPG"])
    (root / "images" / "again").symlink_to(root)
    assert read_fg_net(root).paths == ("images/001A02.JPG",)


def test_only_some_of_many_files_are_listed(make_tree):
    root = make_tree({f"{number:02}.txt": "" for number in range(11)})
    with pytest.raises(DataError, match=r"found 00\.txt, .*, 07\.txt and 3 more$"):
        read_fg_net(root)
    with pytest.raises(DataError, match="found nothing$"):
        read_fg_net(make_tree(name="empty"))


def test_limits(make_tree, monkeypatch):
    root = make_tree({"morph.csv": TABLE}, ["Album2/000001_00M20.JPG"])
    monkeypatch.setattr(tree, "MAX_TABLE_BYTES", 10)
    with pytest.raises(DataError, match=r"morph\.csv: a table of .* MB; expected at most"):
        read_morph(root)
    monkeypatch.setattr(tree, "MAX_FILES", 1)
    with pytest.raises(DataError, match="more than 1 files; give the folder of the data set"):
        read_morph(root)
