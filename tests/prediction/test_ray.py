from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from dldl_fast.data import DataError
from dldl_fast.prediction import AgeEstimator
from dldl_fast.prediction.job import run_job
from tests.command_line import invoke
from tests.prediction.conftest import FakeDetector, face, picture

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
pytest.importorskip("typer.testing", reason="the extra cli is not installed")

COMMAND = [sys.executable, "-c", "from dldl_fast.cli import main; main()"]


@pytest.fixture(autouse=True)
def settings_of_the_terminal_and_ray(monkeypatch):
    monkeypatch.setenv("COLUMNS", "2000")  # no line breaks
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(autouse=True)
def one_thread():
    """As in the processes of a cluster: with more, some sums are in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two processes on this machine."""
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    pytest.importorskip("ray.data", reason="the extra ray is not installed")
    # Paths of sockets below it must be short.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "2")  # which the processes must not take over
        try:
            ray.init(
                "local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder
            )
            yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder(tmp_path):
    """Photos of which most have two faces, some none, and one cannot be read."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for number in range(45):
        name = f"sub/{number:02}.png" if number % 3 == 0 else f"{number:02}.png"
        Image.fromarray(picture(number, 60, 60)).save(root / name)
    Image.new("RGB", (60, 60)).save(root / "00b.png")
    (root / "20.jpg").write_bytes(b"nothing")
    return root


class NotingDetector(FakeDetector):
    """Notes the pictures that each process saw; slow with the first one, which is marked."""

    def __init__(self, notes: Path, *faces) -> None:
        super().__init__(*faces)
        self.notes = notes

    def __call__(self, pictures):
        with (self.notes / f"{os.getpid()}").open("a") as file:
            file.write(f"{torch.get_num_threads()}\n" * len(pictures))
        if any(tuple(one[0, 0]) == (1, 2, 3) for one in pictures):
            time.sleep(2)
        return super().__call__(pictures)


class DeadlyDetector(FakeDetector):
    """Ends the process at a picture that is marked."""

    def __call__(self, pictures):
        if any(tuple(one[0, 0]) == (1, 2, 3) for one in pictures):
            os._exit(1)
        return super().__call__(pictures)


class UnknownDetector(FakeDetector):
    """Of a library that the other machines do not have."""

    def __reduce__(self):
        return importlib.import_module, ("dldl_fast.of_tomorrow",)


class FaultyDetector(FakeDetector):
    def __call__(self, pictures):
        raise ZeroDivisionError("a fault")


def of_ours(output: str) -> list[str]:
    """Lines that are not from the C++ part of Ray, which cannot be silenced."""
    of_ray = (" core_worker.cc:", "(raylet)")
    return [line for line in output.splitlines() if not any(part in line for part in of_ray)]


def mark(path: Path) -> None:
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] = 1, 2, 3
    Image.fromarray(pixels).save(path)


def job(estimator, source, out, **options):
    return run_job(estimator, source, out, settings={"model": "m"}, **options)


def on_ray(estimator, source, out, *, batch_size, **options):
    from dldl_fast.prediction.ray_job import ray_cluster

    with ray_cluster(estimator, batch_size=batch_size) as predict_many:
        return job(estimator, source, out, predict_many=predict_many, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ray-address", "auto"], "--ray-address needs --ray"),
        (["--ray", "--device", "cuda"], "--ray predicts on CPUs, got --device cuda; leave it out"),
        (
            ["--ray", "--ray-address", "ray://head:10001"],
            "no Ray cluster at the address ray://head:10001 (expected auto, local or HOST:PORT)",
        ),
        (["--ray", "--ray-address", "head"], "address head (expected auto, local or HOST:PORT)"),
        (["--ray", "--ray-address", "127.0.0.1:1"], "at the address 127.0.0.1:1 ("),
    ],
)
def test_errors_are_one_message(model_folder, folder, tmp_path, arguments, message):
    """Before a cluster is there, see below."""
    pytest.importorskip("ray.data", reason="the extra ray is not installed")
    out = tmp_path / "out.csv"
    result = invoke(
        "predict", folder, "--model", model_folder, "--no-align", "--out", out, *arguments
    )
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert result.output.startswith("Error:")
    assert not out.exists()


@pytest.mark.slow
def test_the_rows_are_those_of_the_local_run(cluster, model, folder, tmp_path):
    first = sorted(path.name for path in folder.glob("*.png"))[0]
    mark(folder / first)
    notes = tmp_path / "notes"
    notes.mkdir()
    estimator = AgeEstimator(
        model,
        detector=NotingDetector(notes, face(5, 5, 40), face(30, 20, 20)),
        several="all",
        no_face="skip",
        device="cpu",
    )
    local, out = tmp_path / "local.csv", tmp_path / "ray.csv"
    # Not a multiple of the pictures that the detector is given at once.
    expected = job(estimator, folder, local, distribution=True, batch_size=11)
    (notes / f"{os.getpid()}").unlink()
    done = []
    found = on_ray(
        estimator, folder, out, distribution=True, batch_size=11, annotate=tmp_path / "drawn",
        progress=lambda: done.append(1),
    )  # fmt: skip
    assert out.read_bytes() == local.read_bytes()
    assert found == expected
    assert set(expected.statuses) == {"aligned", "skipped", "error"}
    assert len(done) == 47
    assert len(list((tmp_path / "drawn").rglob("*.jpg"))) == expected.statuses["aligned"]
    processes = {path.name: path.read_text().split() for path in notes.iterdir()}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes
    assert Counter(sum(processes.values(), [])) == {"1": 46}  # threads, of every picture


@pytest.mark.slow
def test_an_interrupted_local_job_goes_on_on_ray(cluster, model, folder, tmp_path, monkeypatch):
    """A table, JSON Lines, and more photos than one of Ray's jobs takes."""
    from dldl_fast.prediction import ray_job

    monkeypatch.setattr(ray_job, "_GROUPS_PER_PROCESS", 2)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*g"))
    table = folder / "table.csv"
    table.write_text("path\n" + "\n".join([*names, "missing.png", "../outside.png"]) + "\n")
    notes = tmp_path / "notes"
    notes.mkdir()
    estimator = AgeEstimator(model, detector=NotingDetector(notes, face(5, 5, 40)), device="cpu")
    local, out = tmp_path / "local.jsonl", tmp_path / "ray.jsonl"
    done = 0

    def stop():
        nonlocal done
        done += 1
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(estimator, table, local, distribution=True, batch_size=4, progress=stop)
    shutil.copy(local, out)
    shutil.copy(
        local.with_name(f".{local.name}.unfinished"), out.with_name(f".{out.name}.unfinished")
    )
    expected = job(estimator, table, local, distribution=True, batch_size=4)
    (notes / f"{os.getpid()}").unlink()
    found = on_ray(estimator, table, out, distribution=True, batch_size=4)
    assert found == expected
    assert found.done_before == 10
    assert out.read_bytes() == local.read_bytes()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["path"] for row in rows] == [*names, "missing.png", "../outside.png"]
    assert "missing.png: no such file" in rows[-2]["reason"]
    assert "table.csv, row 50: path must be relative" in rows[-1]["reason"]
    seen = sum(len(path.read_text().split()) for path in notes.iterdir())
    assert seen == len([name for name in names[10:] if name != "20.jpg"])


