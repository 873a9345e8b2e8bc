"""The driver's side of a graph: what the program gave, checked, and how it becomes a replica.

Owns: the words of a program, the trip to the ranks, values back into the program's own session.
Leaves: the program's graph (home), what travels (program), a step (replica).

This module imports TensorFlow in its functions only: a rank must settle threads before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import cloudpickle

from zoo.engine.contracts import Collective, Json, Rank, State
from zoo.engine.data.columns import ArraySpec
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.tensorflow import process
from zoo.engine.frameworks.tensorflow.process import Threads
from zoo.engine.jobs import Columns
from zoo.engine.metrics import Metric
from zoo.engine.optim import Clip, RateControl

if TYPE_CHECKING:
    from zoo.engine.frameworks.graph.home import Home, Schedules
    from zoo.engine.frameworks.graph.program import Copy, Program, Turn
    from zoo.engine.frameworks.graph.replica import GraphReplica


@dataclass(kw_only=True)
class GraphSpec:
    """A graph with everything that trains it; picklable.

    Attributes:
        home: the program's graph and session; None on a rank.
        program: what is run of it.
        optimizer: an optimizer, or a dict of them: see `optim.train_operation`; None where `program` has turns.
        clip: of the averaged gradients, unless `for_training` is given another.
        updates: names of operations that run with the gradients; None for those of the collection UPDATE_OPS.
        measures: metrics, which may look at what the program measures.
        columns: of the data.
        threads: of a rank's process.
        session_config: a serialised ``ConfigProto``.
        seed: of random operations.
        memory: what schedules and turns remember, absorbed last.
    """

    home: Home | None
    program: Program
    optimizer: Any = None
    clip: Clip | None = None
    updates: tuple[str, ...] | None = None
    measures: tuple[Metric, ...] = ()
    columns: Columns = field(default_factory=lambda: Columns(()))
    threads: Threads = field(default_factory=Threads)
    session_config: bytes = b""
    seed: int = 0
    memory: Json = None
    config: Mapping[str, Any] = field(default_factory=dict)
    _schedules: Schedules = field(default=(), init=False, repr=False, compare=False)
    _copy: Copy | None = field(default=None, init=False, repr=False, compare=False)

    keeps_threads: ClassVar[bool] = False

    def problems(self) -> list[str]:
        """Everything wrong that can be seen before a process starts, one text each."""
        return UsageError.found_by(self._check_loss, self._check_optimizer)

    def check_columns(self, specs: Sequence[ArraySpec]) -> None:
        """On the driver: refuses columns that cannot feed the graph.

        Raises:
            UsageError: their number, types or shapes; all problems are listed.
        """
        from zoo.engine.frameworks.graph import ports

        wanted = self._ports(len(specs))
        if found := ports.problems(wanted, specs[: len(wanted)]):
            raise UsageError.listing(found)

    def for_training(self, columns: Columns, clip: Clip | None, callbacks: Sequence[Any]) -> GraphSpec:
        """The spec of a `fit`.

        Raises:
            UsageError: something that training needs is missing, or cannot travel.
        """
        if self.program.labels and not columns.labels:
            raise UsageError("label columns is None; it should not be None in training")
        if callbacks:
            raise UsageError("callbacks are for Keras and PyTorch models; give a graph's fit triggers, or summaries.")
        home = self._trainable()
        made, schedules = self, self._schedules
        if self.optimizer is not None:
            turn, schedules = home.turn(self.optimizer, self.program.loss, clip or self.clip, self.updates)
            made = self._with(program=replace(self.program, turns=(turn,)))
        made = made._with(columns=columns)
        made._schedules = schedules
        made._check_travels(*(turn.loss for turn in made.program.turns))
        return made

    def check_ranks(self, most: int) -> None:
        """Nothing: any model can be trained on any number of ranks."""

    def check_lanes(self, callbacks: Sequence[Any]) -> None:
        """Refuses: a graph's random operations draw from a state that no feed sets."""
        raise UsageError(
            "reproducible=True is for PyTorch and Keras models. Leave it out for a graph, or train the model with "
            "zoo.orca.learn.tf2."
        )

    def check_sharded(self, callbacks: Sequence[Any]) -> None:
        """Refuses: a graph's own train operation updates all weights."""
        raise UsageError(
            "sync='sharded' is for PyTorch and Keras models. Leave it out for a graph, or train the model with "
            "zoo.orca.learn.tf2."
        )

    def for_scoring(self, columns: Columns, callbacks: Sequence[Any]) -> GraphSpec:
        """The same graph without what only training needs.

        Raises:
            UsageError: what is asked for cannot be computed from the columns, or cannot travel.
        """
        program = replace(self.program, turns=())
        if not columns.labels and self.program.labels:  # a prediction
            program = replace(program, labels=(), loss="", measured=())
            if not program.outputs:
                raise UsageError("outputs is None, it should not be None in prediction")
        made = self._with(program=program, columns=columns, memory=None)
        made._schedules = ()
        made._check_travels()
        return made

    def feeding(self, feeds: Mapping[str, tuple[Any, Any]], session_config: bytes) -> GraphSpec:
        """The same graph with values that the program feeds itself, and a ``ConfigProto``."""
        program = replace(self.program, feeds={**self.program.feeds, **feeds})
        return self._with(program=program, session_config=session_config or self.session_config)

    def with_turns(self, turns: Sequence[Turn]) -> GraphSpec:
        """The same graph with kinds of steps of its own, in place of an optimizer."""
        return self._with(program=replace(self.program, turns=tuple(turns)))

    def metrics(self, columns: Columns) -> tuple[Metric, ...]:
        """Those that the program named."""
        return self.measures

    def placed(self, metrics: Any) -> tuple[Metric, ...]:
        """Metrics of `zoo.orca.learn.metrics`, or of the engine, on the graph's outputs."""
        from zoo.engine.frameworks.graph.making import engine_metric
        from zoo.engine.frameworks.graph.metrics import PlacedMetric

        if metrics is None:
            return ()
        places = tuple(range(len(self.program.outputs)))
        given = metrics if isinstance(metrics, list | tuple) else [metrics]
        if given and not places:
            raise UsageError("outputs is None; it should not be None where metrics are measured on them.")
        return tuple(PlacedMetric(engine_metric(metric), places) for metric in given)

    def place(self, rank: Rank) -> Rank:
        """The rank with the threads that were asked for, on its CPU."""
        return replace(self.threads.placed(rank), device="cpu")

    def build(self, rank: Rank, group: Collective | None = None) -> GraphReplica:
        """Makes the replica on a rank: a copy of the graph, also in the program's own process."""
        process.begin(rank.threads, rank.inter_threads)
        from zoo.engine.frameworks.graph import copies, replica

        copy = self._packed()
        session = copies.opened(copy, self._config(rank), rank, self.seed)
        rates = ((name, RateControl(given)) for name, given in self._schedules)
        settings = replica.Settings(
            rank=rank, columns=self.columns, variables=frozenset(copy.values),
            rates=tuple((name, control) for name, control in rates if control.scheduled),
            optimizing=frozenset(copy.values) - copy.model,
        )  # fmt: skip
        made = replica.GraphReplica(self.program, session, settings)
        if self.memory:
            made.remember(self.memory)
        return made

    def absorb(self, state: State) -> None:
        """Puts trained values into the program's own session, those of optimizers among them."""
        assert self.home is not None
        self.home.assign({name.partition("/")[2]: array for name, array in state.arrays.items()})
        self.memory = dict(state.values)

    def refreshed(self, state: State) -> State:
        """The state with the values that the session's variables have by now."""
        from zoo.engine.frameworks.graph import copies

        assert self.home is not None
        variables = [v for v in copies.variables_of(self.home.graph) if f"model/{v.name}" in state.arrays]
        return state.with_weights({f"model/{name}": array for name, array in self.home.values(variables).items()})

    def get_model(self) -> Any:
        """The session: its variables have the newest values."""
        assert self.home is not None
        return self.home.session

    def __reduce__(self) -> tuple[Any, ...]:
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        kept = values | {"home": None, "optimizer": None, "measures": (), "config": {}}
        return _arrive, (cloudpickle.dumps((kept, self._schedules, self._packed())),)

    def _packed(self) -> Copy:
        if self._copy is not None:
            return self._copy
        assert self.home is not None
        return self.home.copy(self.program)

    def _config(self, rank: Rank) -> Any:
        tf = process.library()
        config = tf.compat.v1.ConfigProto.FromString(self.session_config)
        config.intra_op_parallelism_threads = config.intra_op_parallelism_threads or rank.threads
        config.inter_op_parallelism_threads = config.inter_op_parallelism_threads or rank.inter_threads
        config.device_count["GPU"] = 0
        return config

    def _with(self, **changes: Any) -> GraphSpec:
        made = replace(self, **changes)
        made._schedules, made._copy = self._schedules, self._copy
        return made

    def _trainable(self) -> Home:
        assert self.home is not None
        if not self.program.turns:
            if not self.program.loss:
                raise UsageError("loss is None; it should not be None in training")
            if self.optimizer is None:
                raise UsageError("optimizer is None; it should not be None in training")
        return self.home

    def _check_travels(self, *losses: str) -> None:
        assert self.home is not None
        given = [port.tensor for port in (*self.program.inputs, *self.program.labels)] + list(self.program.feeds)
        if found := self.home.problems((*self.program.answers, *losses), given):
            raise UsageError.listing(found)

    def _ports(self, columns: int) -> Sequence[Any]:
        inputs, labels = self.program.inputs, self.program.labels
        if not labels and columns > len(inputs):  # data may have targets that nobody asks for
            return inputs
        if columns not in (len(inputs), len(inputs) + len(labels)):
            told = ", ".join(map(str, (*inputs, *labels)))
            raise UsageError(
                f"the graph takes {len(inputs)} feature(s) and {len(labels)} label(s): {told}. Received {columns} "
                "column(s) in all: name as many feature_cols and label_cols, in that order."
            )
        return inputs if columns == len(inputs) else (*inputs, *labels)

    def _check_loss(self) -> None:
        if self.program.loss and self.home is not None:
            loss = self.home.tensor(self.program.loss)
            if loss.shape.rank not in (0, None):
                raise UsageError(
                    f"loss must be a scalar, the mean over a batch: tf.reduce_mean(...). Received: {loss.name} of the "
                    f"shape {loss.shape}"
                )

    def _check_optimizer(self) -> None:
        if self.optimizer is not None:
            from zoo.engine.frameworks.graph import optim

            optim.check(self.optimizer)


def _arrive(payload: bytes) -> GraphSpec:
    import pickle

    values, schedules, copy = pickle.loads(payload)  # noqa: S301  packed by this job's own driver
    made = GraphSpec(**values)
    made._schedules, made._copy = schedules, copy
    return made
