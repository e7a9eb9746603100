"""The progress of a reproduction on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import Progress

from dldl_fast.cli.training_progress import TrainingProgress
from dldl_fast.reproduction import Watch
from dldl_fast.training import Callback

if TYPE_CHECKING:
    from dldl_fast.comparison import Progress as RunProgress


class ReproductionProgress(Watch):
    """A bar for every training, comparison and other work.

    Args:
        progress: where the bars are drawn.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_training(self, title: str) -> Sequence[Callback]:
        """Print what is trained; a bar over its steps, a line for every epoch."""
        self._progress.console.print(f"[bold]{escape(title)}[/]", highlight=False)
        return [TrainingProgress(self._progress, lambda record: f"MAE {record.scores['mae']:.2f}")]

    def on_comparison(self) -> RunProgress:
        """A bar over the runs."""
        from dldl_fast.cli.compare import ComparisonProgress  # needs scikit-learn

        return ComparisonProgress(self._progress)

    def on_work(self, title: str) -> Callable[[int, int], None]:
        """A bar over the parts of the work."""
        task = self._progress.add_task(title, total=None, loss="")
        return lambda done, total: self._progress.update(task, completed=done, total=total)