@pytest.mark.slow
def test_a_photo_that_ends_every_process(cluster, model, folder, tmp_path):
    mark(folder / "40.png")
    estimator = AgeEstimator(model, detector=DeadlyDetector(face(5, 5, 40)), device="cpu")
    out = tmp_path / "ray.csv"
    with pytest.raises(DataError, match=r"gives up at the photos from '\d\d.png' on: .* died 3"):
        on_ray(estimator, folder, out, batch_size=4)
    harmless = AgeEstimator(model, detector=FakeDetector(face(5, 5, 40)), device="cpu")
    local = tmp_path / "local.csv"
    job(harmless, folder, local, batch_size=4)
    rows = out.read_bytes()
    assert local.read_bytes().startswith(rows)
    assert rows.endswith(b"\n")
    assert b"40.png" not in rows
    # What was done stays.
    summary = on_ray(harmless, folder, out, batch_size=4)
    assert summary.done_before == rows.count(b"\n") - 1
    assert [line[:20] for line in out.read_text().splitlines()] == [
        line[:20] for line in local.read_text().splitlines()
    ]


@pytest.mark.slow
def test_processes_that_cannot_begin(cluster, model, folder, tmp_path):
    estimator = AgeEstimator(model, detector=UnknownDetector(), device="cpu")
    message = "from '00b.png' on: its processes cannot begin.*No module named 'dldl_fast.of_tomorr"
    with pytest.raises(DataError, match=message):
        on_ray(estimator, folder, tmp_path / "ray.csv", batch_size=4)


