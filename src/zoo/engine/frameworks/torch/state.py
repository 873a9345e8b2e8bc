"""torch's nested states as a `State`, and back, exactly: arrays by name, and a JSON skeleton that says where they go.

Owns: names (``model/<key>``, ``optimizer/<parameter>/<key>``, ``rng/<device>``), dtypes that numpy lacks, the skeleton.
Leaves: when a state is taken (replica) and where it is kept (checkpoint).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.engine.contracts import Json, State
from zoo.engine.errors import UsageError
from zoo.engine.optim.memory import check_kind, kind_of

_HIDDEN = {torch.bfloat16: torch.uint16} | {
    getattr(torch, name): torch.uint8
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
    if hasattr(torch, name)
}
"""dtypes that numpy lacks -> what their bits travel as."""


def take(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None, own: Any = None, **values: Json
) -> State:
    """A copy of the weights and buffers, the optimizer's memory, a callback's `own`, and further plain `values`.

    Raises:
        UsageError: a part is neither a tensor nor a plain value, and so could only be pickled.
    """
    packing = _Packing()
    extras = packing.named(model.state_dict(), "model")
    plain: dict[str, Json] = {"model": extras} if extras else {}
    if optimizer is not None:
        memory = optimizer.state_dict()
        plain["optimizer"] = {
            "state": packing.put(memory["state"], "optimizer"),
            "param_groups": packing.put(memory["param_groups"], "optimizer/groups"),
        }
        plain |= kind_of(optimizer)
    if own is not None:
        plain["callback"] = packing.put(own, "optimizer/callback")
    return State(packing.arrays, plain | {"dtypes": packing.dtypes} | values)


def give_weights(state: State, model: torch.nn.Module) -> None:
    """Copies the weights and buffers of `state` into `model`.

    Raises:
        UsageError: they are those of another model.
    """
    extras = state.values.get("model", {})
    within = tuple(f"model/{key}/" for key in extras)
    names = [name for name in state.arrays if name.startswith("model/") and not name.startswith(within)]
    weights: dict[str, Any] = {name.removeprefix("model/"): _tensor(state, name, own=False) for name in names}
    weights |= {key: _unpack(state, value) for key, value in extras.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"the weights do not fit the model: {error}\n  Build the model as it was when the weights were saved."
        ) from error


def give_memory(state: State, optimizer: torch.optim.Optimizer) -> None:
    """Replaces the optimizer's memory by a copy of that in `state`; leaves it where `state` has none.

    Raises:
        UsageError: it is that of another optimizer, or of one with other parameters.
    """
    skeleton = state.values.get("optimizer")
    if skeleton is None:
        return
    check_kind(state.values, optimizer)
    try:
        optimizer.load_state_dict({part: _unpack(state, value) for part, value in skeleton.items()})
    except ValueError as error:
        raise UsageError(
            f"the optimizer's state does not fit: {error}\n  Make the optimizer over the same parameters, in as many "
            "groups, as when the state was saved."
        ) from error


def memory_of(state: State) -> Any:
    """A copy of what a callback had remembered; None for nothing."""
    return _unpack(state, state.values.get("callback"))


def array_of(tensor: Tensor) -> tuple[np.ndarray, str]:
    """(a copy on the host, the dtype's name where numpy lacks it, else "")."""
    own = tensor.detach().to("cpu", copy=True).contiguous()
    carrier = _HIDDEN.get(own.dtype)
    if carrier is None:
        return own.numpy(), ""
    return own.view(carrier).numpy(), str(own.dtype).removeprefix("torch.")


class _Packing:
    """Tensors out of nested dicts, lists and tuples."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.dtypes: dict[str, str] = {}

    def named(self, values: Mapping[str, Any], prefix: str) -> dict[str, Json]:
        """Puts a flat mapping's tensors by its own keys; returns what is not a tensor, packed."""
        extras = {}
        for key, value in values.items():
            packed = self.put(value, f"{prefix}/{key}")
            if not isinstance(value, Tensor):
                extras[key] = packed
        return extras

    def put(self, value: Any, name: str) -> Json:
        """The skeleton of `value`."""
        if isinstance(value, Tensor):
            self.arrays[name], dtype = array_of(value)
            if dtype:
                self.dtypes[name] = dtype
            return {"tensor": name}
        if isinstance(value, Mapping):
            return {"dict": [[key, self.put(item, f"{name}/{key}")] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.put(item, f"{name}/{index}") for index, item in enumerate(value)]}
        if value is None or type(value) in (bool, int, float, str):
            return value
        raise UsageError(
            f"the state holds {name} of {type(value)}, which is neither a tensor nor a plain value. "
            "Keep tensors, numbers, text, and lists or dicts of them in state_dict()."
        )


def _unpack(state: State, packed: Json) -> Any:
    if not isinstance(packed, Mapping):
        return packed
    ((kind, value),) = packed.items()
    if kind == "tensor":
        return _tensor(state, value, own=True)
    if kind == "dict":
        return {key: _unpack(state, item) for key, item in value}
    items = [_unpack(state, item) for item in value]
    return tuple(items) if kind == "tuple" else items


def _tensor(state: State, name: str, *, own: bool) -> Tensor:
    """The tensor `name`; `own`: one that may be written without changing the state."""
    array = np.asarray(state.arrays[name])
    tensor = torch.from_numpy(array.copy() if own or not array.flags.writeable else array)
    dtype = state.values.get("dtypes", {}).get(name)
    return tensor.view(getattr(torch, dtype)) if dtype else tensor
