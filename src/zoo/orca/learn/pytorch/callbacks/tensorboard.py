"""TensorBoard curves written from rank 0.

The estimator's `set_tensorboard` needs no callback.
"""

from __future__ import annotations

import os
from typing import Any

from zoo.engine.errors import UsageError
from zoo.orca.learn.pytorch.callbacks.base import Callback


class TensorBoardCallback(Callback):
    """Writes the numbers of each epoch, and of each batch if asked to.

    Args:
        log_dir: where; by default ``tensorboard`` in the working directory of rank 0.
        freq: ``"epoch"``, ``"batch"``, or a whole number n: every n batches.
        **kwargs: for `torch.utils.tensorboard.SummaryWriter`.
    """

    def __init__(self, log_dir: str | None = None, freq: str | int = "epoch", **kwargs: Any) -> None:
        number = isinstance(freq, int) and not isinstance(freq, bool) and freq > 0
        if freq not in ("epoch", "batch") and not number:
            raise UsageError(f"freq must be 'epoch', 'batch' or a number of batches, at least 1. Received: {freq!r}")
        self.log_dir = log_dir
        self.freq = freq
        self.kwargs = kwargs
        self._writer: Any = None

    def before_run(self, runner: Any) -> None:
        """Opens the log."""
        if runner.rank == 0:
            self._writer = runner.summary_writer(
                self.log_dir or os.path.join(os.getcwd(), "tensorboard"), **self.kwargs
            )

    def after_train_iter(self, runner: Any) -> None:
        """Writes this rank's loss of the batch and the rate."""
        every = 1 if self.freq == "batch" else self.freq
        if self._writer is None or every == "epoch" or not self.every_n_iter(runner, int(every)):
            return
        self._writer.add_scalar("train_loss", float(runner.loss), runner.global_step)
        self._writer.add_scalar("learning_rate", runner.optimizer.param_groups[0]["lr"], runner.global_step)

    def after_train_epoch(self, runner: Any) -> None:
        """Writes the epoch's numbers, validation included."""
        if self._writer is None:
            return
        for name, value in runner.epoch_stats.items():
            if name not in ("epoch", "batch_count", "num_samples"):
                self._writer.add_scalar(name, value, runner.epochs)
        self._writer.flush()

    def after_run(self, runner: Any) -> None:
        """Closes the log."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
