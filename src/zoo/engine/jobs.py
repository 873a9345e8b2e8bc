"""What is asked: one frozen, picklable value for each fit, evaluate and predict, checked when it is made.

Owns: the words of a request and the checks that need nothing but the request.
Leaves: checks against data (run), doing it (loop).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from zoo.engine.errors import UsageError
from zoo.engine.triggers import waits_for_score

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import pyarrow as pa

    from zoo.engine.contracts import Json, ModelSpec, State
    from zoo.engine.metrics import Metric
    from zoo.engine.progress import Progress
    from zoo.engine.standing import Standing
    from zoo.engine.triggers import Trigger
    from zoo.engine.values import Source

PRECISIONS = ("float32", "bf16")
RECOVERIES = ("peers", "checkpoint", "none")
SYNCS = ("allreduce", "sharded")


@dataclass(frozen=True, slots=True)
class ImageTransform:
    """What is done with columns of images before the model gets them.

    Attributes:
        function: of an RGB image, uint8 (height, width, 3), to the array that the model gets; None for the image.
        batched: whether `function` gets all images of a batch instead, as a list, for their sizes may differ; it
            returns an array, or a list of arrays, one for each. Which images share a batch depends on the ranks.
        on_error: an image that is null or cannot be decoded is an error (``"raise"``), or its row is left out, counted
            and reported (``"skip"``); for that each image is decoded once more, when it is read.

    Raises:
        UsageError: anything else.
    """

    function: Callable[[Any], Any] | None = None
    batched: bool = False
    on_error: str = "raise"

    def __post_init__(self) -> None:
        if self.function is not None and not callable(self.function):
            raise UsageError(f"transform must be a function: image -> array. Received: {self.function!r}")
        if self.batched and self.function is None:
            raise UsageError("batched=True is for a function: list of images -> array. Received: None")
        if self.on_error not in ("raise", "skip"):
            raise UsageError(f"on_error must be 'raise' or 'skip'. Received: {self.on_error!r}")

    @property
    def skips(self) -> bool:
        """Whether rows are left out."""
        return self.on_error == "skip"


@dataclass(frozen=True, slots=True)
class ColumnTransform:
    """What is done with the values of one column, whatever it holds, before the model gets them.

    Attributes:
        function: of one row's value to an array, or to a tuple of arrays: as many inputs (or targets) of the model. A
            value is a number, an array, str or bytes; of an image RGB pixels, uint8 (height, width, 3). One with
            ``of_epoch(seed, epoch)`` is asked for the function of each epoch of a training: that is where randomness
            comes from.
        batched: whether `function` gets the values of all rows of a batch as one array instead, and returns arrays
            with rows first. Which rows share a batch depends on the ranks.
        raw: whether an image is given as a dict of its column's fields instead of pixels.

    Raises:
        UsageError: anything else.
    """

    function: Callable[[Any], Any]
    batched: bool = False
    raw: bool = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise UsageError(f"a column's transform must be a function: value -> array. Received: {self.function!r}")


Transform: TypeAlias = "Callable[[Any], Any] | ImageTransform | Mapping[str, Callable[[Any], Any] | ColumnTransform]"
"""A function alone is `ImageTransform(function)`; a dict has a function, or a `ColumnTransform`, for each column."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are the model's inputs and which its targets, in the order of the call.

    Attributes:
        features: the inputs.
        labels: the targets.
        images: those of the features that hold images.
        transform: what is done with them.
        values: (column, what is done with its values), of features and labels; the rest is left as it is.
    """

    features: tuple[str, ...]
    labels: tuple[str, ...] = ()
    images: tuple[str, ...] = field(default=(), kw_only=True)
    transform: ImageTransform = field(default=ImageTransform(), kw_only=True)
    values: tuple[tuple[str, ColumnTransform], ...] = field(default=(), kw_only=True)

    @property
    def prepared(self) -> bool:
        """Whether rows become arrays only when a batch is taken."""
        return bool(self.images or self.values)

    def of_epoch(self, seed: int, epoch: int) -> Columns:
        """The same, with the functions of an epoch of a training."""
        of = tuple((name, replace(one, function=_of_epoch(one.function, seed, epoch))) for name, one in self.values)
        images = replace(self.transform, function=_of_epoch(self.transform.function, seed, epoch))
        return replace(self, transform=images, values=of)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What becomes of a model's outputs, where that is known before the model is asked.

    Attributes:
        schema: of the new columns: numbers, or lists of numbers of any length.
        function: from a batch's outputs to these columns' arrays, rows first; picklable.
    """

    schema: pa.Schema
    function: Callable[[tuple[np.ndarray, ...]], Sequence[np.ndarray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreJob:
    """Everything needed to evaluate.

    Attributes:
        spec: the model.
        columns: its inputs and targets.
        batch_size: rows scored at once.
        metrics: in the order of the report.
        threads: CPU threads of a scoring process.
        steps: at most this many batches; None for all.
    """

    spec: ModelSpec
    columns: Columns
    batch_size: int = 32
    metrics: tuple[Metric, ...] = ()
    threads: int = 1
    steps: int | None = None

    def __post_init__(self) -> None:
        _check_batch(self.batch_size)
        _check_measurable(self.metrics, self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictJob:
    """Everything needed to predict; fields as in `ScoreJob`.

    Attributes:
        outputs: what becomes of the model's outputs; None: columns of their shapes, which the model is asked for.
    """

    spec: ModelSpec
    columns: Columns
    batch_size: int = 32
    threads: int = 1
    outputs: Outputs | None = None

    def __post_init__(self) -> None:
        _check_batch(self.batch_size)
        if self.columns.transform.skips:
            raise UsageError(
                "predict gives one prediction for each row, so it leaves none out. Received: a transform with "
                "on_error='skip'. Leave rows out beforehand, or give ImageTransform(...) without on_error."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJob:
    """Everything a gang needs to train; equal jobs train equal models.

    Attributes:
        spec: the model, its loss and its optimizer.
        columns: its inputs and targets.
        batch_size: rows of a step over ALL ranks.
        end: when to stop.
        epochs: the epoch at which `end` is expected, for the progress line; None where nobody can tell.
        start: how far earlier calls of `fit` came.
        state: what they left; None to start from the spec's own weights.
        came: where the ranks stood that another gang has left; None for a new beginning.
        seed: of the order of rows and of the ranks' random numbers.
        shuffle: whether rows are permuted within an epoch.
        metrics: measured on the validation data.
        validate: when the validation data are scored.
        checkpoint: when a checkpoint is written; None for never.
        checkpoint_dir: where (any fsspec URL); empty for nowhere.
        stop_on_nan: whether a loss that is NaN or infinite ends the run.
        memory: bytes of rows that a rank keeps in memory before it spools them to its disk.
        disk: n: a rank keeps all rows on its disk, at most 1/n of them in memory; 0: only what `memory` does not hold.
        stall_timeout: seconds without any step or row on any rank after which the gang is given up.
        recovery: what is done when ranks are lost: ``"peers"`` (the others go on, with another one in its place),
            ``"checkpoint"`` (a new gang goes on from the last one), ``"none"``; empty for the strongest that the
            cluster can give.
        attempts: how often ranks may be lost at one step, and how often a gang may be started from a checkpoint.
        steps_per_epoch: of an epoch at most, where the data give more; None for all.
        validation_steps: batches of each rank that are scored at most; None for all.
        virtual_ranks: lanes that each step is cut into, for weights that are equal to the bit on any number of ranks;
            0 for none.
        asks_to_stop: whether the user's callbacks may ask to stop, on which all ranks must then agree at each step.
        sync: how ranks agree on weights: ``"allreduce"`` (each averages all gradients and updates all weights) or
            ``"sharded"`` (each does so with a slice of them, and holds the optimizer's memory of that slice alone).
        sources: where the rows to train on come from; checkpoints and the report tell it.
    """

    spec: ModelSpec
    columns: Columns
    batch_size: int
    end: Trigger
    epochs: int | None = None
    start: Progress
    state: State | None = None
    came: Standing | None = None
    seed: int = 0
    shuffle: bool = True
    metrics: tuple[Metric, ...] = ()
    validate: Trigger | None = None
    checkpoint: Trigger | None = None
    checkpoint_dir: str = ""
    stop_on_nan: bool = True
    memory: int = 1 << 30
    disk: int = 0
    stall_timeout: float = 600.0
    recovery: str = ""
    attempts: int = 4
    steps_per_epoch: int | None = None
    validation_steps: int | None = None
    virtual_ranks: int = 0
    asks_to_stop: bool = False
    sync: str = "allreduce"
    sources: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        _check_batch(self.batch_size)
        if self.memory < 1:
            raise UsageError(f"memory must be at least one byte. Received: {self.memory}")
        if self.stall_timeout <= 0:
            raise UsageError(f"stall_timeout must be more than 0 seconds. Received: {self.stall_timeout}")
        for name in ("steps_per_epoch", "validation_steps"):
            if (steps := getattr(self, name)) is not None and steps < 1:
                raise UsageError(f"{name} must be at least 1. Received: {steps}")
        if self.recovery not in ("", *RECOVERIES):
            raise UsageError(f"recovery must be one of {', '.join(RECOVERIES)}. Received: {self.recovery!r}")
        _check_sync(self)
        if self.attempts < 1:
            raise UsageError(f"attempts must be at least 1. Received: {self.attempts}")
        if self.validate is not None:
            _check_measurable(self.metrics, self.columns)
        elif waits_for_score(self.end):
            raise UsageError(
                f"training would never end: {self.end} waits for a validation score, and nothing is validated. Give "
                "validation data, or an end besides: MaxScore(v) | MaxEpoch(n)."
            )
        if self.checkpoint is not None and not self.checkpoint_dir:
            raise UsageError("checkpoint_trigger needs a place for checkpoints: give the estimator a model_dir.")

    @property
    def sharded(self) -> bool:
        """Whether each rank holds a slice of the optimizer's memory."""
        return self.sync == "sharded"

    def position(self, progress: Progress) -> Json:
        """Where the order of rows stands at `progress`, and which rows they are, as checkpoints keep it."""
        sources = {"sources": [source.to_json() for source in self.sources]} if self.sources else {}
        return {
            "seed": self.seed, "epoch": progress.epoch, "step": progress.step_in_epoch, "batch_size": self.batch_size,
            "virtual_ranks": self.virtual_ranks, **sources,
        }  # fmt: skip


def _of_epoch(function: Any, seed: int, epoch: int) -> Any:
    make: Callable[[int, int], Callable[[Any], Any]] | None = getattr(function, "of_epoch", None)
    return function if make is None else make(seed, epoch)


def _check_sync(job: FitJob) -> None:
    if job.sync not in SYNCS:
        raise UsageError(f"sync must be one of {', '.join(SYNCS)}. Received: {job.sync!r}")
    if job.sharded and job.virtual_ranks:
        raise UsageError(
            "reproducible=True gives equal bits on any number of ranks, and sync='sharded' cuts weights into as many "
            "slices as there are ranks, whose last bits may differ. Leave one of them out."
        )
    if job.sharded and job.recovery == "peers":
        raise UsageError(
            "recovery='peers' goes on with what the other ranks hold, and with sync='sharded' nobody else holds a lost "
            "rank's slice of the optimizer's memory. Give recovery='checkpoint' and a model_dir, or sync='allreduce'."
        )


def _check_batch(batch_size: int) -> None:
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(f"batch_size must be a whole number of rows, at least 1. Received: {batch_size!r}")


def _check_measurable(metrics: tuple[Metric, ...], columns: Columns) -> None:
    needing = [metric.name for metric in metrics if getattr(metric, "needs_labels", True)]
    if needing and not columns.labels:
        raise UsageError(
            "label columns is None; it should not be None where metrics are measured "
            f"({', '.join(needing)}): give label_cols, or labels with the arrays."
        )
