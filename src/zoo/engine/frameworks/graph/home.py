"""The program's own graph and session, on the driver.

Owns: finding the graph of a program's tensors, its session, making train operations in it, values out of it and back.
Leaves: what travels (program), what is wrong with a program's words (spec).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from zoo.engine import optim
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import copies, marks
from zoo.engine.frameworks.graph import optim as optimizers
from zoo.engine.frameworks.graph.optim import Built
from zoo.engine.frameworks.graph.ports import Port
from zoo.engine.frameworks.graph.program import Copy, Program, Turn
from zoo.engine.optim import Clip

v1 = tf.compat.v1
Schedules: TypeAlias = "tuple[tuple[str, optim.Optimizer], ...]"
"""(a tensor that takes the rate of each step, the optimizer of ours that says it)."""

_CODE = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_ITERATORS = ("Iterator", "IteratorV2", "OneShotIterator")


class Home:
    """A graph, and the session that holds its variables.

    Args:
        graph: the program's.
        session: likewise; None makes one, in which all variables begin at their initial values.

    Raises:
        UsageError: the session is of another graph.
    """

    def __init__(self, graph: Any, session: Any = None) -> None:
        if session is not None and session.graph is not graph:
            raise UsageError("sess is a session of another graph than the tensors. Make it with tf.Session(graph=...).")
        self.graph = graph
        self._session = session
        self._known = -1  # variables that have been seen to have values
        self._turns: dict[Any, tuple[Turn, Schedules]] = {}
        self._built: dict[int, tuple[Any, Built]] = {}

    @property
    def session(self) -> Any:
        """With every variable initialised: those that have a value keep it."""
        if self._session is None:
            self._session = v1.Session(graph=self.graph)
        with self.graph.as_default():
            variables = [*v1.global_variables(), *v1.local_variables()]
            if len(variables) != self._known and not self.graph.finalized:  # asking adds operations to the graph
                missing = {name.decode() for name in self._session.run(v1.report_uninitialized_variables(variables))}
                self._session.run([one.initializer for one in variables if one.op.name in missing])
                if self._known < 0:
                    self._session.run(self.graph.get_collection(v1.GraphKeys.TABLE_INITIALIZERS))
                self._known = len(variables)
        return self._session

    def turn(self, given: Any, loss: str, clip: Clip | None, updates: Sequence[str] | None) -> tuple[Turn, Schedules]:
        """What trains a loss with an optimizer; made once for each clipping.

        Args:
            given: an optimizer, or a dict from the beginnings of variables' names to optimizers.
            loss: a tensor.
            clip: of the averaged gradients.
            updates: operations that run with the gradients; None for those of the collection UPDATE_OPS.

        Raises:
            UsageError: the graph takes no more operations; see also `optim.train_operation`.
        """
        key = (loss, clip, None if updates is None else tuple(updates))
        if key not in self._turns:
            self._refuse_finalized()
            parts = given if isinstance(given, Mapping) else {"": given}
            with self.graph.as_default():
                made = {prefix: self._optimizer(one) for prefix, one in parts.items()}
                train = optimizers.train_operation(made, self.tensor(loss), clip)
            found = updates_of(self.graph, train) if updates is None else tuple(updates)
            rate = next(iter(made.values())).rate
            ours = [(made[prefix].rate.name, one) for prefix, one in parts.items() if isinstance(one, optim.Optimizer)]
            self._turns[key] = self.turn_of(train, loss, found, rate), tuple(ours)
        return self._turns[key]

    def turn_of(self, train: Any, loss: str, updates: Sequence[str] = (), rate: Any = float("nan")) -> Turn:
        """What a marked train operation does.

        Raises:
            UsageError: it was not made by a `ZooOptimizer`.
        """
        train = train.op if isinstance(train, tf.Tensor) else train
        gradients = marks.gradients_behind(train)
        if not gradients:
            raise UsageError(
                f"the train operation {train.name} applies no gradients that the ranks could average. Make it with "
                "ZooOptimizer: ZooOptimizer(tf.compat.v1.train.AdamOptimizer()).minimize(loss)."
            )
        found = dict.fromkeys((*marks.updates_behind(train), *updates))
        told = rate.name if isinstance(rate, tf.Tensor) else float(rate)
        return Turn("", loss, train.name, gradients, tuple(found), told)

    def _optimizer(self, given: Any) -> Built:
        """TensorFlow's, the same one each time, so that it keeps its memory."""
        if id(given) not in self._built:
            self._built[id(given)] = given, optimizers.built(given)
        return self._built[id(given)][1]

    def copy(self, program: Program) -> Copy:
        """The graph as it travels, with the variables that are needed there."""
        answers = [self.tensor(name) for name in (*program.answers, *(turn.loss for turn in program.turns))]
        answers += [self.operation(name) for turn in program.turns for name in turn.updates]
        training = [self.operation(turn.train) for turn in program.turns]
        model = {op.name for op in marks.ancestors(answers)}
        needed = model | {op.name for op in marks.ancestors(training)}
        variables = [v for v in copies.variables_of(self.graph) if v.op.name in needed]
        own = frozenset(v.name for v in variables if v.op.name in model)
        return Copy(copies.exported(self.graph), self.values(variables), own)

    def values(self, variables: Sequence[Any]) -> dict[str, np.ndarray]:
        """Those of variables, by their names."""
        return dict(zip((v.name for v in variables), self.session.run(list(variables)), strict=True))

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Gives variables their values."""
        copies.assign(self.session, values)

    def problems(self, fetches: Iterable[str], given: Iterable[str]) -> list[str]:
        """What keeps tensors from being computed on a rank, where `given` are fed."""
        given, found = set(given), []
        for op in marks.ancestors([self.tensor(name) for name in fetches], given):
            if op.type in _CODE:
                found.append(
                    f"{op.name} runs Python code (py_func, py_function, numpy_function), which cannot travel to the "
                    "ranks. Say it with operations of TensorFlow, or compute it beforehand, as a column."
                )
            elif op.type in _ITERATORS:
                found.append(
                    f"{op.name} is an iterator of this process. Feed the graph through placeholders and give the data "
                    "set to fit(), or take the tensors of TFDataset.from_tf_data_dataset(...).tensors."
                )
            elif op.type == "Placeholder" and not any(output.name in given for output in op.outputs):
                found.append(
                    f"the placeholder {op.name} is needed and nobody feeds it: name it in inputs or labels, or give "
                    f"its values with feed_dict={{{op.name}: (in training, in validation)}}."
                )
        return found

    def tensor(self, name: str) -> Any:
        """By its name."""
        return copies.tensor(self.graph, name)

    def operation(self, name: str) -> Any:
        """By its name."""
        return copies.operation(self.graph, name)

    def port(self, tensor: Any, key: str = "") -> Port:
        """A tensor as data feed it."""
        shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
        dtype = np.dtype(object) if tensor.dtype.base_dtype == tf.string else tensor.dtype.as_numpy_dtype
        return Port(tensor.name, key or tensor.op.name, np.dtype(dtype), shape)

    def _refuse_finalized(self) -> None:
        if self.graph.finalized:
            raise UsageError(
                "the graph is finalized (MonitoredSession does that), and training adds operations to it. Give a plain "
                "tf.compat.v1.Session, or call fit() before the monitored session is made."
            )


def updates_of(graph: Any, train: Any) -> tuple[str, ...]:
    """Operations of the collection UPDATE_OPS that need no other placeholder than a train operation needs."""
    reached = {op.name for op in marks.ancestors([train]) if op.type == "Placeholder"}
    found = []
    for update in graph.get_collection(v1.GraphKeys.UPDATE_OPS):
        operation = getattr(update, "op", update)
        needed = {op.name for op in marks.ancestors([operation]) if op.type == "Placeholder"}
        if needed <= reached:
            found.append(operation.name)
    return tuple(found)


def graph_of(tensors: Iterable[Any]) -> Any:
    """The graph that all tensors are of.

    Raises:
        UsageError: something is no tensor of a graph, or they are of several graphs.
    """
    found: Any = None
    for tensor in tensors:
        if isinstance(tensor, tf.Variable):
            tensor = tensor.value() if not tf.executing_eagerly() else tensor
        if not isinstance(tensor, tf.Tensor) or not tf.is_symbolic_tensor(tensor):
            raise UsageError(
                f"give tensors of a graph. Received: {tensor!r} ({type(tensor).__name__}). A program of TensorFlow 1 "
                "begins with: import tensorflow.compat.v1 as tf; tf.disable_eager_execution(). For Keras models use "
                "from_keras."
            )
        if found is not None and tensor.graph is not found:
            raise UsageError(f"the tensors are of different graphs: {tensor.name} is not of the graph of the others.")
        found = tensor.graph
    return found


def flat(nest: Any) -> list[tuple[str, Any]]:
    """(key, tensor) of a nest: keys of a dict, else empty; dicts in the order of their keys, as tf.nest has them."""
    if nest is None:
        return []
    if isinstance(nest, Mapping):
        return [(str(key), tensor) for key in sorted(nest) for _, tensor in flat(nest[key])]
    if isinstance(nest, list | tuple):
        return [pair for one in nest for pair in flat(one)]
    return [("", nest)]
