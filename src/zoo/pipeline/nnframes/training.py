"""A stage's work on the engine: training and applying a model, with every mistake found before anything starts.

Owns: checks on the driver, the calls of the engine's estimators.
Leaves: stages and their parameters (nn_classifier), frameworks' differences (frameworks).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.engine import session, storage
from zoo.engine.data import columns
from zoo.engine.data.adapters import Adapted, adapt
from zoo.engine.data.prepared import prepared, with_pictures
from zoo.engine.errors import ColumnNotFound, DataError, StorageFailed, UsageError, ZooError
from zoo.engine.jobs import ColumnTransform, Outputs
from zoo.engine.optim import ConstantClip
from zoo.engine.progress import Progress
from zoo.orca.learn import preparation
from zoo.pipeline.nnframes import frameworks
from zoo.pipeline.nnframes.course import Course
from zoo.pipeline.nnframes.criteria import Loss
from zoo.pipeline.nnframes.labels import ClassNumbers
from zoo.pipeline.nnframes.optimizers import optimizer_of

Transforms = Mapping[str, ColumnTransform]
_log = logging.getLogger("zoo")


@dataclass(frozen=True)
class Plan:
    """What a fit is to do.

    Attributes:
        model: the user's own; a copy is trained.
        criterion: what for.
        features: the columns of the inputs.
        labels: of the targets.
        preparing: of features, of labels; see `preparation.FORMS`.
        optimizer: (the optimizer, its rate, its decay); None for what it says itself.
        batch_size: rows of a step over all ranks.
        epochs: how many; None where `course.end` says when to end.
        course: the rest.
        resume_from: a checkpoint, or a directory of them, to go on from.
    """

    model: Any
    criterion: Any
    features: tuple[str, ...]
    labels: tuple[str, ...]
    preparing: tuple[Any, Any]
    optimizer: tuple[Any, float | None, float | None]
    batch_size: int
    epochs: int | None
    course: Course
    resume_from: str | None = None


@dataclass(frozen=True)
class Fitted:
    """What came of it.

    Attributes:
        model: with the trained weights.
        loss: what it was trained for.
    """

    model: Any
    loss: Loss


def fit(plan: Plan, frame: Any) -> Fitted:
    """Trains a copy of the model on a DataFrame.

    Raises:
        UsageError: columns, preprocessing, model and criterion that do not go together, before anything starts.
    """
    if frame.isStreaming:
        raise UsageError("a model cannot be fitted to a stream, which never ends. Give a DataFrame that was read.")
    framework, model = frameworks.of(plan.model)
    loss, optimizer = framework.loss(plan.criterion), optimizer_of(*plan.optimizer)
    session.current()
    adapted = adapted_to(frame, plan.features, plan.labels)
    course = plan.course
    words: dict[str, Any] = {"model_dir": course.checkpoints.path} if course.checkpoints else {}
    if course.validation:
        words["metrics"] = list(course.validation.methods)
    estimator = framework.trainer(model, loss, optimizer, **words)
    _prepare(estimator, course)
    _go_back(estimator, plan.resume_from)
    transforms = _untried(loss, plan, adapted) if shuffles(frame) else _tried(framework, model, loss, plan, adapted)
    _try_validation(framework, model, loss, plan)
    if _has_ended(estimator.progress, plan):
        return Fitted(estimator.get_model(), loss)
    estimator.fit(
        frame, epochs=_left(plan.epochs, estimator.progress), batch_size=plan.batch_size,
        feature_cols=list(plan.features), label_cols=list(plan.labels), transform=transforms or None,
        end_trigger=course.end, data_store=course.data_store,
        validation_data=course.validation.frame if course.validation else None,
        validation_trigger=course.validation.trigger if course.validation else None,
        checkpoint_trigger=course.checkpoints.trigger if course.checkpoints else None,
    )  # fmt: skip
    return Fitted(estimator.get_model(), loss)


def _go_back(estimator: Any, path: str | None) -> None:
    """Has an estimator go on from the newest checkpoint at a place, if there is one.

    Raises:
        UsageError: it has none, or one of another model or optimizer.
    """
    if path is None:
        return
    try:
        estimator.load_checkpoint(path)
    except (UsageError, StorageFailed) as error:
        raise UsageError(
            f"fit cannot go on from resumeFrom={storage.masked(path)!r}: {error}\n  setResumeFrom takes a directory "
            "that setCheckpoint of an equal stage wrote to, or a checkpoint in it; setResumeFrom(None) begins anew."
        ) from error


def _left(epochs: int | None, done: Progress) -> int | None:
    """How many of the epochs are still to come."""
    return None if epochs is None else epochs - done.epoch


def _has_ended(done: Progress, plan: Plan) -> bool:
    """Whether the checkpoint that was loaded is that of a training at its end."""
    left, end = _left(plan.epochs, done), plan.course.end
    at = replace(done, epoch_ended=False)  # as the loop begins with it
    if not done.step or ((left is None or left > 0) and not (end is not None and end(at))):
        return False
    _log.warning(
        "the checkpoint of resumeFrom=%s has done all: %d epochs, %d steps. Nothing is trained; a higher maxEpoch, or "
        "another end, goes on.", storage.masked(str(plan.resume_from)), done.epoch, done.step,
    )  # fmt: skip
    return True


def apply(
    model: Any, frame: Any, features: tuple[str, ...], preparing: Any, batch_size: int, outputs: Outputs
) -> Any:  # fmt: skip
    """The DataFrame with the model's outputs; lazy.

    Args:
        model: of any framework.
        frame: the DataFrame.
        features: the columns of the inputs.
        preparing: of them; see `preparation.FORMS`.
        batch_size: rows at once.
        outputs: the new column.

    Raises:
        UsageError: columns that are not there, or make no array.
    """
    framework, own = frameworks.of(model)
    session.current()
    adapted = adapted_to(frame, features, ())
    specs = columns.describe(adapted.shards.schema, features)
    transforms = preparation.transforms(preparing, specs, "feature_preprocessing")
    return framework.predictor(own).predict(
        frame, batch_size=batch_size, feature_cols=list(features), transform=transforms or None, outputs=outputs
    )


def adapted_to(frame: Any, features: Sequence[str], labels: Sequence[str]) -> Adapted:
    """A DataFrame's columns as the engine takes them.

    Raises:
        ColumnNotFound: columns that are not there, by the parameter that names them.
        UsageError: not a DataFrame, or columns that make no array.
    """
    refuse_others(frame)
    for names, param in ((features, "featuresCol"), (labels, "labelCol")):
        if missing := [name for name in names if name not in frame.columns]:
            raise ColumnNotFound.among(missing, frame.columns, param)
    return adapt(frame, list(features), list(labels) or None)


def refuse_others(frame: Any) -> None:
    """Refuses what is no Spark DataFrame.

    Raises:
        UsageError: it is none.
    """
    if not hasattr(frame, "columns") or not hasattr(frame, "sparkSession"):
        kind = f"{type(frame).__module__}.{type(frame).__name__}"
        raise UsageError(f"stages of Spark ML take a Spark DataFrame. Received: {kind}")


def shuffles(frame: Any) -> bool:
    """Whether Spark would have to shuffle rows to get at the first, for they are not cached."""
    plan = getattr(frame, "_jdf", None)
    if plan is None:  # Spark Connect, whose plans stay with the server
        return False
    told = str(plan.queryExecution().executedPlan().toString()).partition("InMemoryRelation")[0]
    return "Exchange" in told.replace("BroadcastExchange", "")


def _untried(loss: Loss, plan: Plan, adapted: Adapted) -> Transforms:
    """What is done with the columns, as far as their types and the criterion tell."""
    schema = adapted.shards.schema
    features = preparation.transforms(
        plan.preparing[0], columns.describe(schema, plan.features), "feature_preprocessing"
    )
    return {**features, **_label_transforms(plan, loss, columns.describe(schema, plan.labels), None)}


def _tried(framework: Any, model: Any, loss: Loss, plan: Plan, adapted: Adapted) -> Transforms:
    """What is done with the columns, once model and criterion have taken the first row."""
    schema = adapted.shards.schema
    specs = columns.describe(schema, plan.features)
    transforms = dict(preparation.transforms(plan.preparing[0], specs, "feature_preprocessing"))
    first = adapted.shards.peek()
    if first is None:
        raise UsageError("the DataFrame has no rows. Check the filters and joins that made it.")
    inputs = _first(first, plan.features, transforms)
    hint = _hint(framework, plan.features, inputs)
    outputs = _asked(lambda: framework.outputs(model, inputs), "the model does not take the features", inputs, hint)
    targets = columns.describe(schema, plan.labels)
    transforms |= _label_transforms(plan, loss, targets, outputs[0].shape[-1] if outputs[0].ndim > 1 else 1)
    labels = _first(first, plan.labels, transforms)
    if any(array.dtype == object for array in labels):
        raise UsageError(
            f"the label {list(plan.labels)} holds text or bytes, which cannot become a tensor. Number it first, e.g. "
            "by StringIndexer, or give NNEstimator a label_preprocessing that makes arrays of it."
        )
    if len(outputs) == len(labels) == 1 or isinstance(framework, frameworks.Torch):  # Keras has a loss for each
        hint = _hint_of_labels(plan.labels)
        _check_value(_asked(lambda: framework.value(loss, outputs, labels), _UNFIT, (*outputs, *labels), hint))
    return transforms


def _hint_of_labels(names: Sequence[str]) -> str:
    """What it may mean that the criterion does not take several labels."""
    if len(names) == 1:
        return ""
    return (
        f" The criterion gets a tuple of the {len(names)} labels. Where they are one target, make them one column: "
        f"F.array({', '.join(map(repr, names))})."
    )


def _try_validation(framework: Any, model: Any, loss: Loss, plan: Plan) -> None:
    """As `_tried`, of the first row that would be scored: else its first mistake would end a training of an epoch."""
    found = plan.course.validation
    if found is None or shuffles(found.frame):
        return
    try:
        _tried(framework, model, loss, plan, adapted_to(found.frame, plan.features, plan.labels))
    except (UsageError, DataError) as error:
        raise UsageError(f"the DataFrame of setValidation does not fit: {error}") from error


def _hint(framework: Any, names: Sequence[str], inputs: Sequence[np.ndarray]) -> str:
    """What it may mean that the model does not take the inputs."""
    kinds = {array.dtype.name for array in inputs}
    if "uint8" in kinds:
        return (
            " Images come as (height, width, channels) in uint8; a feature_preprocessing makes tensors of them, e.g. "
            "RowToImageFeature() >> ImageMatToTensor() >> ImageFeatureToTensor()."
        )
    if "int64" in kinds and isinstance(framework, frameworks.Torch):  # Keras casts them
        return (
            f" Whole numbers stay int64: where {', '.join(names)} should be floats, cast to 'float' or 'array<float>'."
        )
    return ""


_UNFIT = "the criterion does not take the model's output and the label"


def _first(row: Any, names: tuple[str, ...], transforms: Transforms) -> tuple[np.ndarray, ...]:
    """The arrays of the first row, as a rank makes them."""
    specs = columns.describe(row.schema, names)
    asked = adapted_columns(row.schema, names, {name: one for name, one in transforms.items() if name in names})
    return prepared([columns.to_array(row.column(spec.name), spec) for spec in specs], names, asked)


def adapted_columns(schema: Any, names: tuple[str, ...], transforms: Transforms) -> Any:
    """The columns with what is done with them."""
    from zoo.engine.jobs import Columns

    return with_pictures(Columns(names), schema, transforms or None)


def _label_transforms(plan: Plan, loss: Loss, specs: Sequence[Any], classes: int | None) -> Transforms:
    if plan.preparing[1] is None and loss.classes and len(specs) == 1:
        (name,) = plan.labels
        return {name: ColumnTransform(ClassNumbers(name, loss.first, classes, loss.ignored), batched=True)}
    return preparation.transforms(plan.preparing[1], specs, "label_preprocessing")


def _asked(call: Callable[[], Any], problem: str, arrays: Sequence[np.ndarray], hint: str = "") -> Any:
    try:
        return call()
    except ZooError:
        raise
    except Exception as error:  # any library may refuse in its own way
        told = ", ".join(f"{array.dtype} {array.shape}" for array in arrays)
        raise UsageError(f"{problem} of the first row: {told}.{hint} {type(error).__name__}: {error}") from error


def _check_value(value: np.ndarray) -> None:
    if value.size != 1:
        raise UsageError(f"the criterion must give one number for a batch. It gave an array of shape {value.shape}.")


def _prepare(estimator: Any, course: Course) -> None:
    """Tells an estimator of clipping and of summaries."""
    if isinstance(course.clip, ConstantClip):
        estimator.set_constant_gradient_clipping(course.clip.min, course.clip.max)
    elif course.clip is not None:
        estimator.set_l2_norm_gradient_clipping(course.clip.max_norm)
    summaries = [one for one in (course.train_summary, course.validation_summary) if one is not None]
    places = {(one.log_dir, one.app_name) for one in summaries}
    if len(places) > 1:
        raise UsageError(
            "training and validation write their summaries below one place. Give both the same log_dir and app_name. "
            f"Received: {sorted(places)}"
        )
    for place in places:
        estimator.set_tensorboard(*place)


@dataclass(frozen=True)
class Flat:
    """The one output of a model as a list of numbers for each row."""

    def __call__(self, outputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """float32 of shape (rows, values)."""
        return [_one(outputs)]


@dataclass(frozen=True)
class Classes:
    """The one output of a model as a class number for each row.

    Attributes:
        threshold: of a model with one score.
        first: the number of the first class of several.
    """

    threshold: float = 0.5
    first: int = 1

    def __call__(self, outputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """float32 of shape (rows,)."""
        scores = _one(outputs)
        if scores.shape[1] == 1:
            return [(scores[:, 0] > self.threshold).astype(np.float32)]
        return [(scores.argmax(1) + self.first).astype(np.float32)]


def _one(outputs: tuple[np.ndarray, ...]) -> np.ndarray:
    if len(outputs) != 1:
        raise DataError(
            f"a stage makes one column of predictions, and the model has {len(outputs)} outputs. Join them in the "
            "model, or use Estimator.predict of zoo.orca.learn."
        )
    (output,) = outputs
    flat = output.reshape(len(output), math.prod(output.shape[1:]))  # of no rows, -1 would say nothing
    return flat.astype(np.float32, copy=False)
