"""What an `NNEstimator` knows of the course of a training beside its Spark parameters.

Owns: the values of its setters that are no text or number: triggers, validation, summaries, checkpoints, clipping.
Leaves: what they mean (zoo.engine), Spark's parameters (params).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Self

from zoo.engine.errors import UsageError
from zoo.engine.optim import ConstantClip, NormClip
from zoo.engine.triggers import convert_trigger

LEVELS = ("DRAM", "DISK_AND_DRAM")


@dataclass(frozen=True)
class Validation:
    """When and on what a training is validated.

    Attributes:
        trigger: when.
        frame: the DataFrame.
        methods: metrics.
        batch_size: accepted for older programs; rows are scored as they are trained.
    """

    trigger: Any
    frame: Any
    methods: tuple[Any, ...]
    batch_size: int | None = None


@dataclass(frozen=True)
class Checkpoints:
    """Where and when checkpoints are written.

    Attributes:
        path: a directory, each fit of which has its own below it.
        trigger: when.
        overwrite: accepted for older programs; checkpoints of different steps have different names.
    """

    path: str
    trigger: Any
    overwrite: bool = True


@dataclass(frozen=True)
class Course:
    """Everything; None for what was not set."""

    end: Any = None
    validation: Validation | None = None
    train_summary: Any = None
    validation_summary: Any = None
    checkpoints: Checkpoints | None = None
    clip: ConstantClip | NormClip | None = None
    data_store: str | None = None
    cache_level: str = "DRAM"


class HasCourse:
    """The setters and getters of a `Course`; each setter returns the stage."""

    _course: Course = Course()

    def _with(self, **changes: Any) -> Self:
        self._course = replace(self._course, **changes)
        return self

    def setEndWhen(self, trigger: Any) -> Self:
        """Ends training when a trigger fires; without `setMaxEpoch` it alone says when. None takes it away."""
        return self._with(end=None if trigger is None else convert_trigger(trigger))

    def getEndWhen(self) -> Any:
        """The trigger, or None."""
        return self._course.end

    def setValidation(self, trigger: Any, val_df: Any, val_method: Any, batch_size: int | None = None) -> Self:
        """Scores a DataFrame while training.

        Args:
            trigger: when, e.g. ``EveryEpoch()``.
            val_df: has the same columns as the data of `fit`.
            val_method: a metric or a list of them.
            batch_size: accepted for older programs.

        Raises:
            UsageError: an argument of another kind.
        """
        if not hasattr(val_df, "sparkSession"):
            raise UsageError(
                f"setValidation takes a Spark DataFrame. Received: {type(val_df).__module__}.{type(val_df).__name__}"
            )
        methods = tuple(val_method) if isinstance(val_method, list | tuple) else (val_method,)
        if None in methods:
            raise UsageError(f"val_method must be a metric or a list of them. Received: {val_method!r}")
        _check_count("batch_size", batch_size)
        convert_trigger(trigger)
        return self._with(validation=Validation(trigger, val_df, methods, batch_size))

    def getValidation(self) -> list[Any] | None:
        """``[trigger, val_df, val_method, batch_size]``, or None."""
        found = self._course.validation
        return None if found is None else [found.trigger, found.frame, list(found.methods), found.batch_size]

    def setTrainSummary(self, val: Any) -> Self:
        """Writes TensorBoard summaries where a `TrainSummary(log_dir, app_name)` says."""
        _check_summary(val, "setTrainSummary")
        return self._with(train_summary=val)

    def getTrainSummary(self) -> Any:
        """What was set, or None."""
        return self._course.train_summary

    def setValidationSummary(self, val: Any) -> Self:
        """Likewise of the validation; both may name one place."""
        _check_summary(val, "setValidationSummary")
        return self._with(validation_summary=val)

    def getValidationSummary(self) -> Any:
        """What was set, or None."""
        return self._course.validation_summary

    def setCheckpoint(self, path: str, trigger: Any, isOverWrite: bool = True) -> Self:
        """Writes checkpoints below a path or URL.

        Args:
            path: of the directory.
            trigger: when.
            isOverWrite: accepted for older programs; nothing is overwritten.

        Raises:
            UsageError: no path, or no trigger.
        """
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise UsageError(f"setCheckpoint takes the path or URL of a directory. Received: {path!r}")
        convert_trigger(trigger)
        path = os.fspath(path)
        return self._with(checkpoints=Checkpoints(path, trigger, isOverWrite))

    def getCheckpoint(self) -> list[Any] | None:
        """``[path, trigger, isOverWrite]``, or None."""
        found = self._course.checkpoints
        return None if found is None else [found.path, found.trigger, found.overwrite]

    def setDataCacheLevel(self, level: str, numSlice: int | None = None) -> Self:
        """Says where ranks keep their rows.

        Args:
            level: ``"DRAM"``, or ``"DISK_AND_DRAM"``: on disk, at most one `numSlice`-th of them in memory.
            numSlice: of DISK_AND_DRAM; 4 by default.

        Raises:
            UsageError: another level.
        """
        if level not in LEVELS:
            raise UsageError(f"the data cache level must be {' or '.join(LEVELS)}. Received: {level!r}")
        _check_count("numSlice", numSlice)
        return self._with(cache_level=level, data_store="DRAM" if level == "DRAM" else f"DISK_{numSlice or 4}")

    def getDataCacheLevel(self) -> str:
        """The level."""
        return self._course.cache_level

    def setConstantGradientClipping(self, min: float, max: float) -> Self:
        """Clamps every element of the averaged gradients to [min, max]."""
        return self._with(clip=ConstantClip(min, max))

    def setGradientClippingByL2Norm(self, clip_norm: float) -> Self:
        """Scales the averaged gradients, all together, to an L2 norm of at most `clip_norm`."""
        return self._with(clip=NormClip(clip_norm))

    def clearGradientClipping(self) -> Self:
        """Leaves gradients as they are."""
        return self._with(clip=None)


def _check_count(name: str, given: Any) -> None:
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
        raise UsageError(f"{name} must be a whole number, at least 1. Received: {given!r}")


def _check_summary(given: Any, setter: str) -> None:
    if not (hasattr(given, "log_dir") and hasattr(given, "app_name")):
        raise UsageError(
            f"{setter} takes a TrainSummary or ValidationSummary (log_dir, app_name) of zoo.bigdl.optim.optimizer. "
            f"Received: {given!r}"
        )
