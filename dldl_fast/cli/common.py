"""What the commands share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class OptionError(ValueError):
    """Options that make no sense, alone or together."""


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """A progress bar, not drawn where the output goes to a file or a pipe.

    Its tasks have a field ``loss``, a text at the end of the line.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[loss]}"),
        console=console,
        transient=True,
    )
    with progress if console.is_interactive else nullcontext():
        yield progress


def file_name(name: str) -> str:
    """The name without characters that a file name should not have.

    Example:
        >>> file_name("my faces/2")
        'my_faces_2'
    """
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "data"
