"""The command `dldl-fast align`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dldl_fast.cli.common import OptionError, progress_bar, reported

if TYPE_CHECKING:
    from dldl_fast.faces.align_job import AlignSummary
    from dldl_fast.faces.manifest import ManifestRow

_SHOWN = 10
"""So many skipped photos, and so many reasons, are printed; the manifest has all."""


def align(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A folder, with folders in it; a CSV file with a column path, relative to its "
            "folder; or a photo.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", help="Folder for the crops and manifest.csv.", file_okay=False
        ),
    ],
    no_face: Annotated[
        Literal["whole", "skip", "error"],
        typer.Option(
            help="Photo without a face: take the square in its middle, or no crop; with error the "
            "exit status is 1 in the end, too."
        ),
    ] = "whole",
    several: Annotated[
        Literal["largest", "all"], typer.Option(help="Photo with several faces: which to take.")
    ] = "largest",
    size: Annotated[
        int, typer.Option(min=16, max=4096, help="Height and width of the crops in pixels.")
    ] = 224,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder with pnet.pt, rnet.pt and onet.pt. Default: what "
            "dldl-fast weights mtcnn has fetched.",
            file_okay=False,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="For finding faces: auto, cpu, cuda, cuda:1, ...")
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that read, and that write. Default: number of cores."),
    ] = None,
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside", help="Take photos outside the folder of INPUT that it names, too."
        ),
    ] = False,
) -> None:
    """Find faces in photos, turn and scale them, and write a crop of each.

    The crop of a/b.jpg is a/b.jpg.png. manifest.csv has a row for every crop, with box, landmarks
    and score, and for every photo without one, with the reason. After Ctrl-C (exit status 130) or a
    crash the same command goes on where it was. The exit status is 1 if there is no crop at all.
    """
    from dldl_fast.data.base import DataError
    from dldl_fast.data.photos import photos
    from dldl_fast.faces import NO_FACE, FaceDetector, align_photos
    from dldl_fast.models import CheckpointError
    from dldl_fast.processor import usable_device
    from dldl_fast.resume import ResumeError

    console = Console()
    with reported(OptionError, DataError, CheckpointError, ResumeError):
        if source.resolve() == out.resolve():
            raise OptionError(f"OUTPUT must be another folder than INPUT, got {out} for both")
        total = sum(1 for _ in photos(source, allow_outside=allow_outside, leave_out=out))
        if not total:
            raise DataError(f"{source}: holds no photos")
        try:
            where = usable_device(device)
        except ValueError as error:
            raise OptionError(f"--device: {error}") from error
        detector = (
            FaceDetector.from_cache(device=where)
            if weights is None
            else FaceDetector.from_folder(weights, device=where)
        )
        with progress_bar(console) as progress, warnings.catch_warnings():
            # What Pillow has to remark on a photo that it can read.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            task = progress.add_task("aligning", total=total, loss="")
            skipped = 0

            def on_photo(rows: Sequence[ManifestRow]) -> None:
                nonlocal skipped
                progress.advance(task)
                if rows[0].status == "skipped":
                    skipped += 1
                    if skipped <= _SHOWN:
                        console.print(
                            f"{escape(rows[0].source)}: {escape(rows[0].reason)}", highlight=False
                        )
                    elif skipped == _SHOWN + 1:
                        console.print("More are skipped; manifest.csv has all.")

            summary = align_photos(
                source,
                out,
                detector,
                no_face=no_face,
                several=several,
                size=size,
                allow_outside=allow_outside,
                workers=workers or len(os.sched_getaffinity(0)),
                on_photo=on_photo,
            )
        _print_summary(console, summary, out)
        if not summary.crops or (no_face == "error" and summary.reasons[NO_FACE]):
            raise typer.Exit(1)


def _print_summary(console: Console, summary: AlignSummary, out: Path) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("photos", justify="right")
    table.add_column("")
    table.add_column("such as")
    table.add_row(f"{summary.statuses['aligned']:,}", "aligned")
    if summary.statuses["whole"]:
        table.add_row(f"{summary.statuses['whole']:,}", "taken whole, no face found")
    for reason, count in summary.reasons.most_common(_SHOWN):
        table.add_row(f"{count:,}", f"skipped: {escape(reason)}", escape(summary.examples[reason]))
    others = sum(summary.reasons.values()) - sum(
        count for _, count in summary.reasons.most_common(_SHOWN)
    )
    if others:
        table.add_row(f"{others:,}", "skipped for other reasons")
    console.print(table)
    kept = f"; {summary.kept:,} photos were done before" if summary.kept else ""
    console.print(
        f"{summary.crops:,} crops and manifest.csv in {escape(str(out))}{kept}", highlight=False
    )
