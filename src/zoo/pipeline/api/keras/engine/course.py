"""Training, scoring and applying a Keras-style model: its words over the one estimator.

Owns: what a model was told (clipping, summaries, checkpoints, metrics), the shapes of a call's answers.
Leaves: the work (zoo.orca.learn.keras_estimator), what data are (zoo.engine.data.adapters).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import labels
from zoo.engine.optim import Optimizer
from zoo.orca.learn.keras_estimator import KerasEstimator, make_estimator
from zoo.orca.learn.rows import as_rdd
from zoo.pipeline.api.keras.metrics import LOSS
from zoo.pipeline.api.keras.objectives import LossFunction


class Course:
    """How one model is trained. It is made anew by `compile`, but keeps what the setters said.

    Args:
        model: a `KerasNet`.
        optimizer: of `zoo.engine.optim`, in place of the compiled one; else None.
        metrics: of the engine, of Keras, or ``"loss"``, in the order of `evaluate`.
    """

    def __init__(self, model: Any, optimizer: Optimizer | None = None, metrics: Any = ()) -> None:
        self._model = model
        self.optimizer = optimizer
        self.metrics = _told_apart(metrics)
        self._settings: dict[str, Callable[[KerasEstimator], None]] = {}
        self._model_dir: str | None = None
        self._estimator: KerasEstimator | None = None

    def after(self, before: Course | None) -> Course:
        """The same course with what the setters of another one said."""
        if before is not None:
            self._settings, self._model_dir = before._settings, before._model_dir
        return self

    def setting(self, name: str, tell: Callable[[KerasEstimator], None]) -> None:
        """Remembers a setting, in place of an earlier one of that name, and tells it to the estimator."""
        self._settings[name] = tell
        if self._estimator is not None:
            tell(self._estimator)

    def keep_checkpoints(self, path: str) -> None:
        """Has training write checkpoints below `path`."""
        self._model_dir = path
        if self._estimator is not None:
            self._estimator.keep_checkpoints(path)

    def load_checkpoint(self, path: str) -> None:
        """Goes back to a checkpoint, from which the next `fit` goes on."""
        self._check_compiled()
        self.estimator.load_checkpoint(path)

    @property
    def estimator(self) -> KerasEstimator:
        """The estimator of the model, made when it is first needed."""
        if self._estimator is None:
            own = {one.name: one for one in self.metrics if one != LOSS and not _of_keras(one)}
            self._estimator = make_estimator(
                self._model, metrics=[*own.values()], model_dir=self._model_dir, optimizer=self.optimizer
            )
            for tell in self._settings.values():
                tell(self._estimator)
        return self._estimator

    def fit(self, data: Any, validation: Any, distributed: bool, **words: Any) -> list[dict[str, float]]:
        """Trains on the current cluster, or in this process."""
        self._check_compiled()
        with _place(distributed):
            if isinstance(validation, tuple):
                self._check_shapes(validation, {})
            self._check_shapes(data, words)
            return self.estimator.fit(data, validation_data=validation, **words)

    def evaluate(self, data: Any, distributed: bool, **words: Any) -> list[float]:
        """The values of the metrics in their order; the loss alone where there are none."""
        self._check_compiled()
        with _place(distributed):
            self._check_shapes(data, words)
            found = self.estimator.evaluate(data, **words)
        return [found[LOSS if one == LOSS else one.name] for one in self.metrics or (LOSS,)]

    def predict(self, data: Any, distributed: bool, **words: Any) -> Any:
        """The outputs; of arrays on the cluster an RDD with one for each row, of images a set of them that has both."""
        if problems := _inputs_differ(self._model, data):
            raise UsageError.listing(problems)
        with _place(distributed):
            found = self.estimator.predict(data, **words)
            if hasattr(data, "predicted"):  # a set of images, which holds what is said of each
                return data.predicted(found)
            return as_rdd(found) if distributed and _are_arrays(found) else found

    def _check_compiled(self) -> None:
        if not self._model.compiled:
            raise UsageError("the model is not compiled: call compile(optimizer=..., loss=...) first.")

    def _check_shapes(self, data: Any, words: dict[str, Any]) -> None:
        """Refuses labels that the loss does not take, and inputs that the model does not, before anything starts."""
        if isinstance(data, tuple) and (found := _inputs_differ(self._model, data[0])):
            raise UsageError.listing(found)
        given = {name: words[name] for name in ("feature_cols", "label_cols") if name in words}
        schema = self.estimator.data_schema(data, **given)
        model, arrays = self._model, _labels_at_hand(data)
        inputs, outputs = _shapes(getattr(model, "inputs", None)), _shapes(getattr(model, "outputs", None))
        if not model.built:
            return
        if found := _number_differs(model, arrays, len(outputs)):
            raise UsageError(found)
        if len(schema) != len(inputs) + len(outputs) or any(one.shape is None for one in schema):
            return
        problems = [
            f"the model's input {number} has the shape {wanted}, without the batch, and the data have {spec}."
            for number, (wanted, spec) in enumerate(zip(inputs, schema, strict=False))
            if not model.fits(spec.shape, wanted)
        ]
        problems += _labels_differ(model, [one.shape for one in schema[len(inputs) :]], outputs)
        if arrays is not None and not problems:
            problems = labels.mistakes(model, _listed(arrays), outputs)
        if problems:
            raise UsageError.listing(problems)


def paired(x: Any, y: Any) -> Any:
    """Features and labels as the engine takes them; data that hold both as they are."""
    return x if y is None and not isinstance(x, dict) else (x, y)


def split(x: Any, y: Any, share: float) -> tuple[Any, Any]:
    """(training, validation): of arrays, the last rows are for validation.

    Raises:
        UsageError: a share outside [0, 1), or other data than arrays.
    """
    if not 0 <= share < 1:
        raise UsageError(f"validation_split must be in [0, 1). Received: {share}")
    if y is None:
        raise UsageError("validation_split cuts arrays x and y; give other data as validation_data.")
    first = x[0] if isinstance(x, list | tuple) else x
    border = int(len(first) * (1 - share))
    if not 0 < border < len(first):
        raise UsageError(f"validation_split={share} of {len(first)} rows leaves none for one of the two.")
    train, valid = (
        (_cut(x, slice(None, border)), _cut(y, slice(None, border))),
        (_cut(x, slice(border, None)), _cut(y, slice(border, None))),
    )
    return train, valid


def classes(predicted: Any, zero_based: bool) -> Any:
    """The class of each row: the highest score, or, of a single output, whether it is above 0.5."""
    first = 0 if zero_based else 1

    def of_row(row: Any) -> int:
        scores = np.asarray(row)
        return first + int(scores.reshape(-1)[0] > 0.5 if scores.size == 1 else scores.argmax(axis=-1))

    if hasattr(predicted, "map"):
        return predicted.map(of_row)
    return np.array([of_row(row) for row in predicted], np.int64)


def _told_apart(metrics: Iterable[Any]) -> tuple[Any, ...]:
    """Metrics with names of their own, by which their values are found; of equal ones all have the same."""
    held: dict[str, Any] = {}
    found = []
    for one in metrics:
        if one == LOSS or _of_keras(one):
            found.append(one)
            continue
        numbered = (one if n == 1 else replace(one, name=f"{one.name}_{n}") for n in itertools.count(1))
        own = next(named for named in numbered if held.setdefault(named.name, named) == named)
        found.append(own)
    return tuple(found)


def may_be(found: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether data of a shape may be an input, one entry more or less at the end aside, as Keras has it."""
    shapes = (tuple(found), (*found, 1), tuple(found)[:-1] if tuple(found)[-1:] == (1,) else tuple(found))
    return any(
        len(shape) == len(wanted)
        and all(None in pair or pair[0] == pair[1] for pair in zip(shape, wanted, strict=True))
        for shape in shapes
    )


