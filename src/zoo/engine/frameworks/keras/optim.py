"""Optimizers of `zoo.engine.optim` in Keras.

Owns: the translation, the optimizers that Keras does not have.
Leaves: names, arguments and the rate of each step (zoo.engine.optim); Keras' own schedules, which its optimizers follow
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from zoo.engine import optim
from zoo.engine.errors import UsageError

ACCEPTED = "an optimizer of zoo.orca.learn.optimizers, a keras.optimizers object, or the name of one"


def build_optimizer(given: Any) -> tuple[Any, float]:
    """(Keras' optimizer, the factor of an L2 penalty that our step adds) of what a program gave.

    Raises:
        UsageError: `given` is no optimizer, or one that cannot train in data parallel.
    """
    if isinstance(given, optim.Optimizer):
        translate = _TRANSLATIONS.get(type(given))
        if translate is None:
            raise UsageError(
                f"{type(given).__name__} has no translation in Keras: it evaluates the loss again and again within one "
                f"step. Give {ACCEPTED}, e.g. Adam()."
            )
        return translate(given), float(getattr(given, "weightdecay", 0.0))
    try:
        return keras.optimizers.get(given), 0.0
    except (ValueError, TypeError) as error:
        raise UsageError(f"not an optimizer: {given!r}. Give {ACCEPTED}.") from error


@keras.saving.register_keras_serializable("zoo")
class Descent(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras has no types
    """Gradient descent with a momentum that may be dampened, as torch and BigDL have it and Keras does not.

    m' = momentum * m + (1 - dampening) * g, where the first step's m' is g; w' = w - lr * m', or with `nesterov`
    w' = w - lr * (g + momentum * m').
    """

    def __init__(
        self, learning_rate: Any = 0.01, momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False,
        **words: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, **words)
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov

    def build(self, variables: Any) -> None:
        """Makes a running mean for each variable."""
        if not self.built:
            super().build(variables)
            self._means = [self.add_variable_from_reference(v, name="momentum") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable."""
        mean = self._means[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = _whole(gradient, variable)
        share = ops.where(ops.equal(self.iterations, 0), 1.0, 1.0 - self.dampening)
        moved = self.momentum * mean + ops.cast(share, variable.dtype) * gradient
        self.assign(mean, moved)
        self.assign_sub(variable, rate * (gradient + self.momentum * moved if self.nesterov else moved))

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        own = {"momentum": self.momentum, "dampening": self.dampening, "nesterov": self.nesterov}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("zoo")
class BertAdam(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras has no types
    """`zoo.engine.optim.AdamWeightDecay`: Adam without bias correction, with decay beside the gradient."""

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-6,
        decay: float = 0.01, **words: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, **words)
        self.beta_1, self.beta_2, self.epsilon, self.decay = beta_1, beta_2, epsilon, decay

    def build(self, variables: Any) -> None:
        """Makes two moments for each variable."""
        if not self.built:
            super().build(variables)
            self._means = [self.add_variable_from_reference(v, name="momentum") for v in variables]
            self._squares = [self.add_variable_from_reference(v, name="velocity") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable."""
        number = self._get_variable_index(variable)
        mean, square = self._means[number], self._squares[number]
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = _whole(gradient, variable)
        m = self.beta_1 * mean + (1 - self.beta_1) * gradient
        v = self.beta_2 * square + (1 - self.beta_2) * ops.square(gradient)
        self.assign(mean, m)
        self.assign(square, v)
        self.assign_sub(variable, rate * (m / (ops.sqrt(v) + self.epsilon) + self.decay * variable))

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        names = ("beta_1", "beta_2", "epsilon", "decay")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _whole(gradient: Any, variable: Any) -> Any:
    """A gradient with an entry for each of the variable's: TensorFlow's of an embedding has those of some rows."""
    own = ops.cast(ops.convert_to_tensor(gradient), variable.dtype)
    return ops.zeros_like(variable) + own if hasattr(own, "dense_shape") else own


def _sgd(given: optim.SGD) -> Any:
    if not given.momentum:
        return keras.optimizers.SGD(given.learningrate)
    dampening = given.dampening
    if dampening is None:
        dampening = 0.0 if given.nesterov else given.momentum
    return Descent(given.learningrate, given.momentum, dampening, given.nesterov)


def _adam(given: optim.Adam | optim.ParallelAdam) -> Any:
    return keras.optimizers.Adam(given.learningrate, given.beta1, given.beta2, given.epsilon)


def _bert_adam(given: optim.AdamWeightDecay) -> Any:
    return BertAdam(given.learningrate, given.beta1, given.beta2, given.epsilon, given.decay)


def _adagrad(given: optim.Adagrad) -> Any:
    return keras.optimizers.Adagrad(given.learningrate, initial_accumulator_value=0.0, epsilon=1e-20)


def _adadelta(given: optim.Adadelta) -> Any:
    return keras.optimizers.Adadelta(1.0, rho=given.decayrate, epsilon=given.epsilon)


def _adamax(given: optim.Adamax) -> Any:
    epsilon = max(given.epsilon, 1.2e-38)  # no smaller float32 is normal: where it is flushed to 0, 0 / 0 would follow
    return keras.optimizers.Adamax(given.learningrate, given.beta1, given.beta2, epsilon)


def _rmsprop(given: optim.RMSprop) -> Any:
    # Keras adds its epsilon below the square root, ours is added to the root
    return keras.optimizers.RMSprop(given.learningrate, rho=given.decayrate, epsilon=given.epsilon**2)


def _ftrl(given: optim.Ftrl) -> Any:
    return keras.optimizers.Ftrl(
        given.learningrate,
        learning_rate_power=given.learningrate_power,
        initial_accumulator_value=given.initial_accumulator_value,
        l1_regularization_strength=given.l1_regularization_strength,
        l2_regularization_strength=given.l2_regularization_strength,
        l2_shrinkage_regularization_strength=given.l2_shrinkage_regularization_strength,
    )


_TRANSLATIONS: Mapping[type[optim.Optimizer], Callable[[Any], Any]] = {
    optim.SGD: _sgd,
    optim.Adam: _adam,
    optim.AdamWeightDecay: _bert_adam,
    optim.ParallelAdam: _adam,
    optim.ScheduledAdam: _adam,
    optim.Adagrad: _adagrad,
    optim.Adadelta: _adadelta,
    optim.Adamax: _adamax,
    optim.RMSprop: _rmsprop,
    optim.Ftrl: _ftrl,
}
