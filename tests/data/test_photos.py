from __future__ import annotations

import pytest

from dldl_fast.data import DataError
from dldl_fast.data.photos import photos


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "notes.txt", "sub/z.jpeg", "sub/deep/y.tif", "a/x.webp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_gives_its_photos_in_a_fixed_order(tree):
    names = [photo.name for photo in photos(tree)]
    assert names == ["a.png", "b.JPG", "a/x.webp", "sub/z.jpeg", "sub/deep/y.tif"]
    assert [photo.path() for photo in photos(tree)] == [tree / name for name in names]


def test_one_photo_whatever_its_name(tree):
    (photo,) = photos(tree / "notes.txt")
    assert (photo.name, photo.path()) == ("notes.txt", tree / "notes.txt")


def test_a_table_names_photos_beside_it(tree):
    (tree / "some.csv").write_text("label,path\n1,sub/z.jpeg\n2,b.JPG\n", encoding="utf-8")
    found = list(photos(tree / "some.csv"))
    assert [photo.name for photo in found] == ["sub/z.jpeg", "b.JPG"]
    assert [photo.path() for photo in found] == [tree / "sub/z.jpeg", tree / "b.JPG"]


@pytest.mark.parametrize("name", ["../secret.jpg", "{tmp}/secret.jpg", "link.jpg", "up/secret.jpg"])
def test_photos_outside_are_refused_unless_allowed(tree, tmp_path, name):
    name = name.format(tmp=tmp_path)
    (tmp_path / "secret.jpg").touch()
    (tree / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (tree / "up").symlink_to(tmp_path)
    (tree / "some.csv").write_text(f"path\n{name}\na.png\n", encoding="utf-8")
    outside, inside = photos(tree / "some.csv")
    assert inside.path() == tree / "a.png"
    with pytest.raises(DataError, match=r"some.csv, row 2: path .*(relative|leads outside)"):
        outside.path()
    allowed, _ = photos(tree / "some.csv", allow_outside=True)
    assert allowed.path() == tmp_path / "secret.jpg"


def test_links_out_of_a_folder_are_refused_unless_allowed(tree, tmp_path):
    (tmp_path / "secret.jpg").touch()
    (tree / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    link = next(photo for photo in photos(tree) if photo.name == "link.jpg")
    with pytest.raises(DataError, match="'link.jpg' leads outside"):
        link.path()
    link = next(photo for photo in photos(tree, allow_outside=True) if photo.name == "link.jpg")
    assert link.path() == tmp_path / "secret.jpg"


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such file or folder; expected a photo"):
        next(photos(tmp_path / "nowhere"))
    (tmp_path / "bad.csv").write_text("file\na.jpg\n")
    with pytest.raises(DataError, match=r"bad.csv, row 1: no column 'path'; expected path"):
        next(photos(tmp_path / "bad.csv"))
