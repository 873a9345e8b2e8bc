"""Train operations: optimizers of `zoo.engine.optim` and of TensorFlow over marked gradients, and clipping.

Owns: the translation of our optimizers, three update rules that ``tf.compat.v1.train`` lacks, clipping.
Leaves: names, arguments and the rate of each step (zoo.engine.optim), marks (marks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from zoo.engine import optim
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import marks
from zoo.engine.optim import Clip, NormClip

v1 = tf.compat.v1
RATE = "zoo_learning_rate"
"""The tensor that takes the rate of an optimizer of ours, in each step."""
ACCEPTED = "an optimizer of zoo.orca.learn.optimizers, or a tf.compat.v1.train.Optimizer"


@dataclass(frozen=True, slots=True)
class Built:
    """An optimizer of TensorFlow.

    Attributes:
        optimizer: a ``tf.compat.v1.train.Optimizer``.
        rate: its learning rate: a tensor, a number, or NaN where nobody can tell.
        decay: the factor of an L2 penalty beside it.
    """

    optimizer: Any
    rate: Any
    decay: float = 0.0


def train_operation(made: Mapping[str, Built], loss: Any, clip: Clip | None) -> Any:
    """An operation that changes variables by the gradients of a loss, which are marked.

    Args:
        made: the beginnings of variables' names -> their optimizer; ``""`` for all that no other fits.
        loss: a scalar tensor.
        clip: of the averaged gradients.

    Raises:
        UsageError: a loss that no variable changes; variables that no optimizer is for.
    """
    variables = v1.trainable_variables()
    shares = _shared(variables, made)
    first = next(iter(made.values())).optimizer
    pairs = marks.marked(first.compute_gradients(loss, variables) if variables else [])
    if not pairs:
        raise UsageError(
            f"no trainable variable changes the loss {loss.name}. Variables are made with tf.compat.v1.get_variable or "
            "tf.Variable in the graph of the loss, and must be trainable."
        )
    shaped = _clipped(_decayed(pairs, shares, made), clip)
    return marks.trainer(lambda: _applied(shaped, shares, made))


def built(given: Any) -> Built:
    """An optimizer of TensorFlow, or of ours translated.

    Raises:
        UsageError: `given` is no optimizer, or one that cannot train in data parallel.
    """
    if isinstance(given, marks.ZooOptimizer):
        given = given._optimizer
    if isinstance(given, v1.train.Optimizer):
        return Built(given, _rate_of(given))
    translate = _TRANSLATIONS.get(type(given))
    if translate is not None:
        rate = v1.placeholder_with_default(float(getattr(given, "learningrate", 1.0)), [], RATE)
        return Built(translate(given, rate), rate, float(getattr(given, "weightdecay", 0.0)))
    if isinstance(given, optim.Optimizer):
        why = ": it evaluates the loss again and again within one step" if isinstance(given, optim.LBFGS) else ""
        raise UsageError(f"{type(given).__name__} has no translation for graphs{why}. Give {ACCEPTED}, e.g. Adam().")
    raise UsageError(f"not an optimizer: {given!r}. Give {ACCEPTED}.")


def check(given: Any) -> None:
    """Raises UsageError for what `built` would refuse; adds nothing to the program's graph."""
    for one in given.values() if isinstance(given, Mapping) else [given]:
        with tf.Graph().as_default():
            built(one)


def _rate_of(optimizer: Any) -> Any:
    for name in ("_lr", "_learning_rate", "_learning_rate_tensor"):
        found = getattr(optimizer, name, None)
        found = found() if callable(found) else found
        if isinstance(found, tf.Tensor | float | int):
            return found
    return float("nan")


