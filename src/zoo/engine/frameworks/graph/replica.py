"""A graph on one rank: a copy in a session of its own.

A rank that is alone runs the train operation, as a program would. One of several first runs the gradients, as one flat
array [gradients, losses, statistics], which the collective sums in place, and then the train operation, with averages
fed in the gradients' place. The gradient of an embedding names rows: beside the sum of the rows travels which of them
any rank has named, so that the optimizer changes just those, as it would on one rank.

Owns: that, turns, what an evaluation is told.
Leaves: the graph as it travels (program), the order of things in a run (loop).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.engine.contracts import Batch, Json, Ready, State
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import copies, marks, ports
from zoo.engine.frameworks.graph.program import Program, Turn
from zoo.engine.jobs import Columns
from zoo.engine.optim import RateControl
from zoo.engine.progress import Progress
from zoo.engine.scoring import check_rows
from zoo.engine.values import Rank

v1 = tf.compat.v1
_ASSIGNING = ("Assign", "Scatter", "ResourceScatter")
_MODEL, _OPTIMIZER = "model/", "optimizer/"


@dataclass(frozen=True)
class Settings:
    """How a graph is used on a rank.

    Attributes:
        rank: who we are.
        columns: of the data.
        rates: (tensor that takes a rate, who says it).
        variables: names of those that travelled.
        optimizing: those of them that only training needs.
    """

    rank: Rank
    columns: Columns
    rates: tuple[tuple[str, RateControl], ...] = ()
    variables: frozenset[str] = frozenset()
    optimizing: frozenset[str] = frozenset()


class GraphReplica:
    """A graph at work.

    Args:
        program: what is run of it.
        session: with the graph, all variables at their values.
        settings: how it is used.
    """

    def __init__(self, program: Program, session: Any, settings: Settings) -> None:
        self._program, self._session, self._settings = program, session, settings
        self._graph = session.graph
        self._alone = settings.rank.alone
        self._before: dict[str, np.ndarray] = {}
        self._feeds = [copies.tensor(self._graph, port.tensor) for port in (*program.inputs, *program.labels)]
        self._order = [place for place, turn in enumerate(program.turns) for _ in range(turn.count)]
        self._step = 0
        self._rate = float("nan")
        self._arrays: list[np.ndarray] | None = None
        self._flat: np.ndarray = np.empty(0)
        self._losses: list[np.ndarray] = []

    @property
    def readings(self) -> dict[str, float]:
        """The learning rate of the last update, NaN where nobody can tell; each turn's loss where there are several."""
        turns = self._program.turns
        losses = self._losses[-1] if self._losses else ()
        named = {turn.name: float(loss) for turn, loss in zip(turns, losses, strict=False)}
        return {"LearningRate": self._rate, **named}

    def backward(self, batch: Batch, ready: Ready) -> None:
        """Computes the gradients of the batch's mean loss; a rank that is alone does so in `update`."""
        self._arrays = self._fed(batch, labelled=True) if batch.weight else None
        if self._alone:
            return
        steps = self._steps
        self._before = steps.changed()
        self._flat = np.zeros(steps.size, steps.dtype) if self._arrays is None else steps.gradients(self._arrays)
        ready(self._flat)

    def update(self, progress: Progress) -> float:
        """Applies the averaged gradients; returns the step's mean loss over all ranks.

        Args:
            progress: before this step.
        """
        rates = self._rates(progress.step)
        if self._alone:
            assert self._arrays is not None  # one rank has all rows of each step
            losses, self._rate = self._steps.train(self._arrays, rates)
        else:
            losses, self._rate = self._steps.apply(self._flat, rates)
        self._arrays, self._before = None, {}
        if len(self._program.turns) > 1:
            self._losses.append(losses)
        loss = float(losses[self._place])
        self._step += 1
        return loss

    def rewind(self) -> None:
        """Forgets a step whose gradients never came: what updates changed with them."""
        copies.assign(self._session, self._before)
        self._before = {}

    def score(self, batch: Batch) -> tuple[float, tuple[np.ndarray, ...]]:
        """(mean loss, outputs and what is measured); NaN without a loss. A single number counts for each row."""
        answers = self._scoring(*self._fed(batch, labelled=bool(batch.labels and self._program.labels)))
        loss = float(answers.pop(0)) if self._program.loss else math.nan
        outputs = len(self._program.outputs)
        measured = [np.broadcast_to(np.mean(value), (batch.weight,)) if np.ndim(value) == 0 else value
                    for value in answers[outputs:]]  # fmt: skip
        return loss, (*answers[:outputs], *measured)

    def predict(self, batch: Batch) -> tuple[np.ndarray, ...]:
        """The outputs, each of shape (rows, ...).

        Raises:
            UsageError: an output has another number of rows than the batch.
        """
        outputs = tuple(np.asarray(one) for one in self._predicting(*self._fed(batch, labelled=False)))
        check_rows(outputs, batch.weight)
        return outputs

    def tally(self, total: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """The mean of each turn's loss since the last call, where there are several turns."""
        losses, self._losses = self._losses, []
        if not losses:
            return {}
        means = np.mean(losses, axis=0)
        return {turn.name: float(mean) for turn, mean in zip(self._program.turns, means, strict=True)}

    def notice(self, moment: str, progress: Progress, stats: Mapping[str, float]) -> bool:
        """Hears of a border; nobody here asks to stop."""
        if moment == "after_train_epoch":
            for _, control in self._settings.rates:
                control.after_epoch(progress)
        return False

    def state(self) -> State:
        """A copy of all variables that travelled, and of what schedules remember."""
        variables = self._variables
        values = self._session.run(list(variables.values()))
        rates: Json = [control.state() for _, control in self._settings.rates]
        return State(dict(zip(variables, map(np.array, values), strict=True)), {"rates": rates, "step": self._step})

    def load(self, state: State) -> None:
        """Goes back to a remembered state."""
        if not state.arrays:
            return
        self.remember(state.values)
        copies.assign(self._session, {name.partition("/")[2]: array for name, array in state.arrays.items()})

    def _rates(self, step: int) -> list[np.ndarray]:
        """What schedules say for update number `step`."""
        controls = [control for _, control in self._settings.rates]
        for control in controls:
            control.before_update(step)
        return [np.asarray(control.value, np.float32) for control in controls]

    def remember(self, values: Mapping[str, Json]) -> None:
        """Goes back to where turns and schedules stood, of which `state` tells."""
        self._step = int(values.get("step", 0))
        for (_, control), memory in zip(self._settings.rates, values.get("rates") or (), strict=False):
            control.load(memory)

    @property
    def _place(self) -> int:
        """Which of the turns this step is."""
        return self._order[self._step % len(self._order)]

    @property
    def _steps(self) -> Steps:
        return self._all_steps[self._place]

    @cached_property
    def _all_steps(self) -> list[Steps]:
        rates = [copies.tensor(self._graph, name) for name, _ in self._settings.rates]
        return [Steps(self._session, self._program, turn, (self._feeds, rates)) for turn in self._program.turns]

    @cached_property
    def _variables(self) -> dict[str, Any]:
        """By the names that their values have in a state."""
        found = {}
        for variable in copies.variables_of(self._graph):
            if variable.name in self._settings.variables and variable.dtype.base_dtype != tf.string:
                prefix = _OPTIMIZER if variable.name in self._settings.optimizing else _MODEL
                found[prefix + variable.name] = variable
        return found

    @cached_property
    def _scoring(self) -> Callable[..., list[Any]]:
        return evaluation(self._session, self._program, self._program.answers, self._feeds)

    @cached_property
    def _predicting(self) -> Callable[..., list[Any]]:
        inputs = self._feeds[: len(self._program.inputs)]
        return evaluation(self._session, self._program, self._program.outputs, inputs)

    def _fed(self, batch: Batch, *, labelled: bool) -> list[np.ndarray]:
        columns, wanted = self._settings.columns, self._program
        arrays = ports.fed(wanted.inputs, columns.features, batch.features, "features")
        if labelled:
            arrays += ports.fed(wanted.labels, columns.labels, batch.labels, "labels")
        return arrays


class Steps:
    """One turn's passes over a session.

    Args:
        session: with the graph.
        wanted: what is run of it.
        turn: which kind of step.
        feeds: (what the data feed, what takes rates).
    """

    def __init__(self, session: Any, wanted: Program, turn: Turn, feeds: tuple[Sequence[Any], Sequence[Any]]) -> None:
        self._session, self._wanted, self._turn = session, wanted, turn
        self._data, self._rates = feeds
        self._graph = session.graph
        self._losses = [copies.tensor(self._graph, one.loss) for one in wanted.turns]
        self._updates = [copies.operation(self._graph, name) for name in turn.updates]
        self._marked = [_Marked(self._graph, gradient) for gradient in turn.gradients]

    def train(self, arrays: Sequence[np.ndarray], rates: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
        """A whole step: (losses of all turns, learning rate)."""
        losses, rate, *_ = self._training(*arrays, *rates)
        return losses, float(rate)

    def gradients(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The flat array of a batch."""
        flat = self._gradient_pass(*arrays)[0]
        return flat if flat.flags.writeable else np.array(flat)

    def apply(self, flat: np.ndarray, rates: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
        """Changes the variables by a flat array of averages: (mean losses of all turns, learning rate)."""
        fed, start = [], 0
        for one in self._marked:
            fed += one.fed(flat[start : start + one.size])
            start += one.size
        losses = flat[start : start + len(self._losses)]
        start += len(self._losses)
        for variable in self.statistics:
            size = math.prod(variable.shape.as_list())
            fed.append(flat[start : start + size].reshape(variable.shape.as_list()))
            start += size
        return losses, float(self._apply_pass(*fed, *rates)[0])

    def changed(self) -> dict[str, np.ndarray]:
        """The values of the variables that updates change."""
        return self._session.run({v.name: v for v in self._changed}) if self._changed else {}

    @cached_property
    def statistics(self) -> list[Any]:
        """Variables of floats that the updates change: their averages over ranks are taken."""
        return [variable for variable in self._changed if variable.dtype.is_floating]

    @cached_property
    def _changed(self) -> list[Any]:
        ops = [op for update in self._updates for op in marks.ancestors([update]) if op.type.startswith(_ASSIGNING)]
        names = {op.inputs[0].op.name for op in ops}
        return [variable for variable in copies.variables_of(self._graph) if variable.op.name in names]

    @property
    def dtype(self) -> Any:
        """Of the flat array."""
        return np.dtype("float64" if any(one.values.dtype == tf.float64 for one in self._marked) else "float32")

    @property
    def size(self) -> int:
        """Elements of the flat array."""
        moving = sum(math.prod(variable.shape.as_list()) for variable in self.statistics)
        return int(sum(one.size for one in self._marked) + len(self._losses) + moving)

    @cached_property
    def _training(self) -> Callable[..., list[Any]]:
        with self._graph.as_default():
            losses = tf.stack([tf.cast(loss, tf.float32) for loss in self._losses])
            fetches = [losses, self._rate, copies.operation(self._graph, self._turn.train), *self._updates]
        return self._callable(fetches, [*self._data, *self._rates])

    @cached_property
    def _gradient_pass(self) -> Callable[..., list[Any]]:
        with self._graph.as_default():
            with tf.control_dependencies(self._updates):
                moved = [variable.read_value() for variable in self.statistics]
            pieces = [*(piece for one in self._marked for piece in one.pieces()), *self._losses, *moved]
            flat = tf.concat([tf.reshape(tf.cast(piece, self.dtype), [-1]) for piece in pieces], 0)
        return self._callable([flat, *self._updates], self._data)

    @cached_property
    def _apply_pass(self) -> Callable[..., list[Any]]:
        with self._graph.as_default():
            fed = [tensor for one in self._marked for tensor in one.tensors]
            self._refuse_rows(fed)
            averages = [v1.placeholder(variable.dtype.base_dtype, variable.shape) for variable in self.statistics]
            assigned = [v1.assign(v, average).op for v, average in zip(self.statistics, averages, strict=True)]
            fetches = [self._rate, copies.operation(self._graph, self._turn.train), *assigned]
        return self._callable(fetches, [*fed, *averages, *self._rates])

    def _refuse_rows(self, fed: Sequence[Any]) -> None:
        """Averages are applied where there may be no rows."""
        train = copies.operation(self._graph, self._turn.train)
        given = {tensor.name for tensor in (*fed, *self._rates)} | set(self._wanted.feeds)
        needed = {op.name for op in marks.ancestors([train], given)}
        if found := [tensor.name for tensor in self._data if tensor.op.name in needed]:
            raise UsageError(
                f"the train operation {self._turn.train} needs {', '.join(found)} beside its gradients, and ranks "
                "apply their averages without rows. Compute what it needs within the loss, or train on one rank."
            )

    @cached_property
    def _rate(self) -> Any:
        """A tensor."""
        found = self._turn.rate
        return tf.constant(found) if isinstance(found, float) else copies.tensor(self._graph, found)

    def _callable(self, fetches: Sequence[Any], feeds: Sequence[Any]) -> Callable[..., list[Any]]:
        return with_feeds(self._session, self._wanted, fetches, feeds, training=True)


class _Marked:
    """A marked gradient in a rank's graph."""

    def __init__(self, graph: Any, gradient: Any) -> None:
        self.values = copies.tensor(graph, gradient.values)
        self.indices = copies.tensor(graph, gradient.indices) if gradient.indices else None
        variable = next(v for v in copies.variables_of(graph) if v.name == gradient.variable)
        self.shape = variable.shape.as_list()

    @property
    def tensors(self) -> list[Any]:
        """What is fed."""
        return [self.values] if self.indices is None else [self.values, self.indices]

    @property
    def size(self) -> int:
        """Elements in the flat array: the gradient, and one more for each row that may be named."""
        named = self.shape[0] if self.indices is not None else 0
        return int(math.prod(self.shape) + named)

    def pieces(self) -> list[Any]:
        """(in the graph) What goes into the flat array."""
        if self.indices is None:
            return [self.values]
        rows, indices = self.shape[0], tf.reshape(self.indices, [-1])
        values = tf.reshape(self.values, [-1, *self.shape[1:]])
        named = tf.math.unsorted_segment_sum(tf.ones_like(indices, self.values.dtype), indices, rows)
        return [tf.math.unsorted_segment_sum(values, indices, rows), named]

    def fed(self, flat: np.ndarray) -> list[np.ndarray]:
        """What `tensors` take, of this gradient's part of a flat array."""
        own = self.values.dtype.as_numpy_dtype
        whole = flat[: math.prod(self.shape)].reshape(self.shape)
        if self.indices is None:
            return [whole.astype(own, copy=False)]
        rows = np.flatnonzero(flat[whole.size :])
        return [whole[rows].astype(own, copy=False), rows.astype(self.indices.dtype.as_numpy_dtype)]


def evaluation(session: Any, wanted: Program, names: Sequence[str], feeds: Sequence[Any]) -> Callable[..., list[Any]]:
    """A function from arrays for `feeds` to the values of the tensors `names`, outside training."""
    tensors = [copies.tensor(session.graph, name) for name in names]
    return with_feeds(session, wanted, tensors, feeds, training=False)


def with_feeds(
    session: Any, wanted: Program, fetches: Sequence[Any], feeds: Sequence[Any], *, training: bool
) -> Callable[..., list[Any]]:
    """A function from arrays for `feeds`; what the program feeds itself is fed with them."""
    own = {copies.tensor(session.graph, name): pair[0 if training else 1] for name, pair in wanted.feeds.items()}
    run = copies.prepared(session, fetches, [*feeds, *own])
    values = [np.asarray(value, tensor.dtype.as_numpy_dtype) for tensor, value in own.items()]
    return lambda *arrays: run(*arrays, *values)