@pytest.mark.slow
def test_a_fault_of_the_estimator_is_shown_as_it_is(cluster, model, folder, tmp_path):
    estimator = AgeEstimator(model, detector=FaultyDetector(), device="cpu")
    from ray.exceptions import RayTaskError

    from dldl_fast.prediction.ray_job import ray_cluster

    with (
        pytest.raises(ConnectionError, match="connected to a Ray cluster already"),
        ray_cluster(estimator, address="local"),
    ):
        pass
    with pytest.raises(RayTaskError, match="ZeroDivisionError: a fault"):
        on_ray(estimator, folder, tmp_path / "ray.csv", batch_size=4)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_the_command_and_ctrl_c(model_folder, folder, tmp_path):
    """With a cluster of its own."""
    pytest.importorskip("ray.data", reason="the extra ray is not installed")
    table = folder / "many.csv"
    names = [f"{number:02}.png" for number in range(45) if number % 3]
    table.write_text("path\n" + "\n".join(names * 100) + "\n")
    out, local = tmp_path / "ray.csv", tmp_path / "local.csv"
    arguments = ["predict", table, "--model", model_folder, "--no-align", "--batch-size", 2]
    on_ray_ = [*COMMAND, *map(str, [*arguments, "--out", out, "--ray", "--ray-address", "local"])]
    process = subprocess.Popen(on_ray_, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not (out.exists() and out.stat().st_size > 2000):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, of_ours(output)) == (130, [])
    assert of_ours(errors) == ["Interrupted."]
    rows = out.read_bytes()
    assert rows.endswith(b"\n")
    done = rows.count(b"\n") - 1
    # So that the rest is short.
    table.write_text("path\n" + "\n".join((names * 100)[: done + 9]) + "\n")
    result = subprocess.run(on_ray_, capture_output=True, text=True, check=True)
    assert f"{done + 9} photos: 9 taken whole, {done} done before" in result.stdout
    assert of_ours(result.stderr) == []
    assert invoke(*arguments, "--out", local).exit_code == 0
    # The rows after the interruption were predicted in other groups.
    assert local.read_bytes().startswith(rows)
    paths = [[line.split(",")[0] for line in file.read_text().split("\n")] for file in (out, local)]
    assert paths[0] == paths[1]


def test_without_ray(model_folder, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "dldl_fast.prediction.ray_job", raising=False)
    result = invoke("predict", folder, "--model", model_folder, "--ray")
    assert result.exit_code == 1
    assert "Ray Data needs the package 'ray'; run: pip install 'dldl_fast[ray]'" in result.output


class CountingDetector(FakeDetector):
    """Finds as many of its faces as the first number of a picture says."""

    def __call__(self, pictures):
        return [self.faces[: one[0, 0, 0]] for one in pictures]


@pytest.mark.parametrize("batch_size", [1, 3, 8, 11, 32])
def test_parts_of_a_stream_give_the_same(model, batch_size):
    """Although the number of faces says where batches end."""
    from dldl_fast.prediction.estimator import pictures_together

    detector = CountingDetector(face(5, 5, 40), face(30, 20, 20), face(2, 2, 30))
    estimator = AgeEstimator(model, detector=detector, several="all", no_face="skip", device="cpu")
    pictures = [picture(number, 60, 60) for number in range(100)]
    for one, count in zip(pictures, np.random.default_rng(0).integers(0, 4, 100), strict=True):
        one[0, 0, 0] = count
    whole = list(estimator.predict_many(pictures, batch_size=batch_size))
    size = pictures_together(batch_size)
    assert batch_size <= size < batch_size + 8
    parts = []
    for first in range(0, 100, size):
        part = pictures[first : first + size]
        parts += estimator.predict_many(part, batch_size=batch_size, workers=0)
    for one, other in zip(whole, parts, strict=True):
        assert [p.value for p in one.predictions] == [p.value for p in other.predictions]
