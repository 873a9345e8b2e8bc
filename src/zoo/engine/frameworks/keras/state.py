"""A Keras model's memory as a `State`, and back, exactly.

Arrays are named ``model/<position>.<name>``, ``optimizer/<position>.<name>`` and ``rng/<position>``: by position, since
Keras counts names up in each process (dense, dense_1, ...).

Owns: names, dtypes that numpy lacks, the random numbers of a rank.
Leaves: when a state is taken (replica) and where it is kept (checkpoint).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from zoo.engine.contracts import Json, State
from zoo.engine.errors import UsageError
from zoo.engine.optim.memory import kind_of

_CARRIERS = {"bfloat16": np.uint16, "float8_e4m3fn": np.uint8, "float8_e5m2": np.uint8}
"""dtypes that numpy lacks -> what their bits travel as."""


def take(model: Any, optimizer: Any = None, **values: Json) -> State:
    """A copy of weights, random numbers and the optimizer's memory, with plain `values` beside them."""
    arrays: dict[str, np.ndarray] = {}
    dtypes: dict[str, str] = {}
    for prefix, variables in _groups(model, optimizer).items():
        for name, variable in _named(prefix, variables):
            arrays[name], dtype = _array(variable)
            if dtype:
                dtypes[name] = dtype
    return State(arrays, {"dtypes": dtypes, **kind_of(optimizer), **values})


def give(state: State, model: Any, optimizer: Any = None) -> None:
    """Assigns what the state holds of the model and, where it is given, of its optimizer.

    Raises:
        UsageError: the state is another model's.
    """
    for prefix, variables in _groups(model, optimizer).items():
        if any(name.startswith(f"{prefix}/") for name in state.arrays):
            _assign(state, prefix, variables)


def reseeded(state: State, index: int) -> State:
    """The state of rank `index`: its random numbers are its own, derived from rank 0's, so that a run repeats."""
    if not index:
        return state
    return State({name: _derived(name, array, index) for name, array in state.arrays.items()}, state.values)


def reseed(model: Any, index: int) -> None:
    """As `reseeded`, for a model that no state was given to."""
    if index:
        for name, variable in _named("rng", _groups(model, None)["rng"]):
            variable.assign(_derived(name, np.asarray(keras.ops.convert_to_numpy(variable.value)), index))


def _derived(name: str, array: np.ndarray, index: int) -> np.ndarray:
    if not name.startswith("rng/"):
        return array
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes() + name.encode() + index.to_bytes(8, "big")).digest()
    seeds = np.frombuffer(digest[: 4 * array.size], np.uint32).reshape(array.shape)
    return (seeds & np.uint32(0x7FFFFFFF)).astype(array.dtype)  # some backends keep them as signed numbers


def _groups(model: Any, optimizer: Any) -> Mapping[str, Sequence[Any]]:
    weights = {id(v) for v in model.weights}
    groups = {"model": model.weights, "rng": [v for v in model.variables if id(v) not in weights]}
    return groups if optimizer is None else groups | {"optimizer": optimizer.variables}


def _named(prefix: str, variables: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(f"{prefix}/{position:04d}.{v.name}", v) for position, v in enumerate(variables)]


def _array(variable: Any) -> tuple[np.ndarray, str]:
    """(a copy on the host, the dtype's name where numpy lacks it, else "")."""
    array = np.array(keras.ops.convert_to_numpy(variable.value))
    carrier = _CARRIERS.get(array.dtype.name)
    return (array, "") if carrier is None else (array.view(carrier), array.dtype.name)


def _assign(state: State, prefix: str, variables: Sequence[Any]) -> None:
    found = sorted(name for name in state.arrays if name.startswith(f"{prefix}/"))
    shapes = [tuple(state.arrays[name].shape) for name in found]
    wanted = [tuple(int(size) for size in v.shape) for v in variables]
    if shapes != wanted:
        word = "weights" if prefix == "model" else f"{prefix}'s variables"
        at = next((i for i, pair in enumerate(zip(shapes, wanted, strict=False)) if pair[0] != pair[1]), None)
        odd = f"{len(shapes)} arrays for {len(wanted)}" if at is None else f"{found[at]}: {shapes[at]} for {wanted[at]}"
        raise UsageError(
            f"the {word} do not fit the model ({odd}). Build and compile the model as it was when they were saved."
        )
    for name, variable in zip(found, variables, strict=True):
        array = np.asarray(state.arrays[name])
        dtype = state.values.get("dtypes", {}).get(name)
        variable.assign(array.view(dtype) if dtype else array)