def _shared(variables: Sequence[Any], parts: Mapping[str, Any]) -> dict[str, str]:
    """Name of a variable -> the longest key of `parts` that it begins with."""
    shares = {}
    for variable in variables:
        fitting = [prefix for prefix in parts if variable.name.startswith(prefix)]
        if not fitting:
            raise UsageError(
                f"no optimizer is named for the variable {variable.name}. The names given: {', '.join(parts)}; a key "
                "is the beginning of variables' names, '' is all others."
            )
        shares[variable.name] = max(fitting, key=len)
    return shares


def _decayed(
    pairs: Sequence[tuple[Any, Any]], shares: Mapping[str, str], made: Mapping[str, Built]
) -> list[tuple[Any, Any]]:
    """Gradients with the derivative of an L2 penalty."""
    found = []
    for gradient, variable in pairs:
        factor = made[shares[variable.name]].decay
        found.append((tf.convert_to_tensor(gradient) + factor * variable if factor else gradient, variable))
    return found


def _clipped(pairs: Sequence[tuple[Any, Any]], clip: Clip | None) -> list[tuple[Any, Any]]:
    """Gradients clipped all together; each row of an embedding counts once, as often as a batch may name it."""
    if clip is None:
        return list(pairs)
    gradients, variables = [_added_up(gradient) for gradient, _ in pairs], [variable for _, variable in pairs]
    if isinstance(clip, NormClip):
        shaped, _ = tf.clip_by_global_norm(gradients, clip.max_norm)
        return list(zip(shaped, variables, strict=True))
    return [(_within(gradient, clip), variable) for gradient, variable in zip(gradients, variables, strict=True)]


def _within(gradient: Any, clip: optim.ConstantClip) -> Any:
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.clip_by_value(gradient, clip.min, clip.max)
    values = tf.clip_by_value(gradient.values, clip.min, clip.max)
    return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)


def _added_up(gradient: Any) -> Any:
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, place = tf.unique(tf.reshape(gradient.indices, [-1]))
    values = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _applied(pairs: Sequence[tuple[Any, Any]], shares: Mapping[str, str], made: Mapping[str, Built]) -> Any:
    """One operation for all optimizers; the graph's global step, where it has one, goes up by one."""
    steps = []
    for prefix, one in made.items():
        own = [(gradient, variable) for gradient, variable in pairs if shares[variable.name] == prefix]
        if own:
            steps.append(one.optimizer.apply_gradients(own))
    counter = v1.train.get_global_step()
    if counter is not None:
        with tf.control_dependencies(steps):
            steps.append(v1.assign_add(counter, tf.ones([], counter.dtype.base_dtype)))
    return tf.group(*steps)


class _Rule(v1.train.Optimizer):  # type: ignore[misc, name-defined]
    """An optimizer of one formula over whole tensors.

    Args:
        name: of the optimizer.
        slots: names of its running values; all begin at 0.
        formula: (gradient, number of the step from 0, running values...) -> (change of the variable, new values).
    """

    def __init__(self, name: str, slots: Sequence[str], formula: Callable[..., tuple[Any, Sequence[Any]]]) -> None:
        super().__init__(use_locking=False, name=name)
        self._slots_named, self._formula = tuple(slots), formula
        self._count: Any = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for variable in var_list:
            for name in self._slots_named:
                self._zeros_slot(variable, name, self._name)
        first = min(var_list, key=lambda variable: variable.name)
        self._create_non_slot_variable(initial_value=0.0, name="steps", colocate_with=first)
        self._count = self._get_non_slot_variable("steps", graph=first.graph)

    def _apply_dense(self, grad: Any, var: Any) -> Any:
        held = [self.get_slot(var, name) for name in self._slots_named]
        change, new = self._formula(grad, tf.cast(self._count, grad.dtype), *held)
        with tf.control_dependencies([change, *new]):
            return tf.group(v1.assign_sub(var, change), *(v1.assign(a, b) for a, b in zip(held, new, strict=True)))

    _resource_apply_dense = _apply_dense

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        return self._apply_dense(tf.convert_to_tensor(grad), var)

    def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any) -> Any:
        shape = tf.cast(tf.shape(handle), indices.dtype)
        return self._apply_dense(tf.convert_to_tensor(tf.IndexedSlices(grad, indices, shape)), handle)

    def _finish(self, update_ops: Sequence[Any], name_scope: str) -> Any:
        with tf.control_dependencies(update_ops):
            return tf.group(*update_ops, v1.assign_add(self._count, 1.0), name=name_scope)


