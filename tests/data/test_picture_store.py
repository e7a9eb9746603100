from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from dldl_fast.data import DataError, picture_store
from dldl_fast.data.images import read_image
from dldl_fast.data.picture_store import decode_pictures

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

SIZE = 8
COUNT = 20
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def photos(tmp_path):
    """A folder with pictures of noise, each different."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    generator = np.random.default_rng(1)
    for path in names():
        pixels = generator.integers(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / path)
    return root


def names(count=COUNT):
    return [f"more/{i}.png" if i % 3 else f"{i}.png" for i in range(count)]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """Names of the pictures that this process decodes, in order."""
    seen = []

    def spy(path, size):
        seen.append(path.name)
        return read_image(path, size)

    monkeypatch.setattr(picture_store, "read_image", spy)
    return seen


def load(root, cache, paths=None, **settings):
    return decode_pictures(root, names() if paths is None else paths, SIZE, cache=cache, **settings)


def expected(root, paths=None):
    paths = names() if paths is None else paths
    return torch.stack([torch.from_numpy(read_image(root / path, SIZE)) for path in paths])


def file_of(cache: Path, name: str) -> Path:
    (found,) = cache.glob(f"*/{name}")
    return found


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cached", [False, True])
def test_the_pictures_in_their_order(photos, cache, workers, cached):
    paths = names()[::-1]
    told = []
    images = load(
        photos,
        cache if cached else None,
        paths,
        workers=workers,
        progress=lambda done, total: told.append((done, total)),
    )
    assert images.dtype == torch.uint8
    assert torch.equal(images, expected(photos, paths))
    assert told == [(i, COUNT) for i in range(1, COUNT + 1)]


def test_the_second_time_nothing_is_decoded(photos, cache, decoded):
    first = load(photos, cache)
    assert len(decoded) == COUNT
    second = load(photos, cache)
    assert len(decoded) == COUNT
    assert torch.equal(first, second)


def test_other_pictures_sizes_and_readers_are_kept_apart(photos, cache, decoded, monkeypatch):
    load(photos, cache)
    reverse = load(photos, cache, names()[::-1])
    assert torch.equal(reverse, expected(photos, names()[::-1]))
    small = decode_pictures(photos, names(), 4, cache=cache)
    assert small.shape == (COUNT, 3, 4, 4)
    monkeypatch.setattr(picture_store, "READER_VERSION", -1)
    load(photos, cache)
    monkeypatch.setattr("PIL.__version__", "0.0")
    load(photos, cache)
    assert len(decoded) == 5 * COUNT
    assert len(list(cache.iterdir())) == 5


def test_what_is_written_to_the_pictures_does_not_reach_the_cache(photos, cache, decoded):
    first = load(photos, cache)
    first.zero_()
    assert torch.equal(load(photos, cache), expected(photos))
    assert len(decoded) == COUNT
    assert first[3:5].data_ptr() == first.data_ptr() + 3 * 3 * SIZE**2


def test_a_changed_picture_is_decoded_again(photos, cache, decoded):
    load(photos, cache)
    decoded.clear()
    path = photos / "6.png"
    Image.fromarray(np.full((12, 10, 3), 7, np.uint8)).save(path)
    assert (load(photos, cache)[6] == 7).all()
    # The same size and contents, but written at another time.
    os.utime(photos / "9.png", ns=(0, 10**15 + 1))
    load(photos, cache)
    os.utime(photos / "9.png", ns=(0, 10**15 + 2))
    load(photos, cache)
    # A time of writing of zero is one like any other.
    os.utime(photos / "9.png", ns=(0, 0))
    load(photos, cache)
    load(photos, cache)
    assert decoded == ["6.png", "9.png", "9.png", "9.png"]


def test_one_damaged_picture_is_noticed_and_decoded_again(photos, cache, decoded):
    load(photos, cache)
    decoded.clear()
    with file_of(cache, "pixels").open("r+b") as file:
        file.seek(4 * 3 * SIZE**2 + 100)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    with pytest.warns(UserWarning, match="1 decoded pictures are damaged .* decoded again"):
        images = load(photos, cache)
    assert decoded == ["4.png"]
    assert torch.equal(images, expected(photos))
    load(photos, cache)
    assert decoded == ["4.png"]


@pytest.mark.parametrize("name", ["pixels", "rows"])
@pytest.mark.parametrize("change", ["shorter", "longer", "gone"])
def test_damaged_files_are_made_anew(photos, cache, decoded, name, change):
    before = load(photos, cache)
    copy = before.clone()
    decoded.clear()
    path = file_of(cache, name)
    if change == "gone":
        path.unlink()
    else:
        # As another file, since reading what a mapped one has lost ends the process.
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] if change == "shorter" else data + b"\0")
    assert torch.equal(load(photos, cache), copy)
    assert len(decoded) == COUNT
    # The mapping of the old file lives on.
    assert torch.equal(before, copy)


def test_foreign_contents_of_the_right_length(photos, cache, decoded):
    load(photos, cache)
    decoded.clear()
    path = file_of(cache, "rows")
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))
    assert torch.equal(load(photos, cache), expected(photos))
    assert len(decoded) == COUNT


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_run_is_resumed(photos, cache, decoded, workers):
    def until_the_seventh(done, total):
        if done == 7:
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(
        target=load,
        args=(photos, cache),
        kwargs={"workers": workers, "progress": until_the_seventh},
    )
    process.start()
    process.join()  # with a timeout it would wait for the workers too
    assert process.exitcode == -signal.SIGKILL
    told = []
    images = load(photos, cache, progress=lambda done, total: told.append(done))
    assert decoded == [Path(name).name for name in names()[7:]]
    assert told == list(range(8, COUNT + 1))
    assert torch.equal(images, expected(photos))


def test_an_interrupted_run_is_resumed(photos, cache, decoded):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(photos, cache, progress=interrupt)
    load(photos, cache)
    assert decoded == [Path(name).name for name in names()]


def test_a_worker_that_outlives_its_process_does_not_lock_others_out(photos, cache, monkeypatch):
    reached, release = FORK.Event(), FORK.Event()
    here = os.getpid()

    def slow(path, size):
        if path.name == "5.png" and os.getpid() != here:
            reached.set()
            release.wait(60)
        return read_image(path, size)

    monkeypatch.setattr(picture_store, "read_image", slow)
    process = FORK.Process(target=load, args=(photos, cache), kwargs={"workers": 1})
    process.start()
    try:
        assert reached.wait(60)
        process.kill()
        process.join()
        assert torch.equal(load(photos, cache), expected(photos))
    finally:
        release.set()


def test_a_second_process_waits_for_the_first(photos, cache, monkeypatch):
    begun, waited_for = FORK.Event(), FORK.Event()

    def first_progress(done, total):
        if done == 5:
            begun.set()
            waited_for.wait(60)

    process = FORK.Process(target=load, args=(photos, cache), kwargs={"progress": first_progress})
    process.start()
    monkeypatch.setattr(picture_store, "read_image", lambda *_: pytest.fail("was decoded twice"))
    assert begun.wait(60)
    told = []

    def second_progress(done, total):
        told.append((done, total))
        waited_for.set()

    images = load(photos, cache, progress=second_progress)
    process.join()
    assert process.exitcode == 0
    assert told[0] == (5, COUNT)
    monkeypatch.undo()
    assert torch.equal(images, expected(photos))


Usage = namedtuple("Usage", "total used free")


def test_space_on_the_disk_is_checked_before(photos, cache, decoded, monkeypatch):
    needed = COUNT * 3 * SIZE**2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, needed - 1))
    with pytest.raises(DataError, match=r"20 pictures of 8 x 8 pixels take .* are free; free some"):
        load(photos, cache)
    assert not decoded
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, needed))
    load(photos, cache)
    # What is there already needs no more space, also if it is to be decoded again.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 0))
    os.utime(photos / "0.png", ns=(0, 5))
    load(photos, cache)
    assert len(decoded) == COUNT + 1


def test_a_disk_that_becomes_full(photos, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_store._Store, "_make_files", full)
    with pytest.raises(DataError, match="cannot be kept here .*No space left.*; free some space"):
        load(photos, cache)


def test_a_cache_that_is_no_folder(photos, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be kept here .*choose another cache folder"):
        load(photos, tmp_path / "file")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_bad_pictures_are_named(photos, cache, cached, workers):
    for i in (2, 3, 17):
        (photos / names()[i]).write_bytes(b"no picture")
    (photos / names()[3]).unlink()
    with pytest.raises(DataError) as caught:
        load(
            photos,
            cache if cached else None,
            workers=workers,
            places=[f"table.csv, row {i + 2}" for i in range(COUNT)],
        )
    first, *lines = str(caught.value).splitlines()
    assert first == "3 of 20 pictures cannot be read:"
    assert len(lines) == 3
    for line, i, reason in zip(
        lines, (2, 3, 17), ("not a readable picture", "no such file", "not a read"), strict=True
    ):
        assert line.startswith(f"  table.csv, row {i + 2}: {photos / names()[i]}: {reason}")


def test_of_many_bad_pictures_ten_are_named_and_the_good_ones_kept(photos, cache, decoded):
    for name in names()[5:17]:
        (photos / name).write_bytes(b"no picture")
    with pytest.raises(DataError, match="12 of 20 pictures cannot be read:") as caught:
        load(photos, cache)
    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  and 2 more"
    assert names()[14] in lines[-2]
    decoded.clear()
    for name in names()[5:16]:
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(photos / name)
    with pytest.raises(DataError, match=rf"^{photos / names()[16]}: not a readable picture"):
        load(photos, cache)
    assert decoded == [Path(name).name for name in names()[5:17]]


def test_an_empty_file_is_not_taken_for_a_finished_picture(photos, cache):
    (photos / "0.png").write_bytes(b"")
    os.utime(photos / "0.png", ns=(0, 0))
    for _ in range(2):
        with pytest.raises(DataError, match=r"0\.png: not a readable picture"):
            load(photos, cache)


def test_no_pictures(photos, cache):
    assert load(photos, cache, []).shape == (0, 3, SIZE, SIZE)


def test_bad_arguments(photos):
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        decode_pictures(photos, names(), 0, cache=None)
    with pytest.raises(ValueError, match="workers must be at least 0, got -1"):
        load(photos, None, workers=-1)


def test_a_killed_worker_is_reported(photos, cache, monkeypatch):
    def killed(path, size):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(picture_store, "read_image", killed)
    with pytest.raises(RuntimeError, match="loads pictures ended unexpectedly .*or workers=0"):
        load(photos, cache, workers=1)


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert picture_store.picture_cache() == tmp_path / "dldl_fast" / "pictures"
