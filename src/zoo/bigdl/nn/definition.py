"""How a layer is defined: by a function whose signature is BigDL's and whose result is what torch computes it with.

    @layer
    def ReLU(ip=False):
        \"\"\"max(x, 0).\"\"\"
        return nn.ReLU(ip)

The classes that come of this are in `LAYERS`, by name; files name them so.

Owns: from a function to a class: arguments, errors, first weights, penalties, travelling.
Leaves: the functions (linear, activations, spatial, shapes, tables, recurrent).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from zoo.bigdl.nn import activities
from zoo.bigdl.nn.initialization_method import InitializationMethod
from zoo.bigdl.nn.module import Layer
from zoo.engine.errors import UsageError

LAYERS: dict[str, type[Layer]] = {}

IGNORED = frozenset({"bigdl_type", "jvalue"})
PENALTIES = {
    "wRegularizer": "weight", "w_regularizer": "weight", "weight_regularizer": "weight",
    "bRegularizer": "bias", "b_regularizer": "bias", "bias_regularizer": "bias",
    "uRegularizer": "recurrent", "p_regularizer": "pointwise",
}  # fmt: skip


class Defined(Layer):
    """A layer without sub-layers of its own kind: `core` computes it.

    Attributes:
        core: a torch module, or a function of one tensor or table.
    """

    definition: ClassVar[Callable[..., Any]]
    layout: ClassVar[Callable[[Any, str, np.ndarray], np.ndarray] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.arguments = bound(type(self).__name__, type(self).definition, args, kwargs)
        self._hooked: set[int] = set()
        self.core = type(self).definition(**self.arguments)
        self._begin()

    def compute(self, x: Any) -> Any:
        self.penalise()
        return self.core(x if self.keeps_integers else self._floats(x))

    def own_weights(self) -> list[tuple[str, nn.Parameter]]:
        if not isinstance(self.core, nn.Module) or isinstance(self.core, Layer):
            return []
        return list(self.core.named_parameters(recurse=False))

    def set_init_method(self, weight_init_method: Any = None, bias_init_method: Any = None) -> Defined:
        """Fills its weights anew, by `zoo.bigdl.nn.initialization_method`; returns self."""
        for name, method in (("weight", weight_init_method), ("bias", bias_init_method)):
            if method is None:
                continue
            if not isinstance(method, InitializationMethod):
                raise UsageError(
                    f"set_init_method takes Xavier(), Zeros(), ... of initialization_method. Got: {method!r}"
                )
            weights = dict(self.own_weights())
            if name not in weights:
                raise UsageError(f"{self.name()} has no {name}. It has: {', '.join(weights) or 'no weights'}")
            method.fill(weights[name], self.fans())
        return self

    def ceil(self) -> Defined:
        """Rounds the number of a pooling layer's windows up; returns self."""
        return self._rounded(True)

    def floor(self) -> Defined:
        """Rounds it down; returns self."""
        return self._rounded(False)

    def set_running_mean(self, running_mean: Any) -> Defined:
        """Sets what a normalisation has seen as mean of each channel; returns self."""
        return self._seen("running_mean", running_mean)

    def set_running_std(self, running_std: Any) -> Defined:
        """Sets what it has seen as variance, which BigDL calls so; returns self."""
        return self._seen("running_var", running_std)

    def fans(self) -> tuple[int, int]:
        """(inputs, outputs) of each output and input of the layer, by which ways to begin scale."""
        weight = next((one for name, one in self.own_weights() if name == "weight" and one.ndim > 1), None)
        return (1, 1) if weight is None else nn.init._calculate_fan_in_and_fan_out(weight)

    def to_bigdl(self, name: str, array: np.ndarray) -> np.ndarray:
        own = getattr(self.core, "to_bigdl", None)
        if own is not None:
            return np.asarray(own(name, array))
        return array if type(self).layout is None else type(self).layout(self.core, name, array)

    def from_bigdl(self, name: str, array: np.ndarray) -> np.ndarray:
        own = getattr(self.core, "from_bigdl", None)
        return array if own is None else np.asarray(own(name, array))

    def _rounded(self, up: bool) -> Defined:
        word = next((one for one in ("to_ceil", "ceil_mode") if one in self.arguments), None)
        if word is None:
            raise UsageError(f"{self.name()} has no windows to round. Received: {'ceil' if up else 'floor'}()")
        self.arguments[word] = self.core.ceil_mode = up
        return self

    def _seen(self, buffer: str, values: Any) -> Defined:
        held = getattr(self.core, buffer, None)
        if held is None or held.numel() != np.size(values):
            has = "none" if held is None else f"{held.numel()} channels"
            raise UsageError(f"{self.name()}: {buffer} of {has}. Received: {np.size(values)} numbers")
        held.copy_(torch.as_tensor(np.asarray(values, np.float32)).reshape(held.shape))
        return self

    def _begin(self) -> None:
        """The user's own first weights and gradients, where the arguments hold any."""
        for name, weight in self.own_weights():
            if (given := self.arguments.get(f"init_{name}")) is not None:
                self._take(name, weight, given)
            if (given := self.arguments.get(f"init_grad_{name}")) is not None:
                weight.grad = torch.from_numpy(np.array(given, dtype=np.float32)).reshape(weight.shape)

    def penalise(self) -> None:
        """Has each penalised weight add the penalty's gradient to its own, from now on."""
        if not self.training or not torch.is_grad_enabled():
            return
        weights = dict(self.own_weights())
        for argument, name in PENALTIES.items():
            penalty, weight = self.arguments.get(argument), weights.get(name)
            if penalty is None or weight is None or not weight.requires_grad or id(weight) in self._hooked:
                continue
            weight.register_hook(functools.partial(_with_penalty, weight, float(penalty.l1), float(penalty.l2)))
            self._hooked.add(id(weight))

    def _floats(self, x: Any) -> Any:
        """Whole numbers and float64 as the weights' own type: BigDL knows no other."""
        return activities.mapped(_as_float, x)

    def extra_repr(self) -> str:
        """The arguments that are not the default ones; arrays by their shapes."""
        words = inspect.signature(type(self).definition).parameters
        given = {name: value for name, value in self.arguments.items() if value is not words[name].default}
        return ", ".join(
            f"{name}=array{value.shape}" if hasattr(value, "shape") else f"{name}={value!r}"
            for name, value in given.items()
            if hasattr(value, "shape") or value != words[name].default
        )

    def __repr__(self) -> str:
        return f"{self._get_name()}({self.extra_repr()})"

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__() | {"_hooked": set()}
        if not isinstance(self.core, nn.Module):
            state["core"] = None  # made anew: functions do not pickle
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if state.get("core", "module") is None:
            self.core = type(self).definition(**self.arguments)


