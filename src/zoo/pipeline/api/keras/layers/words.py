"""The arguments of Keras 1 on layers of Keras 3.

Owns: the table of arguments, old to new; calls by it, their errors, signatures and configs.
Leaves: which layer takes which arguments (the modules beside this one), converting values (converters).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine import faults
from zoo.pipeline.api.keras.engine.layer import ZooKerasLayer
from zoo.pipeline.api.keras.initializations import initializer
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.regularizers import regularizer
from zoo.pipeline.api.library import library
from zoo.pipeline.api.variable import unwrapped

keras = library()
layers = keras.layers
Layer = layers.Layer

REQUIRED = inspect.Parameter.empty


class Word(NamedTuple):
    """One argument: `new` is its name in Keras 3; `part` where it is one entry of a tuple there."""

    new: str
    convert: Callable[[Any], Any] = lambda value: value
    part: bool = False


WORDS: Mapping[str, Word] = {
    "output_dim": Word("units", to.count),
    "nb_filter": Word("filters", to.count),
    "filter_length": Word("kernel_size", to.count),
    "nb_row": Word("kernel_size", to.count, part=True),
    "nb_col": Word("kernel_size", to.count, part=True),
    "kernel_dim1": Word("kernel_size", to.count, part=True),
    "kernel_dim2": Word("kernel_size", to.count, part=True),
    "kernel_dim3": Word("kernel_size", to.count, part=True),
    "nb_kernel": Word("kernel_size", to.count),
    "subsample": Word("strides", to.counts),
    "subsample_length": Word("strides", to.count),
    "atrous_rate": Word("dilation_rate", to.counts),
    "depth_multiplier": Word("depth_multiplier", to.count),
    "border_mode": Word("padding", to.border),
    "dim_ordering": Word("data_format", to.ordering),
    "pool_length": Word("pool_size", to.count),
    "pool_size": Word("pool_size", to.counts),
    "stride": Word("strides", to.optional_counts),
    "strides": Word("strides", to.optional_counts),
    "length": Word("size", to.count),
    "size": Word("size", to.counts),
    "init": Word("kernel_initializer", initializer),
    "beta_init": Word("beta_initializer", initializer),
    "gamma_init": Word("gamma_initializer", initializer),
    "activation": Word("activation", to.activation),
    "inner_activation": Word("recurrent_activation", to.activation),
    "W_regularizer": Word("kernel_regularizer", regularizer),
    "U_regularizer": Word("recurrent_regularizer", regularizer),
    "b_regularizer": Word("bias_regularizer", regularizer),
    "depthwise_regularizer": Word("depthwise_regularizer", regularizer),
    "pointwise_regularizer": Word("pointwise_regularizer", regularizer),
    "bias": Word("use_bias", bool),
    "return_sequences": Word("return_sequences", bool),
    "go_backwards": Word("go_backwards", bool),
    "layer": Word("layer", to.inner_layer),
    "p": Word("rate", to.rate),
    "sigma": Word("stddev"),
    "input_shape": Word("input_shape", to.shape),
}
"""What the old arguments are in Keras 3. A layer's own `words` come first; any other name is the same in both."""

COMMON = ("name", "trainable", "dtype")
OLD_HABITS = ("bigdl_type",)  # programs pass it; it said how numbers were stored in the JVM
SIZES = ("input_dim", "input_length", "batch_input_shape")  # other ways to say the input's shape

Given = SimpleNamespace


