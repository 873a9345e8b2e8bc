"""A Keras model on one rank: the same arithmetic as ``model.fit``, on any backend.

Owns: when a model is built, what one step is, the learning rate, the training metrics, telling the callbacks.
Leaves: compiled passes (steps), when any of it happens (loop), what callbacks do (callbacks).

A rank that is alone does a step in one compiled call, in `update`. Of several ranks each hands one flat buffer over at
the end of its backward pass; the sums arrive before `update` applies them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from zoo.engine.contracts import Batch, Collective, Json, Ready, State
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.keras import state as states
from zoo.engine.frameworks.keras.callbacks import Audience
from zoo.engine.frameworks.keras.labels import explains, mistakes, silent
from zoo.engine.frameworks.keras.lanes import Lanes
from zoo.engine.frameworks.keras.passes import Passes, arrays_of
from zoo.engine.frameworks.keras.slices import Slices
from zoo.engine.frameworks.keras.steps import METRICS, Steps, steps_of
from zoo.engine.frameworks.keras.structures import Data, Structure, described, told
from zoo.engine.optim import RateControl
from zoo.engine.progress import Progress
from zoo.engine.scoring import check_rows
from zoo.engine.values import Rank


@dataclass(frozen=True, slots=True)
class Settings:
    """How a replica is used.

    Attributes:
        rank: who.
        backend: of Keras.
        structure: how columns make the model's arguments.
        rates: what sets the learning rate.
        audience: the callbacks of this rank.
    """

    rank: Rank
    backend: str
    structure: Structure = field(default_factory=Structure)
    rates: RateControl = field(default_factory=RateControl)
    audience: Audience = field(default_factory=Audience)


class KerasReplica:
    """The `Replica` of a Keras model.

    Args:
        passes: the model and how it is trained.
        settings: how they are used.
        group: of more than one rank, each of which holds a slice of the optimizer's memory; None: each holds all.
    """

    def __init__(self, passes: Passes, settings: Settings, group: Collective | None = None) -> None:
        self._passes = passes
        self._model = passes.model
        self._settings = settings
        self._alone = settings.rank.alone
        self._group = group
        self._slices: Slices | None = None
        self._lanes = Lanes(passes)
        self._key: tuple[int, ...] | None = None
        self._compiled: Steps | None = None
        self._pending: State | None = None
        self._inputs: Json = None
        self._measured = False
        self._batch: Data | None = None
        self._shapes: list[tuple[int | None, ...]] | None = None
        self._flat: Any = None
        self._rate = float("nan")
        self._agreed_stop = False
        self._explains, self._silent = explains(passes.model), silent(passes.model)

    @property
    def readings(self) -> dict[str, float]:
        """The learning rate of the last update; NaN before the first."""
        return {"LearningRate": self._rate}

    def backward(self, batch: Batch, ready: Ready) -> None:
        """Computes the gradients of the batch's mean loss; a rank that is alone does so in `update`."""
        self._batch = self._settings.structure.data(batch) if batch.weight else None
        steps = self._prepared(self._batch, train=True)
        if not self._lanes.begun:
            self._settings.audience.batch_begins()
        if self._alone:
            return
        self._key = batch.key
        self._lanes.enter(steps, batch.key)
        with self._telling(self._batch):
            self._flat = steps.gradients(self._batch)
        if self._batch is not None:
            self._check_labels(self._batch, self._flat[self._passes.layout.loss])
            self._lanes.leave(steps, batch.key)
            self._flat[self._passes.layout.stop] = float(self._settings.audience.stopping)
        if self._slices is None:
            ready(self._flat)
        else:
            self._slices.hand_over(self._flat, ready)

    def update(self, progress: Progress) -> float:
        """Applies the averaged gradients; returns the step's mean loss over all ranks.

        Args:
            progress: before this step.
        """
        steps, audience = self._prepared(self._batch, train=True), self._settings.audience
        if self._settings.rates.before_update(progress.step):
            self._set_rate(self._settings.rates.value)
        if self._alone:
            assert self._batch is not None  # one rank has all rows of each step
            with self._telling(self._batch):
                loss, self._rate = steps.train(self._batch)
            self._check_labels(self._batch, loss)
            wish = False
        else:
            layout = self._passes.layout
            self._lanes.end(steps, self._key)
            loss, wish = float(self._flat[layout.loss]), float(self._flat[layout.stop]) > 0
            self._rate = steps.apply(self._flat) if self._slices is None else self._slices.apply(steps, self._flat)
        self._batch = None
        if audience.hears_batches:
            self._open_to_callbacks(lambda: audience.batch_ends(loss))
        self._agreed_stop = wish or (self._alone and audience.stopping)
        return loss

    def rewind(self) -> None:
        """Forgets a step whose gradients never came."""
        if self._compiled is not None:
            self._lanes.rewind(self._compiled)
        self._batch = None

    def score(self, batch: Batch) -> tuple[float, tuple[np.ndarray, ...]]:
        """(mean loss, outputs) in inference mode; NaN without labels or without a loss."""
        data = self._settings.structure.data(batch)
        steps = self._prepared(data)
        with self._telling(data):
            loss, outputs = steps.score(data)
        self._check_labels(data, loss)
        return loss, outputs

    def predict(self, batch: Batch) -> tuple[np.ndarray, ...]:
        """The outputs in inference mode, each of shape (rows, ...).

        Raises:
            UsageError: an output has another number of rows than the batch.
        """
        data = self._settings.structure.data(batch)
        outputs = self._prepared(data).predict(data.x)
        check_rows(outputs, batch.weight)
        return outputs

    def tally(self, total: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """The metrics of ``compile(metrics=...)`` over all rows trained since the last call, on all ranks together.

        A rank that has never had a row has none of their variables: it takes part with zeros, and learns nothing.
        """
        variables = self._model.metrics_variables if self._measured and self._compiled is not None else []
        if variables and self._compiled is not None:
            self._compiled.pull(METRICS)
        arrays = [np.asarray(keras.ops.convert_to_numpy(v.value), np.float64) for v in variables]
        own = np.concatenate([np.empty(0), *(array.ravel() for array in arrays)])
        size, holders = total(np.array([own.size, bool(own.size)], np.float64))
        if not holders:
            return {}
        sums = total(own if own.size else np.zeros(int(size / holders)))
        if not variables or self._compiled is None:
            return {}
        for variable, array in zip(variables, np.split(sums, np.cumsum([a.size for a in arrays])[:-1]), strict=True):
            variable.assign(array.reshape(variable.shape))
        results = {name: float(value) for name, value in self._model.get_metrics_result().items() if name != "loss"}
        self._model.reset_metrics()
        self._compiled.push(METRICS)
        return results

    def notice(self, moment: str, progress: Progress, stats: Mapping[str, float]) -> bool:
        """Hears of a border, tells the callbacks, and says whether to stop.

        ``"after_step"`` gives the answer that all ranks agreed upon with their gradients; every other moment's answer
        is this rank's own wish.
        """
        if moment == "after_step":
            return self._agreed_stop
        audience = self._settings.audience
        if moment == "after_train_epoch":
            self._settings.rates.after_epoch(progress)
        if audience.hears(moment):
            self._open_to_callbacks(lambda: audience.tell(moment, progress, stats))
        if moment == "before_run":
            self._agreed_stop = False
        return audience.stopping

    def state(self) -> State:
        """A copy of weights, optimizer, rate and random numbers; empty before the model is built."""
        if self._compiled is None and (self._pending is not None or not self._model.built):
            return self._pending or State({}, {})
        if self._compiled is not None:
            self._compiled.pull()
        optimizer = self._passes.optimizer if self._slices is None else self._slices.whole()
        return states.take(
            self._model, optimizer if optimizer is not None and optimizer.built else None,
            rates=self._settings.rates.state(), inputs=self._inputs,
        )  # fmt: skip

    def load(self, state: State) -> None:
        """Goes back to a remembered state, or will, once the model is built. Each rank has its own random numbers."""
        if not state.arrays:
            return
        self._settings.rates.load(state.values.get("rates"))
        self._inputs = state.values.get("inputs")
        own = states.reseeded(state, self._settings.rank.index)
        if not self._model.built or (self._group is not None and self._slices is None):
            self._pending = own
            return
        self._give(own)
        if self._compiled is not None:
            self._compiled.push()

    def _prepared(self, data: Data | None, *, train: bool = False) -> Steps:
        """The compiled passes; with its first rows everything gets its variables."""
        if data is not None and not (self._measured or (data.y is None and self._compiled is not None)):
            self._build(data, train=train)
        if self._compiled is None:
            if not self._model.built:
                raise UsageError(
                    "a rank has no rows in the first step, and the model learns the shapes of its layers from rows. "
                    "Give the model an Input, or a larger batch_size."
                )
            self._build(None, train=train)
        assert self._compiled is not None
        return self._compiled

    @contextmanager
    def _telling(self, data: Data | None) -> Iterator[None]:
        """Says with an error of the model or its loss what they were given: a backend's own words seldom do."""
        try:
            yield
        except Exception as error:
            if data is None:
                raise
            if problems := self._labels_mistaken(data):
                raise DataError("\n".join(problems)) from error
            error.add_note(f"The model was given {told(data.x)}; the loss was given the label {told(data.y)}.")
            raise

    def _check_labels(self, data: Data, loss: Any) -> None:
        """Says of a loss that is no number that its labels are to blame, where they are.

        Else only of losses that are numbers with any labels, for looking at all of them costs time. Of several ranks
        the one that has them says so.

        Raises:
            DataError: they are none for the loss.
        """
        if not self._explains or (not self._silent and math.isfinite(float(loss))):
            return
        if problems := self._labels_mistaken(data):
            raise DataError("\n".join(problems))

    def _labels_mistaken(self, data: Data) -> list[str]:
        if data.y is None or not self._explains:
            return []
        if self._shapes is None:
            self._shapes = self._output_shapes(data)
        return mistakes(self._model, arrays_of(data.y), self._shapes)

    def _output_shapes(self, data: Data) -> list[tuple[int | None, ...]]:
        """Of each output, without the batch; a model that does not know them computes two rows."""
        outputs = getattr(self._model, "outputs", None)
        found = outputs or keras.tree.flatten(self._passes.outputs(_first(data.x), training=False))
        return [tuple(one.shape)[1:] for one in found]

    def _build(self, data: Data | None, *, train: bool) -> None:
        """Variables for the model, its optimizer and its metrics; then the passes over them."""
        if not self._model.built:
            assert data is not None
            self._inputs = described(data.x)
            self._passes.outputs(_first(data.x), training=False)
            if self._pending is None:
                states.reseed(self._model, self._settings.rank.index)
        if train and not self._passes.optimizer.built:
            self._build_optimizer()
        if self._pending is not None:
            self._give(self._pending)
            self._pending = None
        if self._compiled is not None:
            self._compiled.pull()
        if data is not None and data.y is not None and self._passes.has_loss:
            self._measure_once(data)
        self._compiled = steps_of(self._settings.backend, self._passes)

    def _build_optimizer(self) -> None:
        if self._group is None:
            self._passes.optimizer.build(self._model.trainable_variables)
        else:
            self._slices = Slices(self._passes, self._group, self._settings.rank)

    def _measure_once(self, data: Data) -> None:
        """Metrics make their variables when they first see rows: they see two, and forget them."""
        few = Data(*(_first(part) for part in (data.x, data.y, data.weights)))
        with self._telling(data):
            outputs = self._passes.outputs(few.x, training=False)
            self._passes.loss(few, outputs, training=False)
            self._passes.measure(few, outputs)
        self._model.reset_metrics()
        self._measured = True

    def _give(self, state: State) -> None:
        optimizer = self._passes.optimizer
        if self._slices is not None:
            twin, memory = self._slices.twin()
            states.give(state, self._model, twin)
            self._slices.take(twin, memory)
            return
        if optimizer is not None and not optimizer.built:
            optimizer.build(self._model.trainable_variables)
        states.give(state, self._model, optimizer)

    def _set_rate(self, rate: float) -> None:
        assert self._compiled is not None
        self._compiled.pull()
        self._passes.optimizer.learning_rate = rate
        self._compiled.push()

    def _open_to_callbacks(self, tell: Callable[[], None]) -> None:
        """Callbacks see the newest values, and may change them."""
        if self._compiled is not None:
            self._compiled.pull()
        tell()
        if self._compiled is not None:
            self._compiled.push()


def _first(part: Any) -> Any:
    """The first two rows of nested arrays, as tensors."""
    if part is None:
        return None
    return keras.tree.map_structure(lambda array: keras.ops.convert_to_tensor(array[:2]), part)
