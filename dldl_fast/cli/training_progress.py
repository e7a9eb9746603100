"""The progress of a training on the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.progress import Progress

from dldl_fast.training import Callback, EpochRecord


class TrainingProgress(Callback):
    """A bar over all steps, and a line for every finished epoch.

    Args:
        progress: where the bar is drawn.
        describe: what the line says of an epoch's scores.
    """

    def __init__(self, progress: Progress, describe: Callable[[EpochRecord], str]) -> None:
        self._progress = progress
        self._describe = describe

    def on_start(self, epochs: int, steps_per_epoch: int, done: int) -> None:
        """Begin the bar, where an earlier run has ended."""
        self._epochs = epochs
        if done:
            self._progress.console.print(f"going on after epoch {done}", highlight=False)
        self._task = self._progress.add_task(
            "training", total=epochs * steps_per_epoch, completed=done * steps_per_epoch, loss=""
        )

    def on_step(self, loss: float) -> None:
        """Move the bar."""
        self._progress.update(self._task, advance=1, loss=f"loss {loss:.3f}")

    def on_epoch(self, record: EpochRecord) -> None:
        """Print the line."""
        width = len(str(self._epochs))
        self._progress.console.print(
            f"epoch {record.epoch:>{width}}/{self._epochs}  loss {record.train_loss:.3f}  "
            f"{self._describe(record)}  {record.seconds:.0f} s",
            highlight=False,
        )
