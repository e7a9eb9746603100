"""What a training writes after every epoch, and how it goes on from there."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dldl_fast.data.base import DataError
from dldl_fast.files import replace_file
from dldl_fast.models import LabelDistributionNet
from dldl_fast.training.engine import Callback, EpochRecord, Training, TrainingResult
from dldl_fast.training.processes import Processes

LAST_NAME = "last"
HISTORY_NAME = "history.csv"
STATE_NAME = "training.pt"


def write_state(folder: Path, state: dict[str, Any], made_with: Mapping[str, object]) -> None:
    """Write a training's state, and what it was made with, into an existing folder."""
    content = {"state": state, "made_with": {key: str(value) for key, value in made_with.items()}}
    replace_file(folder / STATE_NAME, lambda path: torch.save(content, path))


def read_state(folder: Path, made_with: Mapping[str, object]) -> dict[str, Any]:
    """Read what `write_state` wrote; nothing is unpickled.

    Raises:
        DataError: if there is none, it is damaged, or it was made with something else; the message
            says what differs.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        raise DataError(f"{path}: no such file; start the training without --resume")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state, before = dict(content["state"]), dict(content["made_with"])
    # Damaged files make torch raise almost anything.
    except Exception as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: no state of a training ({first_line})") from error
    now = {key: str(value) for key, value in made_with.items()}
    differing = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differing:
        raise DataError(
            f"{path}: of another training: {'; '.join(differing)}; give the same options, or start "
            "anew without --resume"
        )
    return state


def write_history(folder: Path, history: Sequence[EpochRecord]) -> None:
    """Write ``history.csv``, one row per epoch."""
    rows = []
    for record in history:
        row = dataclasses.asdict(record)
        row |= row.pop("scores")
        rows.append(row)

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]) if rows else [])
            table.writeheader()
            table.writerows(rows)

    replace_file(folder / HISTORY_NAME, write)


class EpochWriter(Callback):
    """Writes checkpoints, state and history after every epoch.

    Args:
        training: that it is told about.
        out: existing folder for the best checkpoint and the history; ``out/last`` has the last
            checkpoint and the state.
        made_with: what must be the same for the training to go on.
        network: the network to save, of the training as it is.
    """

    def __init__(
        self,
        training: Training,
        out: Path,
        made_with: Mapping[str, object],
        network: Callable[[Training], LabelDistributionNet],
    ) -> None:
        self._training = training
        self._out = out
        self._made_with = made_with
        self._network = network

    def on_epoch(self, record: EpochRecord) -> None:
        """Write what is known after an epoch."""
        network, last = self._network(self._training), self._out / LAST_NAME
        if self._training.is_best:
            network.save_pretrained(self._out)
        network.save_pretrained(last)  # makes the folder
        write_history(self._out, self._training.result.history)
        # Last: when the state is there, so are the files that go with it.
        write_state(last, self._training.state_dict(), self._made_with)


def run_written(
    training: Training,
    out: Path,
    made_with: Mapping[str, object],
    network: Callable[[Training], LabelDistributionNet],
    *,
    callbacks: Sequence[Callback],
    resume: bool,
    processes: Processes,
) -> TrainingResult:
    """Run a training whose epochs the first process writes.

    Args:
        training: not yet run.
        out: folder for what `EpochWriter` writes; made if missing.
        made_with: what must be the same for the training to go on.
        network: the network to save, of the training as it is.
        callbacks: told about every step and epoch after the writer.
        resume: go on after the last epoch that ``out`` has.
        processes: this process among the others.

    Raises:
        DataError: if there is nothing to resume, or it is another training.
        KeyboardInterrupt: if Ctrl-C came before the first step.
    """
    if resume:
        training.load_state_dict(read_state(out / LAST_NAME, made_with))
    writers: list[Callback] = []
    if processes.is_first:
        out.mkdir(parents=True, exist_ok=True)
        writers.append(EpochWriter(training, out, made_with, network))
    steps_before = training.result.steps
    result = training.run([*writers, *callbacks])
    if result.interrupted and result.steps == steps_before:
        raise KeyboardInterrupt
    return result
