"""Files of weights, as `torch.save` writes them, for use outside zoo.

To resume a run after a failure no callback is needed: give the estimator a model_dir.
"""

from __future__ import annotations

import re
import string
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.orca.learn.pytorch.callbacks.base import Callback

_FIELDS = {"epoch", "iter", "global_step"}


class ModelCheckpoint(Callback):
    """Saves on rank 0: each file appears whole or not at all.

    Args:
        filepath: a path or fsspec URL; may hold ``{epoch}``, ``{iter}`` (batches done in the epoch) and
            ``{global_step}``, with formats, e.g. ``ckpts/model-{epoch:03d}.pt``. A name without any of them gets
            ``-epoch={epoch}`` or ``-step={global_step}``, a directory (empty, or ending with "/") ``checkpoint-...``.
        save_weights_only: the model's state_dict alone; else a dict of model, optimizer, scheduler and progress.
        by_epoch: whether `interval` counts epochs or batches of an epoch.
        interval: how often; -1 for never. The last state is saved in any case, as ``last`` + the suffix.
    """

    def __init__(
        self, filepath: str = "", save_weights_only: bool = False, by_epoch: bool = True, interval: int = -1
    ) -> None:
        unknown = {name for _, name, _, _ in string.Formatter().parse(filepath) if name is not None} - _FIELDS
        if unknown:
            raise UsageError(
                f"filepath may hold {{epoch}}, {{iter}} and {{global_step}}. Received: {', '.join(sorted(unknown))}"
            )
        if interval != -1 and interval < 1:
            raise UsageError(f"interval must be at least 1, or -1 for never. Received: {interval}")
        self.filepath = filepath
        self.save_weights_only = save_weights_only
        self.by_epoch = by_epoch
        self.interval = interval

    def before_run(self, runner: Any) -> None:
        """Makes the directory, so that a place that cannot be written to is known before the first step."""
        if runner.rank == 0:
            storage.make_dirs(self._folder or ".")

    def after_train_iter(self, runner: Any) -> None:
        """Saves every so many batches."""
        if not self.by_epoch and self.every_n_iter(runner, self.interval):
            self._save(runner, self._path(runner))

    def after_train_epoch(self, runner: Any) -> None:
        """Saves every so many epochs."""
        if self.by_epoch and self.every_n_epoch(runner, self.interval):
            self._save(runner, self._path(runner))

    def after_run(self, runner: Any) -> None:
        """Saves what the run has come to."""
        self._save(runner, f"{self._folder}last{self._suffix}")

    @classmethod
    def get_latest_checkpoint(cls, dirname: str) -> str:
        """The newest checkpoint file in a directory.

        Raises:
            FileNotFoundError: there is none.
        """
        files = [path for path in Path(dirname).iterdir() if path.is_file() and path.suffix in (".pt", ".ckpt", ".pth")]
        if not files:
            raise FileNotFoundError(f"no checkpoint (*.pt, *.ckpt, *.pth) in {dirname}")
        return str(max(files, key=lambda path: (path.stat().st_mtime_ns, _numbers(path.name))))

    @property
    def _folder(self) -> str:
        """With a "/" at its end; empty for the working directory."""
        return self.filepath[: self.filepath.rfind("/") + 1]

    @property
    def _name(self) -> PurePosixPath:
        return PurePosixPath(self.filepath[len(self._folder) :])

    @property
    def _suffix(self) -> str:
        return self._name.suffix or ".ckpt"

    def _path(self, runner: Any) -> str:
        values = {"epoch": runner.epochs, "iter": runner.batch_idx + 1, "global_step": runner.global_step}
        if any(field is not None for _, field, _, _ in string.Formatter().parse(self.filepath)):
            return self.filepath.format(**values)
        when = f"epoch={runner.epochs}" if self.by_epoch else f"step={runner.global_step}"
        return f"{self._folder}{self._name.stem or 'checkpoint'}-{when}{self._suffix}"

    def _save(self, runner: Any, path: str) -> None:
        if runner.rank == 0:
            runner.save_checkpoint(path, save_weights_only=self.save_weights_only)


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]