class Spelt(ZooKerasLayer):
    """A layer with arguments in Keras 1's words.

    Attributes:
        arguments: of a class: name -> default, in their order; `REQUIRED` has none.
        words: of a class: what some of its arguments are, in place of `WORDS`.
        axes: of a class: of its input; where "channels" stand goes by `dim_ordering`.
        unsaved: of a class: arguments that a config goes without, for weights hold them.
        given: of a layer: its arguments, converted, by their old names.
    """

    arguments: Mapping[str, Any] = {}
    words: Mapping[str, Word] = {}
    axes: Sequence[str] = ()
    unsaved: Sequence[str] = ()
    package = "zoo"

    def __init_subclass__(cls, **words: Any) -> None:
        super().__init_subclass__(**words)
        if "arguments" not in cls.__dict__:
            cls.__signature__ = None if "__init__" in cls.__dict__ else getattr(cls, "__signature__", None)
            return
        cls.arguments = {**cls.arguments, "input_shape": cls.arguments.get("input_shape")}
        cls.__signature__ = _signature(cls.arguments)

        def begin(self: Any, *args: Any, **kwargs: Any) -> None:
            self._begin(cls, args, kwargs)

        begin.__signature__ = _signature(cls.arguments, ("self",))  # type: ignore[attr-defined]
        begin.__name__, begin.__qualname__ = "__init__", f"{cls.__qualname__}.__init__"
        cls.__init__ = begin  # type: ignore[method-assign]
        keras.saving.register_keras_serializable(cls.package)(cls)

    def _begin(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raw, common, shape = bound(cls, args, kwargs)
        given = Given(**{name: converted(cls, name, value) for name, value in raw.items()})
        self.checked(given)
        trainable = common.pop("trainable", True)  # some layers of Keras take no such argument
        super(cls, self).__init__(**self.passed_on(given), **common)  # type: ignore[call-arg]
        self.given, self._raw = given, Given(**raw)
        # the engine looks here for a user's own functions and classes, which travel with the model
        self._theirs = [one for one in vars(given).values() if callable(one) and not isinstance(one, Layer)]
        if not trainable:
            self.trainable = False
        if shape is not None:
            self.given_input_shape = shape

    @classmethod
    def checked(cls, given: Given) -> None:
        """Refuses arguments that contradict each other."""

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        """What Keras' own layer is made with; nothing where the layer is one of ours."""
        return {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Applies the layer to a `Variable`, or several, or to what Keras takes.

        Raises:
            UsageError: the input has another number of axes, or a shape that the layer does not take.
        """
        shape = getattr(args[0], "shape", None) if args and self.axes else None
        if shape is not None and len(shape) != len(self.takes()):
            raise UsageError(
                f"{type(self).__name__} '{self.name}' takes ({', '.join(self.takes())}), the batch first. "
                f"Received: an input of the shape {tuple(shape)}"
            )
        try:
            return super().__call__(*args, **kwargs)
        except ValueError as error:
            shapes = _symbolic_shapes(args)
            if not shapes or (isinstance(error, UsageError) and not faults.wrapped(error)):
                raise  # of arrays anything may be wrong, and what is ours says enough
            what = "" if isinstance(error, UsageError) else f"{type(self).__name__} '{self.name}', given {shapes}: "
            raise UsageError(what + faults.reason(error)) from error

    def takes(self) -> tuple[str, ...]:
        """The axes of its input."""
        axes = tuple(axis for axis in self.axes if axis != "channels")
        if axes == tuple(self.axes):
            return axes
        first = getattr(self.given, "dim_ordering", getattr(self.given, "data_format", "")) == "channels_first"
        where = self.axes.index("channels") if first else len(axes)
        return (*axes[:where], "channels", *axes[where:])

    def get_config(self) -> dict[str, Any]:
        """The arguments, as they were given."""
        config = Layer.get_config(self)
        for name, value in vars(self._raw).items():
            if name in COMMON:
                continue  # `freeze` may have changed it
            plain = isinstance(value, str | int | float | list | tuple | None)
            kept = value if plain else getattr(self.given, name)
            config[name] = None if name in self.unsaved else keras.saving.serialize_keras_object(_listed(kept))
        if self.given_input_shape is not None:
            config["input_shape"] = _listed(self.given_input_shape)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Any:
        """The way back."""
        load = keras.saving.deserialize_keras_object
        return cls(**{name: load(value, custom_objects=custom_objects) for name, value in config.items()})

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Takes what `get_weights` gives; axes of one entry may be missing.

        Raises:
            UsageError: arrays of other shapes, or another number of them.
        """
        expected = [array.shape for array in self.get_weights()]
        arrays = [np.asarray(array) for array in weights]
        if [_significant(shape) for shape in expected] != [_significant(array.shape) for array in arrays]:
            raise UsageError(
                f"{type(self).__name__} '{self.name}' has weights of the shapes {expected}. "
                f"Received: {[array.shape for array in arrays]}"
            )
        super().set_weights([array.reshape(shape) for array, shape in zip(arrays, expected, strict=True)])


class Renamed(Spelt):
    """A layer that Keras 3 has under other names.

    Attributes:
        kept: of a class: arguments that Keras' own layer does not have.
        new: of a class: further arguments of Keras' own layer.
    """

    kept: Sequence[str] = ()
    new: Mapping[str, Any] = {}

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        """The arguments by their new names."""
        passed: dict[str, Any] = dict(cls.new)
        for name, value in vars(given).items():
            if name not in cls.kept:
                word = word_of(cls, name)
                passed[word.new] = (*passed.get(word.new, ()), value) if word.part else value
        return passed


def _symbolic_shapes(args: tuple[Any, ...]) -> str:
    """Of the variables, or Keras' symbolic tensors, that a layer was applied to; empty where there are none."""
    tensors = keras.tree.flatten(unwrapped(args))
    if not any(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
        return ""
    return ", ".join(f"an input of the shape {tuple(tensor.shape)}" for tensor in tensors if hasattr(tensor, "shape"))


def word_of(cls: Any, name: str) -> Word:
    """What an argument is to a class."""
    return cls.words.get(name) or WORDS.get(name) or Word(name)


def converted(cls: Any, name: str, value: Any) -> Any:
    """A value as Keras 3 takes it.

    Raises:
        UsageError: it is none.
    """
    try:
        return word_of(cls, name).convert(value)
    except UsageError as error:
        raise UsageError(f"{cls.__name__}: {name} {error}") from None


def bound(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """A layer's own arguments, with defaults; those that all layers of Keras have; the input's shape.

    Raises:
        UsageError: one is unknown, given twice or missing.
    """
    if len(args) > len(cls.arguments):
        raise UsageError(f"{cls.__name__} takes {len(cls.arguments)} arguments at most. Received: {len(args)}")
    given = dict(zip(cls.arguments, args, strict=False))
    common = {name: kwargs.pop(name) for name in COMMON if name in kwargs and name not in cls.arguments}
    sizes = {name: kwargs.pop(name) for name in SIZES if name in kwargs and name not in cls.arguments}
    for name in OLD_HABITS:
        kwargs.pop(name, None)
    refuse_unknown(cls, [name for name in kwargs if name not in cls.arguments])
    if twice := sorted(set(given) & set(kwargs)):
        raise UsageError(f"{cls.__name__} got its argument {twice[0]!r} twice: by position and by name.")
    given |= kwargs
    if missing := [name for name, value in cls.arguments.items() if value is REQUIRED and name not in given]:
        raise UsageError(f"{cls.__name__} needs {', '.join(missing)}: {cls.__name__}{cls.__signature__}")
    raw = {name: given.get(name, default) for name, default in cls.arguments.items()}
    sizes |= {name: raw.pop(name) for name in SIZES if cls.arguments.get(name, REQUIRED) is None}
    return raw, common, converted(cls, "input_shape", _shape_of(raw.pop("input_shape"), **sizes))


def _shape_of(given: Any, input_dim: Any = None, input_length: Any = None, batch_input_shape: Any = None) -> Any:
    if given is not None:
        return given
    if batch_input_shape is not None:
        return batch_input_shape[1:]
    sizes = tuple(size for size in (input_length, input_dim) if size is not None)
    return sizes or None


def refuse_unknown(cls: Any, names: Sequence[str]) -> None:
    """Names that a layer does not take, with those that it takes in their place.

    Raises:
        UsageError: there are some.
    """
    old: dict[str, list[str]] = {}
    for known in cls.arguments:
        old.setdefault(word_of(cls, known).new, []).append(known)
    for name in names:
        if name in WORDS and name not in old and WORDS[name].new in cls.arguments:
            old[name] = [WORDS[name].new]  # a word of Keras 1 to a layer of Keras 2
    lines = [
        f"{cls.__name__} has no argument '{name}': here it is {' and '.join(map(repr, old[name]))}."
        for name in names
        if name in old
    ]
    if strange := [name for name in names if name not in old]:
        lines.append(str(UsageError.unknown_argument(cls.__name__, strange, [*cls.arguments, *COMMON])))
    if lines:
        raise UsageError("\n".join(lines))


def _signature(arguments: Mapping[str, Any], before: Sequence[str] = ()) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = dict.fromkeys(before, REQUIRED) | dict(arguments)
    own = [inspect.Parameter(name, kind, default=default) for name, default in named.items()]
    return inspect.Signature([*own, inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])


def _listed(value: Any) -> Any:
    """Tuples as lists: so they are after a journey through JSON."""
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


def _significant(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]