def _sgd(given: optim.SGD, rate: Any) -> Any:
    """M' = momentum * m + (1 - dampening) * g, where the first step's m' is g."""
    if not given.momentum:
        return v1.train.GradientDescentOptimizer(rate)
    dampening = given.dampening
    if dampening is None:
        dampening = 0.0 if given.nesterov else given.momentum

    def formula(gradient: Any, step: Any, mean: Any) -> tuple[Any, list[Any]]:
        share = tf.where(tf.equal(step, 0.0), tf.ones_like(step), tf.fill([], 1.0 - dampening))
        moved = given.momentum * mean + share * gradient
        return rate * (gradient + given.momentum * moved if given.nesterov else moved), [moved]

    return _Rule("SGD", ["momentum"], formula)


def _rmsprop(given: optim.RMSprop, rate: Any) -> Any:
    """The mean of squares begins at 0; epsilon is added to its root."""

    def formula(gradient: Any, step: Any, squares: Any) -> tuple[Any, list[Any]]:
        mean = given.decayrate * squares + (1 - given.decayrate) * tf.square(gradient)
        return rate * gradient / (tf.sqrt(mean) + given.epsilon), [mean]

    return _Rule("RMSprop", ["squares"], formula)


def _adamax(given: optim.Adamax, rate: Any) -> Any:
    epsilon = max(given.epsilon, 1.2e-38)  # no smaller float32 is normal: where it is flushed to 0, 0 / 0 would follow

    def formula(gradient: Any, step: Any, mean: Any, largest: Any) -> tuple[Any, list[Any]]:
        moved = given.beta1 * mean + (1 - given.beta1) * gradient
        norm = tf.maximum(given.beta2 * largest, tf.abs(gradient))
        bias = 1 - tf.pow(tf.fill([], given.beta1), step + 1)
        return rate / bias * moved / (norm + epsilon), [moved, norm]

    return _Rule("Adamax", ["mean", "largest"], formula)


def _adam(given: optim.Adam | optim.ParallelAdam, rate: Any) -> Any:
    return v1.train.AdamOptimizer(rate, given.beta1, given.beta2, given.epsilon)


def _adagrad(given: optim.Adagrad, rate: Any) -> Any:
    return v1.train.AdagradOptimizer(rate, initial_accumulator_value=1e-20)  # it refuses 0


def _adadelta(given: optim.Adadelta, rate: Any) -> Any:
    return v1.train.AdadeltaOptimizer(rate, rho=given.decayrate, epsilon=given.epsilon)


def _ftrl(given: optim.Ftrl, rate: Any) -> Any:
    return v1.train.FtrlOptimizer(
        rate,
        learning_rate_power=given.learningrate_power,
        initial_accumulator_value=given.initial_accumulator_value,
        l1_regularization_strength=given.l1_regularization_strength,
        l2_regularization_strength=given.l2_regularization_strength,
        l2_shrinkage_regularization_strength=given.l2_shrinkage_regularization_strength,
    )


_TRANSLATIONS: Mapping[type[optim.Optimizer], Callable[[Any, Any], Any]] = {
    optim.SGD: _sgd,
    optim.Adam: _adam,
    optim.ParallelAdam: _adam,
    optim.ScheduledAdam: _adam,
    optim.Adagrad: _adagrad,
    optim.Adadelta: _adadelta,
    optim.Adamax: _adamax,
    optim.RMSprop: _rmsprop,
    optim.Ftrl: _ftrl,
}
