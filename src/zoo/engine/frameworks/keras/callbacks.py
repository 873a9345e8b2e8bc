"""Keras callbacks on the ranks of a gang.

A callback that decides (EarlyStopping, ReduceLROnPlateau, LearningRateScheduler, a user's own) runs on every rank: it
sees the same numbers there, and so decides alike. One that writes somewhere runs on rank 0 only: those of Keras that
do, and each whose class says ``rank_zero_only = True``.

Owns: who hears what, the words of Keras for moments and numbers.
Leaves: when a moment has come (loop), what callbacks do (they themselves).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.engine.errors import UsageError, did_you_mean
from zoo.engine.progress import Progress

WRITERS = frozenset(
    {"BackupAndRestore", "CSVLogger", "ModelCheckpoint", "OrbaxCheckpoint", "ProgbarLogger", "RemoteMonitor",
     "TensorBoard"}
)  # fmt: skip
"""Keras' own callbacks that leave something behind."""

_MOMENTS = {
    "before_run": "on_train_begin", "after_run": "on_train_end", "before_train_epoch": "on_epoch_begin",
    "after_train_epoch": "on_epoch_end", "before_val_epoch": "on_test_begin", "after_val_epoch": "on_test_end",
}  # fmt: skip
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_NOT_LOGS = frozenset({"epoch", "batch_count", "num_samples", "last_train_loss"})


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuses what Keras would not call, before a process starts.

    Raises:
        UsageError: an object that is no Keras callback, or one with a hook that nobody calls.
    """
    import keras

    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise UsageError(
                f"callbacks must be keras.callbacks.Callback objects. Received: {callback!r}. "
                "A function becomes one with keras.callbacks.LambdaCallback(on_epoch_end=...)."
            )
        known = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]
        for name in dir(type(callback)):
            if name.startswith("on_") and name not in known and callable(getattr(callback, name)):
                hint = did_you_mean(name, known)
                raise UsageError(f"{type(callback).__name__}.{name} is no hook of Keras: nobody calls it.{hint}")


def unbound(callbacks: Sequence[Any]) -> list[Any]:
    """Copies that know no model: the one of an earlier run shall not travel with them."""
    made = [copy.copy(callback) for callback in callbacks]
    for callback in made:
        callback._model = None
    return made


def writes(callback: Any) -> bool:
    """Whether rank 0 alone runs it."""
    own = any(cls.__module__.partition(".")[0] == "keras" and cls.__name__ in WRITERS for cls in type(callback).__mro__)
    return own or bool(getattr(callback, "rank_zero_only", False))


class Audience:
    """The callbacks of one rank.

    Args:
        callbacks: all of them.
        model: that they are told of.
        index: of the rank.
        epochs: that are expected; None where nobody can tell.
    """

    def __init__(
        self, callbacks: Sequence[Any] = (), model: Any = None, index: int = 0, epochs: int | None = None
    ) -> None:
        self._model = model
        self._batch = 0
        self._own = [callback for callback in callbacks if index == 0 or not writes(callback)]
        self._list: Any = None
        self.hears_batches = False
        if self._own:
            import keras

            self._list = keras.callbacks.CallbackList(self._own, model=model, epochs=epochs, verbose=0, steps=None)
            self.hears_batches = any(_overrides(callback, hook) for callback in self._own for hook in _BATCH_HOOKS)

    @property
    def stopping(self) -> bool:
        """Whether a callback has set ``model.stop_training``."""
        return self._list is not None and bool(self._model.stop_training)

    def hears(self, moment: str) -> bool:
        """Whether anybody listens to it."""
        return self._list is not None and moment in _MOMENTS

    def tell(self, moment: str, progress: Progress, stats: Mapping[str, float]) -> None:
        """Calls the hook of a moment on every callback."""
        hook = getattr(self._list, _MOMENTS[moment])
        if moment == "before_run":
            self._model.stop_training = False
        if moment == "before_train_epoch":
            self._batch = progress.step_in_epoch
            hook(progress.epoch)
        elif moment == "after_train_epoch":
            hook(progress.epoch - 1 if progress.epoch_ended else progress.epoch, logs_of(stats))
        else:
            hook(logs_of(stats) or None)

    def batch_begins(self) -> None:
        """One more batch."""
        if self.hears_batches:
            self._list.on_train_batch_begin(self._batch)

    def batch_ends(self, loss: float) -> None:
        """It is done; `loss` is its mean over all ranks."""
        self._list.on_train_batch_end(self._batch, {"loss": loss})
        self._batch += 1


def logs_of(stats: Mapping[str, float]) -> dict[str, float]:
    """An epoch's numbers under the names that Keras gives them: ``loss``, ``accuracy``, ``val_loss``, ..."""
    return {name.removeprefix("train_"): value for name, value in stats.items() if name not in _NOT_LOGS}


def _overrides(callback: Any, hook: str) -> bool:
    import keras

    method = getattr(type(callback), hook, None)
    own = vars(callback).get(hook)  # LambdaCallback sets its hooks on itself
    return own is not None or method is not getattr(keras.callbacks.Callback, hook)
