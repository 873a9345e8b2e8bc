"""The hooks that a callback may have.

Owns: their names and what calls what.
Leaves: what `runner` holds (`zoo.engine.frameworks.torch.runner.Runner`), when hooks are called (the engine).
"""

from __future__ import annotations

from typing import Any


class Callback:
    """Base of callbacks: every hook does nothing, or calls the more general one. Each takes the `Runner`.

    Callbacks run on every rank; write files on rank 0 only (``runner.rank == 0``). ``runner.stop()`` ends the run.
    """

    def before_run(self, runner: Any) -> None:
        """Before the first epoch of a run."""

    def after_run(self, runner: Any) -> None:
        """After its last."""

    def before_epoch(self, runner: Any) -> None:
        """Before an epoch of any kind."""

    def after_epoch(self, runner: Any) -> None:
        """After an epoch of any kind."""

    def before_iter(self, runner: Any) -> None:
        """Before a batch of any kind."""

    def after_iter(self, runner: Any) -> None:
        """After a batch of any kind."""

    def before_train_epoch(self, runner: Any) -> None:
        """Before a training epoch."""
        self.before_epoch(runner)

    def before_val_epoch(self, runner: Any) -> None:
        """Before the validation data are scored."""
        self.before_epoch(runner)

    def before_pred_epoch(self, runner: Any) -> None:
        """Before data are predicted."""
        self.before_epoch(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """After a training epoch and its validation; ``runner.epoch_stats`` is filled."""
        self.after_epoch(runner)

    def after_val_epoch(self, runner: Any) -> None:
        """After the validation data were scored; ``runner.epoch_stats`` holds the results."""
        self.after_epoch(runner)

    def after_pred_epoch(self, runner: Any) -> None:
        """After data were predicted."""
        self.after_epoch(runner)

    def before_train_iter(self, runner: Any) -> None:
        """Before the forward pass; ``runner.batch`` is on the device and may be replaced."""
        self.before_iter(runner)

    def before_val_iter(self, runner: Any) -> None:
        """Before a batch is scored."""
        self.before_iter(runner)

    def before_pred_iter(self, runner: Any) -> None:
        """Before a batch is predicted."""
        self.before_iter(runner)

    def after_train_iter(self, runner: Any) -> None:
        """After the weights have changed."""
        self.after_iter(runner)

    def after_val_iter(self, runner: Any) -> None:
        """After a batch was scored."""
        self.after_iter(runner)

    def after_pred_iter(self, runner: Any) -> None:
        """After a batch was predicted."""
        self.after_iter(runner)

    def every_n_iter(self, runner: Any, n: int) -> bool:
        """Whether the batch just done is the n-th, 2n-th, ... of its epoch; never for n < 1."""
        return n > 0 and (runner.batch_idx + 1) % n == 0

    def every_n_epoch(self, runner: Any, n: int) -> bool:
        """Whether the n-th, 2n-th, ... epoch has just ended (in after_train_epoch); never for n < 1."""
        return n > 0 and runner.epochs > 0 and runner.epochs % n == 0