def _labels_at_hand(data: Any) -> Any:
    """The labels of arrays, and of images in this process; None of data that lie elsewhere."""
    if isinstance(data, tuple):
        return data[1]
    if not hasattr(data, "get_label") or data.is_distributed():
        return None
    found = data.get_label()
    known = found and all(isinstance(one, np.number) for one in found)
    return np.asarray(found) if known else None


def _cut(arrays: Any, rows: slice) -> Any:
    return [one[rows] for one in arrays] if isinstance(arrays, list | tuple) else arrays[rows]


def _place(distributed: bool) -> AbstractContextManager[None]:
    return nullcontext() if distributed else session.using(InlineCluster())


def _of_keras(metric: Any) -> bool:
    return hasattr(metric, "update_state")


def _are_arrays(found: Any) -> bool:
    return isinstance(found, np.ndarray) or (
        isinstance(found, list | tuple) and all(isinstance(a, np.ndarray) for a in found)
    )


def _shapes(tensors: Any) -> list[tuple[int | None, ...]]:
    return [tuple(tensor.shape)[1:] for tensor in tensors or ()]


def _number_differs(model: Any, arrays: Any, outputs: int) -> str:
    """Why a model has another number of outputs than there are labels; empty where it has not."""
    count = len(_listed(arrays))
    if arrays is None or not outputs or count == outputs:
        return ""
    names = getattr(model, "output_names", None)
    told = f"{outputs} output{'s' * (outputs > 1)}" + (f" ({', '.join(names)})" if names else "")
    return f"the model '{model.name}' has {told}, and needs an array of labels for each. Received: {count}"


def _listed(arrays: Any) -> list[Any]:
    """The labels of each output; of a dict in the order of its keys, as Keras has it."""
    if isinstance(arrays, dict):
        return [arrays[name] for name in sorted(arrays)]
    return list(arrays) if isinstance(arrays, list | tuple) else [arrays]


def _labels_differ(model: Any, given: Sequence[Any], outputs: Sequence[Any]) -> list[str]:
    """Why labels are none for the losses of the model, by their shapes."""
    losses = labels.losses_of(model)
    if len(losses) != len(outputs):
        return []
    found = [
        loss.check(shape, output) if isinstance(loss, LossFunction) else ""
        for loss, shape, output in zip(losses, given, outputs, strict=True)
    ]
    return [f"label {n}: {text}" if len(losses) > 1 else text for n, text in enumerate(found) if text]


def _inputs_differ(model: Any, x: Any) -> list[str]:
    """Why arrays are no inputs of a model whose shapes are known; nothing of other data."""
    arrays = list(x) if isinstance(x, list | tuple) else [x]
    inputs = _shapes(getattr(model, "inputs", None)) if model.built else []
    if not inputs or not all(isinstance(one, np.ndarray) and one.ndim for one in arrays):
        return []
    if len(arrays) != len(inputs):
        told = ", ".join(str(shape) for shape in inputs)
        return [
            f"the model '{model.name}' has {len(inputs)} inputs, of the shapes {told} without the batch. "
            f"Received: {len(arrays)} arrays"
        ]
    return [
        f"input {number} of the model '{model.name}' has the shape {wanted}, without the batch. Received: an array "
        f"{array.shape}, whose rows have {array.shape[1:]}"
        for number, (wanted, array) in enumerate(zip(inputs, arrays, strict=True))
        if not model.fits(array.shape[1:], wanted)
    ]
