"""The driver's side of a Keras model: what the user gave, checked, and how it becomes a replica.

Owns: telling models from creator functions; the trip to the ranks; the user's own model object.
Leaves: which backend, with how many threads (backends), packing (travel), a step (replica).

Unlike torch's, this module imports Keras in its functions only: a rank must settle threads and backend before.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import cloudpickle

from zoo.engine.contracts import Collective, Rank, State
from zoo.engine.data.columns import ArraySpec
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import backends, travel
from zoo.engine.frameworks.keras.freezing import without_optimizer
from zoo.engine.frameworks.keras.structures import Structure, zeros_like
from zoo.engine.frameworks.tensorflow.process import Threads
from zoo.engine.jobs import Columns
from zoo.engine.optim import Clip, RateControl
from zoo.engine.optim.memory import check_kind

if TYPE_CHECKING:
    from zoo.engine.frameworks.keras.metrics import CompiledMetrics
    from zoo.engine.frameworks.keras.replica import KerasReplica


@dataclass(kw_only=True)
class KerasSpec:
    """A compiled Keras 3 model with everything that trains it; picklable.

    In the user's own process it is the user's own model that trains, as ``model.fit`` would do it; elsewhere a copy.

    Attributes:
        model: a compiled ``keras.Model``, or a creator ``f(config)`` of one.
        backend: of Keras, on the driver and on every rank.
        optimizer: in place of the compiled one: see `optim.build_optimizer`.
        compile_args_creator: ``f(config)`` -> arguments of ``compile``, for a creator whose model is not compiled.
        config: the user's values, given to the creators.
        clip: of the averaged gradients.
        callbacks: Keras callbacks; see `callbacks`.
        columns: of the data; their names find the keys of a model with dicts.
        weighted: whether the last label column holds the rows' weights.
        class_weight: class -> weight of its rows in the loss.
        threads: of a rank's process.
        device: ``"cuda"`` for the rank's GPU; else the CPU.
        seed: of the weights that a creator makes, and of random layers.
        learned: the last state absorbed, for a model that a creator makes.
    """

    model: Any
    backend: str
    optimizer: Any = None
    compile_args_creator: Callable[..., Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    clip: Clip | None = None
    callbacks: tuple[Any, ...] = ()
    columns: Columns = field(default_factory=lambda: Columns(()))
    weighted: bool = False
    class_weight: Mapping[int, float] | None = None
    threads: Threads = field(default_factory=Threads)
    device: str | None = None
    seed: int = 0
    learned: State | None = field(default=None, repr=False, compare=False)
    _made: Any = field(default=None, init=False, repr=False, compare=False)
    _packed: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def keeps_threads(self) -> bool:
        """TensorFlow and JAX keep the threads of their first computation."""
        return self.backend != "torch"

    def problems(self) -> list[str]:
        """Everything wrong that can be seen before a process starts, one text each."""
        return UsageError.found_by(self._check_model, self._check_words, self._check_optimizer)

    def check_columns(self, specs: Sequence[ArraySpec]) -> None:
        """Keras has layers for text: whether a column fits is for the model to say."""

    def for_training(self, columns: Columns, clip: Clip | None, callbacks: Sequence[Any]) -> KerasSpec:
        """The spec of a `fit`.

        Raises:
            UsageError: the model cannot be trained: it was not compiled, has no loss, or a step of its own.
        """
        backends.begin(self.backend)
        from zoo.engine.frameworks.keras.callbacks import check_callbacks
        from zoo.engine.frameworks.keras.trainable import check_trainable

        check_callbacks(callbacks)
        check_trainable(self.get_model(), self.optimizer, columns)
        return self._with(columns=columns, clip=clip, callbacks=tuple(callbacks))

    def check_ranks(self, most: int) -> None:
        """Nothing: any model can be trained on any number of ranks."""

    def check_lanes(self, callbacks: Sequence[Any]) -> None:
        """Every Keras model can be trained in virtual ranks."""

    def check_sharded(self, callbacks: Sequence[Any]) -> None:
        """Refuses (UsageError) an optimizer or a constraint of the model that looks at whole weights."""
        from zoo.engine.frameworks.keras.slices import check_elementwise

        if _is_model(self.model):
            check_elementwise(self._optimizer_of(self.model)[0], self.model)

    def for_scoring(self, columns: Columns, callbacks: Sequence[Any]) -> KerasSpec:
        """The same model without what only training needs; the model itself is shared, not copied."""
        learned = None if self.learned is None else without_optimizer(self.learned)
        return self._with(columns=columns, clip=None, callbacks=(), optimizer=None, learned=learned)

    def weighing(
        self, weighted: bool, class_weight: Mapping[int, float] | None, config: Mapping[str, Any]
    ) -> KerasSpec:
        """The same model with other weights of rows, and with further values for creators."""
        return self._with(weighted=weighted, class_weight=class_weight, config={**self.config, **config})

    def metrics(self, columns: Columns) -> tuple[CompiledMetrics, ...]:
        """Those that the model was compiled with; without targets there is nothing to measure."""
        if not columns.labels:
            return ()
        from zoo.engine.frameworks.keras.metrics import CompiledMetrics

        found = CompiledMetrics.of(self.get_model(), self.backend, self.weighted)
        return () if found is None else (found,)

    def place(self, rank: Rank) -> Rank:
        """The rank with the threads and the device that this model is to use there.

        Raises:
            UsageError: a GPU was asked for and the rank has none.
        """
        rank = self.threads.placed(rank)
        if self.device != "cuda":
            return replace(rank, device="cpu")
        if rank.device == "cpu":
            raise UsageError(
                "device='cuda', and this rank was given no GPU. Have Spark give one to each task "
                "(spark.task.resource.gpu.amount=1), or leave device out."
            )
        return rank

    def build(self, rank: Rank, group: Collective | None = None) -> KerasReplica:
        """Makes the replica on a rank.

        Raises:
            UsageError: this process has Keras with another backend; a creator made something else than a model.
        """
        keras = backends.begin(self.backend, rank.threads, rank.inter_threads)
        if rank.lanes:
            backends.check_threads(self.backend, rank.threads)
        from zoo.engine.frameworks.keras.callbacks import Audience
        from zoo.engine.frameworks.keras.passes import Passes
        from zoo.engine.frameworks.keras.replica import KerasReplica, Settings

        if self._packed is not None or not _is_model(self.model):
            with backends.without_tensorflow():
                keras.utils.set_random_seed(self.seed)
        model = self._own_model()
        optimizer, decay = self._optimizer_of(model)
        callbacks = travel.unpack(self.callbacks) if isinstance(self.callbacks, bytes) else self.callbacks
        settings = Settings(
            rank, self.backend, self._structure(model), RateControl(self.optimizer),
            Audience(callbacks, model, rank.index),
        )  # fmt: skip
        passes = Passes(model, optimizer, self.clip, decay, bool(rank.lanes), 1 if group is None else rank.world)
        return KerasReplica(passes, settings, group)

    def absorb(self, state: State) -> None:
        """Puts trained weights, and the memory of the compiled optimizer, into the user's own model.

        A model that a creator makes, or that has no weights yet, gets them when it is made or built.

        Raises:
            UsageError: the weights are those of another model, or the memory is another optimizer's.
        """
        from zoo.engine.frameworks.keras import state as states

        if not _is_model(self.model):
            self.learned = state
        model = self.model if _is_model(self.model) else self._made
        if model is None:
            return
        optimizer = self._optimizer_of(model)[0]
        if optimizer is not None and any(name.startswith("optimizer/") for name in state.arrays):
            check_kind(state.values, optimizer)
        if not model.built and state.values.get("inputs") is not None:
            model(zeros_like(state.values["inputs"]))
        if not model.built:
            return
        optimizer = model.optimizer if self.optimizer is None else None
        if optimizer is not None and not optimizer.built:
            optimizer.build(model.trainable_variables)
        states.give(state, model, optimizer)

    def refreshed(self, state: State) -> State:
        """The state with the weights that the model has by now: the program may have set them since `absorb`."""
        from zoo.engine.frameworks.keras import state as states

        model = self.model if _is_model(self.model) else self._made
        return state.with_weights(states.take(model).arrays) if model is not None and model.built else state

    def get_model(self) -> Any:
        """The user's own model object, or the one that the creator makes, with the state absorbed last."""
        if _is_model(self.model):
            return self.model
        if self._made is None:
            self._made = self._new_model()
            if self.learned is not None:
                self.absorb(self.learned)
        return self._made

    def save(self, url: str, *, overwrite: bool = True) -> str:
        """Writes the whole model; see `files.save_model`."""
        from zoo.engine.frameworks.keras import files

        return files.save_model(self.get_model(), url, overwrite=overwrite)

    def save_weights(self, url: str, *, overwrite: bool = True) -> str:
        """Writes the weights; see `files.save_weights`."""
        from zoo.engine.frameworks.keras import files

        return files.save_weights(self.get_model(), url, overwrite=overwrite)

    def load_weights(self, url: str, *, by_name: bool = False) -> None:
        """Reads weights; see `files.load_weights`."""
        from zoo.engine.frameworks.keras import files

        files.load_weights(self.get_model(), url, by_name=by_name)
        self._remember()

    def save_tf_checkpoint(self, prefix: str) -> str:
        """Writes a checkpoint of TensorFlow; see `files.save_tf_checkpoint`."""
        from zoo.engine.frameworks.keras import files

        return files.save_tf_checkpoint(self.get_model(), self.backend, prefix)

    def load_tf_checkpoint(self, prefix: str) -> None:
        """Reads a checkpoint of TensorFlow; see `files.load_tf_checkpoint`."""
        from zoo.engine.frameworks.keras import files

        files.load_tf_checkpoint(self.get_model(), self.backend, prefix)
        self._remember()

    def dumps(self) -> bytes:
        """The spec as it travels.

        Raises:
            NotPicklable: naming what does not.
        """
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        values["callbacks"] = self._packed_callbacks()
        packed = self._packed
        if packed is None and _is_model(self.model):
            packed = travel.pack(self.model, "model")
        if packed is not None:
            values["model"] = None
        try:
            payload: bytes = cloudpickle.dumps((values, packed))
        except Exception:  # any class may refuse in its own way: it is looked for by name
            for name, value in values.items():
                travel.check(name, value)
            raise
        return payload

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.dumps(),)

    def _packed_callbacks(self) -> Any:
        if not self.callbacks or isinstance(self.callbacks, bytes):
            return self.callbacks
        from zoo.engine.frameworks.keras.callbacks import unbound

        return travel.pack(unbound(self.callbacks), "callbacks")

    def _with(self, **changes: Any) -> KerasSpec:
        made = replace(self, **changes)
        made._made, made._packed = self._made, self._packed
        return made

    def _remember(self) -> None:
        """Whoever makes this model elsewhere gives it the weights that it has here."""
        from zoo.engine.frameworks.keras import state as states

        if not _is_model(self.model):
            self.learned = states.take(self.get_model())

    def _optimizer_of(self, model: Any) -> tuple[Any, float]:
        """(the optimizer, the factor of an L2 penalty beside it); (None, 0) where there is none."""
        from zoo.engine.frameworks.keras.optim import build_optimizer

        return (getattr(model, "optimizer", None), 0.0) if self.optimizer is None else build_optimizer(self.optimizer)

    def _own_model(self) -> Any:
        """The model that this process trains."""
        if self._packed is not None:
            self.model, self._packed = travel.unpack(self._packed), None
        return self.get_model()

    def _new_model(self) -> Any:
        backends.begin(self.backend)
        model = _create(self.model, self.config)
        if not _is_model(model):
            raise UsageError(f"the model creator must return a keras.Model. It returned: {type(model)}")
        if self.compile_args_creator is not None:
            model.compile(**_create(self.compile_args_creator, self.config))
        return model

    def _structure(self, model: Any) -> Structure:
        return Structure(
            features=self.columns.features,
            inputs=_keys(getattr(model, "input", None) if model.built else None),
            labels=self.columns.labels[: len(self.columns.labels) - self.weighted],
            outputs=_keys(getattr(model, "output", None) if model.built else None),
            weighted=self.weighted,
            class_weight=self.class_weight,
        )

    def _check_model(self) -> None:
        if _is_model(self.model):
            backends.begin(self.backend)
            return
        if _is_legacy(self.model):
            raise UsageError(
                f"model is a {type(self.model).__module__}.{type(self.model).__qualname__}, of Keras 2 (tf_keras). "
                "Make it with Keras 3 (import keras; or TF_USE_LEGACY_KERAS unset with tf.keras): layers and compile() "
                "have the same names there."
            )
        if not callable(self.model) or isinstance(self.model, type):
            raise UsageError(
                "give a compiled keras.Model as keras_model, or a function model_creator(config) that returns one. "
                f"Received: {self.model!r}"
            )

    def _check_words(self) -> None:
        backends.check(self.backend)
        if self.device not in (None, "cpu", "cuda"):
            raise UsageError(f"device must be 'cpu', 'cuda' or None. Received: {self.device!r}")
        if not isinstance(self.config, Mapping):
            raise UsageError(f"config must be a dict. Received: {self.config!r}")

    def _check_optimizer(self) -> None:
        if self.optimizer is not None:
            backends.begin(self.backend)
            from zoo.engine.frameworks.keras.optim import build_optimizer

            build_optimizer(self.optimizer)


def _arrive(payload: bytes) -> KerasSpec:
    """The inverse of `dumps`; imports nothing heavy: threads and backend are settled by `build`."""
    values, packed = pickle.loads(payload)  # noqa: S301  packed by this job's own driver
    spec = KerasSpec(**values)
    spec._packed = packed
    return spec


def _is_model(thing: Any) -> bool:
    """Whether it is a Keras 3 model, without importing Keras."""
    return any(f"{cls.__module__}.{cls.__qualname__}" == "keras.src.models.model.Model" for cls in type(thing).__mro__)


def _is_legacy(thing: Any) -> bool:
    return any(cls.__module__.startswith("tf_keras.") for cls in type(thing).__mro__)


def _keys(structure: Any) -> tuple[str, ...]:
    return tuple(structure) if isinstance(structure, Mapping) else ()


def _create(creator: Callable[..., Any], config: Mapping[str, Any]) -> Any:
    """``creator(config)``, or ``creator()`` where it takes nothing."""
    import inspect

    try:
        takes = inspect.signature(creator).parameters
    except (TypeError, ValueError):
        return creator(config)
    return creator(config) if takes else creator()
