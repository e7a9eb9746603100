"""The page itself, and the server that shows it on this machine alone."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

from dldl_fast.data.base import MissingExtraError
from dldl_fast.demo.answer import answer, message
from dldl_fast.prediction import AgeEstimator

ADDRESS = "127.0.0.1"
"""Other machines cannot reach it."""

MAX_UPLOAD = 50 * 2**20
"""Bytes of a photo; larger ones are refused while they are sent."""

_SECONDS_KEPT = 600
"""How long a photo that nobody asked about stays."""

_NOTICE = """
<aside class="notice"><strong>What these numbers are not for.</strong> They are guesses from looks:
often wrong by years, and more so for some groups of people than for others. Do not use them to
decide anything about a person, such as access, work, school, credit, policing or whether somebody
is of age, nor to rate people by their looks. Use photos of people who agreed to it. More in
docs/ethics.md.</aside>
"""

_WAITING = '<p class="waiting">Values appear here once there is a photo.</p>'

_CSS = """
.gradio-container {max-width: 1080px !important; margin: 0 auto !important}
.html-container {padding: 0 !important}
.intro h1 {font-size: 1.6rem; font-weight: 650; margin: .4rem 0 .2rem}
.intro p {margin: 0; opacity: .8}
.notice {margin: .9rem 0 0; padding: .7rem 1rem; border-left: 4px solid #d29922;
  border-radius: 4px; background: #fff8dc; color: #3d2f00; font-size: .92rem; line-height: 1.45}
/* Gradio's links to its API and to its makers; and the photo, which is deleted by then. */
footer {display: none !important}
#photo .download {visibility: hidden}
.notice strong {color: inherit}
.message {padding: .7rem 1rem; border-left: 4px solid #cf222e; border-radius: 4px;
  background: #ffebe9; color: #4c0a10}
.waiting {opacity: .7; text-align: center; padding: 1.2rem 0}
.answer {color: #1f2328}
.answer .photo img {display: block; margin: 0 auto; max-width: 100%; max-height: 460px;
  border-radius: 8px}
.answer h2 {font-size: 1.15rem; font-weight: 600; margin: 1.1rem 0 .5rem;
  color: var(--body-text-color)}
.answer .face {display: grid; grid-template-columns: 200px 200px minmax(0, 1fr); gap: 1.1rem;
  align-items: start; padding: 1rem; margin-bottom: .8rem; background: #fff;
  border: 1px solid #d1d9e0; border-radius: 8px}
.answer figure {margin: 0}
.answer figure img {width: 200px; height: 200px; border-radius: 6px; display: block}
.answer figcaption {font-size: .82rem; color: #59636e; text-align: center; margin-top: .35rem}
.answer .value {font-size: 1.15rem; margin: 0; color: #1f2328}
.answer .value strong {font-size: 1.9rem; font-weight: 650; color: #1f2328}
.answer .interval {margin: 0 0 .3rem; color: #59636e}
.answer .numbers img {width: 100%; max-width: 440px}
.answer .explained {font-size: .85rem; opacity: .8; color: var(--body-text-color)}
@media (max-width: 720px) {.answer .face {grid-template-columns: 1fr 1fr}
  .answer .numbers {grid-column: 1 / -1} .answer figure img {width: 100%; height: auto}}
"""


_HEADERS = {
    # The browser asks no other machine for anything, whatever the page holds.
    b"content-security-policy": b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
    b"referrer-policy": b"no-referrer",
}

_Message = MutableMapping[str, Any]


class _Headers:
    """Puts `_HEADERS` into every response."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        async def send_more(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS.items()]
            await send(message)

        await self._app(scope, receive, send_more)


@contextmanager
def serving(estimator: AgeEstimator, name: str, port: int) -> Iterator[str]:
    """The demo page, served on this machine alone until the context ends.

    A photo is deleted as soon as it has been read; whatever else may have been sent, at the latest
    at the end.

    Args:
        estimator: with ``several="all"`` and ``no_face="skip"``.
        name: of the model, to be shown.
        port: 0 takes any free one.

    Yields:
        The page's address.

    Raises:
        MissingExtraError: if gradio is not installed.
        OSError: if the port is taken.
    """
    try:
        with socket.create_server((ADDRESS, port)) as listening:
            port = listening.getsockname()[1]
    except OSError as error:
        raise OSError(
            f"cannot listen on port {port} ({error}); choose another one, or 0 for any free one"
        ) from error
    with tempfile.TemporaryDirectory(prefix="dldl-fast-demo-") as folder:
        gradio = _gradio(folder)
        from starlette.middleware import Middleware  # gradio brings it
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        page = _page(gradio, estimator, name, Path(folder))
        page.launch(
            server_name=ADDRESS,
            server_port=port,
            share=False,
            inline=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MAX_UPLOAD,
            theme=gradio.themes.Default(
                primary_hue="amber",
                font=["system-ui", "sans-serif"],
                font_mono=["ui-monospace", "monospace"],
            ),
            css=_CSS,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            app_kwargs={
                "middleware": [
                    # A page of another site could otherwise reach this one under a name of its own.
                    Middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"]),
                    Middleware(_Headers),
                ]
            },
        )
        try:
            yield f"http://{ADDRESS}:{port}/"
        finally:
            page.close(verbose=False)


def answered(estimator: AgeEstimator, folder: Path, photo: str | None) -> str:
    """The answer to a photo, which is deleted.

    Args:
        estimator: as for `serving`.
        folder: where photos that were sent are; no other file is read or deleted.
        photo: the file; None: there is none now.
    """
    if photo is None:
        return _WAITING
    path = Path(photo)
    if not path.resolve().is_relative_to(folder.resolve()):
        return message(f"{path.name}: not a file that was sent to this page")
    try:
        return answer(estimator, path)
    finally:
        path.unlink(missing_ok=True)


def _page(gradio: ModuleType, estimator: AgeEstimator, name: str, folder: Path) -> Any:
    spec = estimator.spec
    about = (
        f"{type(estimator.model).__name__} from {name}, labels from {spec.label_min:g} to "
        f"{spec.label_max:g} {spec.unit}"
    )
    with gradio.Blocks(
        title="dldl_fast demo", analytics_enabled=False, delete_cache=(60, _SECONDS_KEPT)
    ) as page:
        gradio.HTML(
            '<header class="intro"><h1>Faces, values, distributions</h1>'
            f"<p>{escape(about)}. The photo stays on this machine and is not kept.</p>"
            f"{_NOTICE}</header>"
        )
        photo = gradio.File(label="Photo", height=150, elem_id="photo")
        result = gradio.HTML(_WAITING, elem_id="result")
        photo.change(
            partial(answered, estimator, folder),
            photo,
            result,
            api_visibility="private",
            show_progress="minimal",
        )
    return page


def _gradio(folder: str) -> ModuleType:
    # It has no arguments for some of these, and reads them while it is imported.
    os.environ["GRADIO_TEMP_DIR"] = folder
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError(
            "the demo page needs the package 'gradio'; run: pip install 'dldl_fast[demo]'"
        ) from error
    module: ModuleType = gradio
    return module
