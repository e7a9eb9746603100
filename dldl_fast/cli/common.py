"""What the commands share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import typer
from rich.console import Console
from rich.markup import escape
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


@contextmanager
def reported(*errors: type[Exception]) -> Iterator[None]:
    """End the command with a message and status 1 at one of these errors, with 130 at Ctrl-C.

    A missing package and a file that cannot be read or written are always among them.
    """
    stderr = Console(stderr=True)
    try:
        yield
    except KeyboardInterrupt:
        stderr.print("Interrupted.")
        raise typer.Exit(130) from None
    except Exception as error:
        if not isinstance(error, (*errors, OptionError, ImportError, OSError)):
            raise
        stderr.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None
