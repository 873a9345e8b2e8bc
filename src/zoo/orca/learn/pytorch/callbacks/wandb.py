"""Weights & Biases from rank 0."""

from __future__ import annotations

from typing import Any

from zoo.engine.errors import MissingDependency
from zoo.engine.optional import installed
from zoo.orca.learn.pytorch.callbacks.base import Callback


class WandbLoggerCallback(Callback):
    """Logs the numbers of each epoch.

    Args:
        project: the project's name.
        log_config: whether the estimator's config is logged.
        watch_model: whether gradients are logged too (``wandb.watch``).
        **kwargs: for ``wandb.init``.
    """

    def __init__(self, project: str, log_config: bool = False, watch_model: bool = False, **kwargs: Any) -> None:
        self.project = project
        self.log_config = log_config
        self.watch_model = watch_model
        self.kwargs = kwargs
        self._run: Any = None

    def before_run(self, runner: Any) -> None:
        """Starts the run there."""
        if runner.rank != 0:
            return
        if not installed("wandb"):
            raise MissingDependency("WandbLoggerCallback needs 'wandb'. Install it with: pip install wandb")
        import wandb

        config = {"config": dict(runner.config)} if self.log_config else {}
        self._run = wandb.init(project=self.project, **config, **self.kwargs)
        if self.watch_model:
            wandb.watch(runner.model)

    def after_train_epoch(self, runner: Any) -> None:
        """Logs the epoch's numbers, validation included."""
        if self._run is not None:
            self._run.log(dict(runner.epoch_stats), step=runner.epochs)

    def after_run(self, runner: Any) -> None:
        """Ends the run there."""
        if self._run is not None:
            self._run.finish()
            self._run = None
