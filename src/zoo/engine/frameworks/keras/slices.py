"""One rank's slice of the weights, and of what the Keras optimizer remembers of them.

The flat buffer of gradients is cut into as many equal slices as there are ranks. The optimizer is built over *one*
variable, this rank's slice of all weights one after the other, and never learns where one weight ends and the next
begins; so it must update each element by itself. The update runs outside the compiled passes, in words that Keras
documents, the same on every backend.

Owns: that variable, the optimizer's memory as one whole and back, which optimizers can be cut.
Leaves: the layout of the buffer (passes), messages (collectives), when any of it happens (replica).

Source: Dai et al., "BigDL", SoCC 2019, sec. 3.3; Rajbhandari et al., "ZeRO", SC 2020, sec. 5.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import keras
import numpy as np

from zoo.engine.contracts import Array, Collective, Rank
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras.optim import Descent
from zoo.engine.frameworks.keras.passes import TINY, Passes
from zoo.engine.frameworks.keras.steps import Steps
from zoo.engine.optim import NormClip
from zoo.engine.optional import require

_NAMES = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl", "Lion")
_KNOWN = {getattr(keras.optimizers, name) for name in _NAMES} | {Descent}
_WHOLE_TENSORS = ("clipnorm", "global_clipnorm", "use_ema", "gradient_accumulation_steps")


def check_elementwise(optimizer: Any, model: Any) -> None:
    """Refuses what looks at more than one element of a weight at a time.

    Raises:
        UsageError: with the reason.
    """
    kind = type(optimizer).__name__
    reason = ""
    kinds = type(optimizer).__mro__ if type(optimizer).__module__.startswith("keras.") else (type(optimizer),)
    if not _KNOWN.intersection(kinds):  # on torch Keras derives classes of its own from them
        reason = f"only {', '.join(_NAMES)} are known to update each element by itself"
    if asked := [word for word in _WHOLE_TENSORS if getattr(optimizer, word, None)]:
        reason = f"{', '.join(asked)} looks at whole weights (the estimator's own gradient clipping does work)"
    if any(value for name, value in vars(optimizer).items() if name.startswith("_exclude_from_weight_decay")):
        reason = "some weights are excluded from its weight decay"
    if any(variable.constraint is not None for variable in model.trainable_variables):
        reason = "a weight of the model has a constraint"
    if reason:
        raise UsageError(
            f"sync='sharded' has each rank update its slice of the weights alone, which {kind} cannot do: {reason}. "
            "Give another optimizer, e.g. Adam, or leave sync out."
        )


class Slices:
    """Builds the optimizer over this rank's slice.

    Args:
        passes: of a model that is built, with an optimizer that is not.
        group: the ranks.
        rank: this one.

    Raises:
        UsageError: the optimizer or the weights cannot be cut.
    """

    def __init__(self, passes: Passes, group: Collective, rank: Rank) -> None:
        check_elementwise(passes.optimizer, passes.model)
        dtypes = {keras.backend.standardize_dtype(v.dtype) for v in passes.model.trainable_variables}
        if len(dtypes) > 1 or not dtypes <= {passes.layout.dtype}:
            raise UsageError(f"sync='sharded' needs weights of one dtype, float32 or float64. Received: {dtypes}")
        self._passes, self._group, self._rank = passes, group, rank
        self._torch = require("torch", extra="torch", because="ranks exchange slices of the weights with it")
        size = passes.layout.cut // rank.world
        self._place = slice(rank.index * size, (rank.index + 1) * size)
        self._weights = self._torch.zeros(passes.layout.cut, dtype=getattr(self._torch, passes.layout.dtype))
        self._own = keras.Variable(np.zeros(size), dtype=passes.layout.dtype, name="slice")
        self._memory = _built(passes.optimizer, [self._own])[0]
        self._take_weights()

    def hand_over(self, flat: Array, ready: Any) -> None:
        """Gives the gradients to be summed in slices, and what all ranks need to be summed whole."""
        cut = self._passes.layout.cut
        ready(flat[:cut], cut=True)
        ready(flat[cut:])

    def apply(self, steps: Steps, flat: Any) -> float:
        """Changes weights and statistics by the averaged buffer, with all ranks; the learning rate that was used."""
        passes, optimizer = self._passes, self._passes.optimizer
        steps.pull()
        with self._torch.no_grad():
            gradient = self._shaped(flat[self._place].numpy())
            rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            optimizer.apply([keras.ops.convert_to_tensor(gradient, self._own.dtype)], [self._own])
            self._weights[self._place] = self._torch.from_numpy(_array(self._own))
            self._group.complete([self._weights])
            _, statistics = passes.layout.arrays(flat.numpy())
            weights, _ = passes.layout.arrays(self._weights.numpy())
            for variable, value in zip(
                (*passes.statistics, *passes.model.trainable_variables), (*statistics, *weights), strict=True
            ):
                variable.assign(value)
        steps.push()
        return rate

    def whole(self) -> Any:
        """All ranks at once: on the first one an optimizer over all weights, with all memory; None on the others."""
        own = np.concatenate([np.empty(0, np.uint8), *(_array(each).view(np.uint8) for each in self._memory)])
        outgoing = [own if index == 0 else own[:0] for index in range(self._rank.world)]
        arrived = self._group.exchange(outgoing) if self._memory else []
        if self._rank.index:
            return None
        twin, memory = self.twin()
        for kind, slots in enumerate(zip(*memory, strict=True)):
            size = self._own.shape[0] * np.dtype(self._passes.layout.dtype).itemsize
            parts = [each[kind * size : (kind + 1) * size] for each in arrived]
            values, _ = self._passes.layout.arrays(np.concatenate(parts).view(self._passes.layout.dtype))
            for slot, value in zip(slots, values, strict=True):
                slot.assign(value)
        _copy(_once(self._passes.optimizer, self._memory), _once(twin, chain.from_iterable(memory)))
        return twin

    def twin(self) -> tuple[Any, list[list[Any]]]:
        """(an optimizer like ours over all weights, what it remembers of each)."""
        twin = type(self._passes.optimizer).from_config(self._passes.optimizer.get_config())
        return twin, _built(twin, self._passes.model.trainable_variables)

    def take(self, twin: Any, memory: list[list[Any]]) -> None:
        """Takes this rank's slice of the model's weights and of what such an optimizer remembers."""
        self._take_weights()
        for own, slots in zip(self._memory, zip(*memory, strict=True), strict=True):
            own.assign(self._padded(slots)[self._place])
        _copy(_once(twin, chain.from_iterable(memory)), _once(self._passes.optimizer, self._memory))

    def _take_weights(self) -> None:
        whole = self._padded(self._passes.model.trainable_variables)
        self._weights.copy_(self._torch.from_numpy(whole))
        self._own.assign(whole[self._place])

    def _padded(self, variables: Sequence[Any]) -> np.ndarray:
        layout = self._passes.layout
        return np.concatenate([*(_array(v).reshape(-1) for v in variables), np.zeros(layout.padding, layout.dtype)])

    def _shaped(self, gradient: np.ndarray) -> np.ndarray:
        """As `Passes.shaped`, of a slice."""
        passes = self._passes
        if passes.decay:
            gradient = gradient + gradient.dtype.type(passes.decay) * _array(self._own)
        if passes.clip is None:
            return gradient
        if not isinstance(passes.clip, NormClip):
            return gradient.clip(passes.clip.min, passes.clip.max)
        square = np.square(gradient, dtype=np.float64).sum()
        norm = math.sqrt(float(self._group.sum(np.array([square]))[0]))
        scale = gradient.dtype.type(min(passes.clip.max_norm / (norm + TINY), 1.0))
        scaled: np.ndarray = gradient * scale
        return scaled


def _once(optimizer: Any, memory: Iterable[Any]) -> list[Any]:
    """What it remembers once for all weights: the count of steps, the rate."""
    cut = {id(slot) for slot in memory}
    return [variable for variable in optimizer.variables if id(variable) not in cut]


def _built(optimizer: Any, variables: Sequence[Any]) -> list[list[Any]]:
    """Builds an optimizer; what it then remembers of each variable, in its own order."""
    memory: list[list[Any]] = [[] for _ in variables]
    place = {id(variable): number for number, variable in enumerate(variables)}
    make = optimizer.add_variable_from_reference

    def noted(reference_variable: Any, *args: Any, **words: Any) -> Any:
        slot = make(reference_variable, *args, **words)
        memory[place[id(reference_variable)]].append(slot)
        return slot

    optimizer.add_variable_from_reference = noted
    try:
        optimizer.build(variables)
    finally:
        del optimizer.add_variable_from_reference
    return memory


def _copy(values: Sequence[Any], variables: Sequence[Any]) -> None:
    for value, variable in zip(values, variables, strict=True):
        variable.assign(value.value)


def _array(variable: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(variable.value))
