"""A training's curves for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from dldl_fast.data.base import MissingExtraError
from dldl_fast.training.engine import Callback, EpochRecord


class TensorBoardLog(Callback):
    """Writes the loss of every step, and scores and learning rate of every epoch.

    Args:
        folder: for TensorBoard's files; made if missing.

    Raises:
        MissingExtraError: if tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "TensorBoard's files need the package 'tensorboard'; "
                "run: pip install 'dldl_fast[tensorboard]'"
            ) from error
        self._make_writer = SummaryWriter
        self._folder = folder

    def on_start(self, epochs: int, steps_per_epoch: int, done: int) -> None:
        """Open the file; of a training resumed, what came after its last epoch is hidden."""
        self._step = done * steps_per_epoch
        self._writer = self._make_writer(str(self._folder), purge_step=self._step or None)

    def on_step(self, loss: float) -> None:
        """Write the loss of a step."""
        self._step += 1
        self._writer.add_scalar("loss/step", loss, self._step)

    def on_epoch(self, record: EpochRecord) -> None:
        """Write the scores of an epoch, at the number of its last step."""
        self._writer.add_scalar("loss/train", record.train_loss, self._step)
        for name, value in record.scores.items():
            self._writer.add_scalar(f"held_out/{name}", value, self._step)
        self._writer.add_scalar("learning_rate", record.learning_rate, self._step)
        self._writer.flush()
