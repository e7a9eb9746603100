"""The page as a process, asked by plain requests and by a browser."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dldl_fast.faces import FaceDetector
from dldl_fast.prediction import AgeEstimator
from tests.demo.browser import PATIENCE, ask, chromium, requests
from tests.prediction.conftest import FakeDetector, face, model, model_folder  # noqa: F401
from tests.prediction.test_with_mtcnn import orl, photo  # noqa: F401

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")
testing = pytest.importorskip("typer.testing", reason="the extra cli is not installed")

COMMAND = [sys.executable, "-c", "from dldl_fast.cli import main; main()"]


class Server(NamedTuple):
    address: str
    process: subprocess.Popen[str]
    temporary: Path


@pytest.fixture
def server(model_folder, mtcnn_weights, tmp_path) -> Iterator[Server]:  # noqa: F811
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    arguments = ["demo", "--model", model_folder, "--weights", mtcnn_weights, "--port", "0"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "2000", "PYTHONUNBUFFERED": "1"},
    )
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(
        target=lambda: [lines.put(line) for line in process.stdout], daemon=True
    ).start()
    printed = []
    try:
        while not printed or not printed[-1].startswith("Demo page: "):
            printed.append(lines.get(timeout=PATIENCE))
        yield Server(printed[-1].split()[2], process, temporary)
    except queue.Empty:
        pytest.fail(f"no page; printed: {printed}")
    finally:
        process.kill()
        process.wait()


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)


def upload(address: str, count: int) -> urllib.request.Request:
    """A file of so many bytes."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    return urllib.request.Request(
        f"{address}gradio_api/upload",
        data=head + bytes(count) + b"\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.slow
def test_server_is_for_this_machine_and_keeps_nothing(server):
    with urllib.request.urlopen(server.address, timeout=PATIENCE) as response:
        page = response.read().decode()
        policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self' ")
    assert "http" not in policy
    assert '"analytics_enabled":false' in page
    other = urllib.request.Request(server.address, headers={"Host": "other.example"})
    assert status(other) == 400
    port = int(server.address.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(OSError, match="refused"):  # on this address of this machine alone
        socket.create_connection(("127.0.0.2", port), timeout=5)

    assert status(upload(server.address, 1000)) == 200
    assert len(stored(server.temporary)) == 1
    assert status(upload(server.address, 50 * 2**20 + 1)) == 413
    assert len(stored(server.temporary)) == 1

    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0
    assert not stored(server.temporary)
    assert not list(server.temporary.glob("dldl-fast-demo-*"))


@pytest.mark.slow
def test_faces_in_a_browser(server, model, mtcnn_weights, orl, tmp_path):  # noqa: F811
    faces = tmp_path / "faces.jpg"
    photo(orl, ("s1/1.pgm", 340, 30, 276), ("s5/1.pgm", 40, 90, 184)).save(faces)
    estimator = AgeEstimator(
        model, detector=FaceDetector.from_folder(mtcnn_weights), several="all", device="cpu"
    )
    expected = [f"{one.value:.1f} ± {one.std:.1f} years" for one in estimator(faces)]
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with chromium() as browser:
        browser.get(server.address)
        for _ in range(2):  # the same photo again
            answer = ask(browser, faces)
            assert [
                line for line in answer.splitlines() if "±" in line and "years" in line
            ] == expected
            assert "2 faces, the largest first" in answer
            assert not stored(server.temporary)
        shown = browser.execute_script(
            "return [...document.querySelectorAll('#result img')].map(i => [i.alt, i.naturalWidth])"
        )
        assert [name for name, width in shown if width > 0] == [
            "the photo",
            *["aligned face", "score map", "predicted distribution"] * 2,
        ]
        assert ask(browser, text).startswith("text.png: not a readable picture")
        notice = browser.find_element("css selector", ".notice").text
        assert notice.startswith("What these numbers are not for.")
        assert "API" not in browser.find_element("css selector", "body").text  # gradio's footer
        asked = [one for one in requests(browser) if not one.startswith(("data:", "blob:"))]
    assert len(asked) > 3
    assert {one for one in asked if not one.startswith(server.address)} == set()


def invoke(*arguments: object):
    from dldl_fast.cli.app import app

    return testing.CliRunner().invoke(app, ["demo", *map(str, arguments)])


@pytest.fixture
def no_detector(monkeypatch):
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.setattr(FaceDetector, "from_cache", lambda **options: FakeDetector(face(5, 5, 40)))


def test_without_gradio_the_command_says_what_to_install(model_folder, no_detector, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = invoke("--model", model_folder)
    assert result.exit_code == 1
    assert "pip install 'dldl_fast[demo]'" in result.output


@pytest.mark.slow
def test_a_port_that_is_taken(model_folder, no_detector):  # noqa: F811
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("--model", model_folder, "--port", port)
    assert result.exit_code == 1
    assert f"cannot listen on port {port} (" in result.output
    assert "choose another one" in result.output


def test_a_model_that_is_not_there(no_detector, tmp_path):
    result = invoke("--model", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.output
