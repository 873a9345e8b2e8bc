"""Steps on JAX: pure functions of lists of arrays, compiled by jax.jit.

Between `push` and `pull` the newest values are here and not in the Keras variables. A step gives its old values away,
so that their memory holds the new ones; the variables have copies, which stay whole whatever happens in a step. Each
number of rows compiles once a process.

The flat buffer of gradients is changed in place by the collective, through DLPack, though JAX takes arrays for
constants: it is the output of a concatenation that nobody else holds, and is read only once the sums are in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp

from zoo.engine.contracts import Array
from zoo.engine.frameworks.keras.passes import Passes, arrays_of
from zoo.engine.frameworks.keras.steps import ALL, METRICS, shared
from zoo.engine.frameworks.keras.structures import Data


class CompiledSteps:
    """See `steps.Steps`."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._model = passes.model
        eager = bool(self._model.compiled and self._model.run_eagerly)
        compiled = (lambda function, **_: function) if eager else jax.jit
        self._train = compiled(self._train_pass, donate_argnums=0)
        self._gradients = compiled(self._gradient_pass)
        self._apply = compiled(self._apply_pass, donate_argnums=0)
        self._score = compiled(self._score_pass)
        self._predict = compiled(self._predict_pass)
        self._flat: Any = None
        self._state: dict[str, Any] = {}
        self.push()

    def train(self, data: Data) -> tuple[float, float]:
        told, self._state = self._train(self._state, data.x, data.y, data.weights)
        loss, rate = np.asarray(told)
        return float(loss), float(rate)

    def gradients(self, data: Data | None) -> Array:
        layout = self._passes.layout
        if data is None:
            self._flat = jnp.zeros([layout.size], layout.dtype)
        else:
            self._flat, (other, metrics) = self._gradients(self._state, data.x, data.y, data.weights)
            self._state = self._state | {"other": other, "metrics": metrics}
        return shared(jax.block_until_ready(self._flat))  # type: ignore[no-untyped-call]

    def apply(self, flat: Array) -> float:
        metrics = self._state.pop("metrics")  # they are not given away
        rate, changed = self._apply(self._state, self._flat)  # the very memory of `flat`
        self._state = changed | {"metrics": metrics}
        return float(rate)

    def score(self, data: Data) -> tuple[float, tuple[np.ndarray, ...]]:
        if data.y is None or not self._passes.has_loss:
            return math.nan, self.predict(data.x)
        loss, outputs = self._score(self._state, data.x, data.y, data.weights)
        return float(loss), arrays_of(outputs)

    def predict(self, x: Any) -> tuple[np.ndarray, ...]:
        return arrays_of(self._predict(self._state, x))

    def values(self, group: str) -> list[Any]:
        return list(self._state[group])

    def assign(self, group: str, values: Sequence[Any]) -> None:
        self._state = self._state | {group: [jnp.asarray(value) for value in values]}

    def seed(self, number: int) -> None:
        """All are in variables."""

    def pull(self, group: str = ALL) -> None:
        for name, variables in self._variables().items():
            if group in (ALL, name):
                for variable, value in zip(variables, self._state[name], strict=True):
                    variable.assign(jnp.copy(value))

    def push(self, group: str = ALL) -> None:
        found = self._variables().items()
        self._state |= {name: [jnp.copy(v.value) for v in own] for name, own in found if group in (ALL, name)}

    def _variables(self) -> dict[str, list[Any]]:
        optimizer = self._passes.optimizer
        return {
            "trained": self._model.trainable_variables,
            "other": self._model.non_trainable_variables,
            METRICS: self._model.metrics_variables,
            "optimizer": [] if optimizer is None else optimizer.variables,
        }

    def _mapping(self, **values: Any) -> list[tuple[Any, Any]]:
        variables = self._variables()
        return [pair for name, found in values.items() for pair in zip(variables[name], found, strict=True)]

    def _loss(self, trained: Any, state: Any, data: Data) -> tuple[Any, Any]:
        """(loss as the optimizer scales it, (loss, (other variables, metrics)))."""
        passes, variables = self._passes, self._variables()
        mapping = self._mapping(trained=trained, **{name: state[name] for name in ("other", "metrics", "optimizer")})
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            outputs = passes.outputs(data.x, training=True)
            loss = passes.loss(data, outputs, training=True)
            scaled = passes.optimizer.scale_loss(loss)
            passes.measure(data, jax.lax.stop_gradient(outputs))
        changed = [[scope.get_current_value(v) for v in variables[name]] for name in ("other", "metrics")]
        return scaled, (loss, tuple(changed))

    def _train_pass(self, state: Any, x: Any, y: Any, weights: Any) -> Any:
        function = jax.grad(self._loss, has_aux=True)
        gradients, (loss, (other, metrics)) = function(state["trained"], state, Data(x, y, weights))
        rate, changed = self._update(state, gradients)
        told = jnp.stack([loss.astype("float32"), rate])
        return told, {"other": other, "metrics": metrics} | changed

    def _gradient_pass(self, state: Any, x: Any, y: Any, weights: Any) -> Any:
        dtype, variables = self._passes.layout.dtype, self._variables()["other"]
        function = jax.grad(self._loss, has_aux=True)
        gradients, (loss, (other, metrics)) = function(state["trained"], state, Data(x, y, weights))
        statistics = {id(v) for v in self._passes.statistics}
        means = [value for variable, value in zip(variables, other, strict=True) if id(variable) in statistics]
        padding = [jnp.zeros([], dtype)] * self._passes.layout.padding
        notes = jnp.stack([*padding, loss.astype(dtype), jnp.zeros([], dtype)])
        flat = jnp.concatenate([jnp.ravel(piece).astype(dtype) for piece in (*gradients, notes, *means)])
        return flat, (other, metrics)

    def _apply_pass(self, state: Any, flat: Any) -> tuple[Any, Any]:
        gradients, statistics = self._passes.layout.pieces(flat)
        variables = self._variables()["other"]
        means = dict(zip(map(id, self._passes.statistics), statistics, strict=True))
        other = [
            means[id(variable)].astype(value.dtype) if id(variable) in means else value
            for variable, value in zip(variables, state["other"], strict=True)
        ]
        own = [g.astype(value.dtype) for g, value in zip(gradients, state["trained"], strict=True)]
        rate, changed = self._update(state, own)
        return rate, changed | {"other": other}

    def _update(self, state: Any, gradients: list[Any]) -> tuple[Any, Any]:
        """(the rate of the step, the variables that it changes)."""
        optimizer = self._passes.optimizer
        gradients = self._passes.shaped(gradients, state["trained"])
        with keras.StatelessScope(state_mapping=self._mapping(optimizer=state["optimizer"])):
            rate = jnp.asarray(optimizer.learning_rate, "float32")
        trained, memory = optimizer.stateless_apply(state["optimizer"], gradients, state["trained"])
        return rate, {"trained": trained, "optimizer": memory}

    def _score_pass(self, state: Any, x: Any, y: Any, weights: Any) -> tuple[Any, Any]:
        mapping = self._mapping(**{name: state[name] for name in ("trained", "other", "metrics")})
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            outputs = self._passes.outputs(x, training=False)
            return self._passes.loss(Data(x, y, weights), outputs, training=False), outputs

    def _predict_pass(self, state: Any, x: Any) -> Any:
        mapping = self._mapping(**{name: state[name] for name in ("trained", "other")})
        with keras.StatelessScope(state_mapping=mapping):
            return self._passes.outputs(x, training=False)