def layer(
    function: Callable[..., Any] | None = None,
    *,
    integers: bool = False,
    layout: Callable[[Any, str, np.ndarray], np.ndarray] | None = None,
) -> Any:
    """Makes a layer's class of the function that defines it, and puts it into `LAYERS`.

    Args:
        function: its name, signature and docstring are the class's; it returns a torch module or a function.
        integers: whether the layer wants whole numbers as they are, and not as floats.
        layout: from torch's layout of a weight to BigDL's, ``f(core, name, array)``; by reshaping alone.
    """
    if function is None:
        return functools.partial(layer, integers=integers, layout=layout)
    members = {
        "definition": staticmethod(function),
        "layout": None if layout is None else staticmethod(layout),
        "keeps_integers": integers,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__name__,
        "__signature__": inspect.signature(function),
    }
    made = type(function.__name__, (Defined,), members)
    LAYERS[function.__name__] = made
    return made


def bound(owner: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, with defaults.

    Raises:
        UsageError: unknown ones, with the nearest known; missing ones, with the signature.
    """
    signature = inspect.signature(function)
    given = {name: value for name, value in kwargs.items() if name not in IGNORED}
    if unknown := [name for name in given if name not in signature.parameters]:
        raise UsageError.unknown_argument(owner, unknown, signature.parameters)
    try:
        found = signature.bind(*args, **given)
    except TypeError as error:
        raise UsageError(f"{owner}: {error}. It is called {owner}{signature}.") from error
    found.apply_defaults()
    return dict(found.arguments)


def _as_float(x: Any) -> Any:
    if isinstance(x, Tensor) and (x.dtype == torch.float64 or not (x.is_floating_point() or x.is_complex())):
        return x.to(torch.get_default_dtype())
    return x


def _with_penalty(weight: Tensor, l1: float, l2: float, gradient: Tensor) -> Tensor:
    held = weight.detach()
    return gradient + l1 * held.sign() + l2 * held
