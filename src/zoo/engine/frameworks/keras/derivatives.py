"""Gradients of a function of arrays and Keras variables, on every backend, one at a time.

For looking at a layer or a loss: training has compiled passes (steps_tensorflow, steps_jax, steps_torch).

Owns: that.
Leaves: what is differentiated (whoever asks).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

Pure: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], Any]


def gradients(
    function: Callable[..., Any], arrays: Sequence[Any], variables: Sequence[Any] = ()
) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
    """(the value, its gradients by the arrays, those by the variables). No variable is changed.

    Args:
        function: takes one tensor for each array, and gives one number.
        arrays: points; for one of whole numbers the gradient is zero.
        variables: of Keras, which `function` may use.
    """
    points = [np.asarray(array) for array in arrays]
    smooth = [number for number, point in enumerate(points) if point.dtype.kind == "f"]

    def pure(tensors: Sequence[Any], values: Sequence[Any]) -> Any:
        given: list[Any] = [ops.convert_to_tensor(point) for point in points]
        for number, tensor in zip(smooth, tensors, strict=True):
            given[number] = tensor
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*given)

    tensors = [ops.convert_to_tensor(points[number]) for number in smooth]
    values = [ops.convert_to_tensor(variable.value) for variable in variables]
    value, by_tensor, by_value = _ROUTES[keras.backend.backend()](pure, tensors, values)
    found = [np.zeros_like(point, np.float32) for point in points]
    for number, gradient in zip(smooth, by_tensor, strict=True):
        found[number] = _array(gradient)
    return float(_array(value)), found, [_array(gradient) for gradient in by_value]


def _tensorflow(pure: Pure, tensors: list[Any], values: list[Any]) -> tuple[Any, list[Any], list[Any]]:
    tf = importlib.import_module("tensorflow")
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([*tensors, *values])
        value = pure(tensors, values)
    zero = tf.UnconnectedGradients.ZERO
    found = [tf.convert_to_tensor(g) for g in tape.gradient(value, [*tensors, *values], unconnected_gradients=zero)]
    return value, found[: len(tensors)], found[len(tensors) :]


def _jax(pure: Pure, tensors: list[Any], values: list[Any]) -> tuple[Any, list[Any], list[Any]]:
    jax = importlib.import_module("jax")
    value, (by_tensor, by_value) = jax.value_and_grad(pure, argnums=(0, 1))(tensors, values)
    return value, by_tensor, by_value


def _torch(pure: Pure, tensors: list[Any], values: list[Any]) -> tuple[Any, list[Any], list[Any]]:
    torch = importlib.import_module("torch")
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (*tensors, *values)]
    with torch.enable_grad():
        value = pure(leaves[: len(tensors)], leaves[len(tensors) :])
        found = torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad and leaves else leaves
    made = [torch.zeros_like(leaf) if g is None or g is leaf else g for g, leaf in zip(found, leaves, strict=True)]
    return value, made[: len(tensors)], made[len(tensors) :]


def _array(tensor: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor))


_ROUTES: dict[str, Callable[[Pure, list[Any], list[Any]], tuple[Any, list[Any], list[Any]]]] = {
    "tensorflow": _tensorflow,
    "jax": _jax,
    "torch": _torch,
}
