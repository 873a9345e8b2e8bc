"""A tqdm bar on rank 0.

The estimator shows its own progress without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zoo.engine.errors import MissingDependency
from zoo.engine.optional import installed
from zoo.orca.learn.pytorch.callbacks.base import Callback


def is_tqdm_exists(callbacks: Iterable[Any]) -> bool:
    """Whether one of the callbacks is a TqdmCallback."""
    return any(isinstance(callback, TqdmCallback) for callback in callbacks)


class TqdmCallback(Callback):
    """Shows batches and the loss, epoch by epoch."""

    def __init__(self) -> None:
        self._bar: Any = None

    def before_train_epoch(self, runner: Any) -> None:
        """Starts a bar."""
        self._start(runner, f"epoch {runner.epochs + 1}")

    def before_val_epoch(self, runner: Any) -> None:
        """Starts a bar."""
        self._start(runner, "validation")

    def after_train_iter(self, runner: Any) -> None:
        """One batch more."""
        self._advance(loss=f"{float(runner.loss):.4g}")

    def after_val_iter(self, runner: Any) -> None:
        """One batch more."""
        self._advance()

    def after_pred_iter(self, runner: Any) -> None:
        """One batch more."""
        self._advance()

    def after_train_epoch(self, runner: Any) -> None:
        """Ends the bar."""
        self._end()

    def after_val_epoch(self, runner: Any) -> None:
        """Ends the bar."""
        self._end()

    def after_run(self, runner: Any) -> None:
        """Ends the bar of an epoch that was not finished."""
        self._end()

    def _start(self, runner: Any, title: str) -> None:
        self._end()
        if runner.rank == 0:
            if not installed("tqdm"):
                raise MissingDependency("TqdmCallback needs 'tqdm'. Install it with: pip install tqdm")
            from tqdm import tqdm

            self._bar = tqdm(desc=title, unit="batch")

    def _advance(self, **shown: str) -> None:
        if self._bar is not None:
            self._bar.update(1)
            if shown:
                self._bar.set_postfix(shown)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
