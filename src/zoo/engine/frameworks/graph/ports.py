"""What columns feed: the placeholders of a graph as data see them.

Owns: which column feeds which placeholder, and in which type and shape.
Leaves: what a column is (zoo.engine.data.columns), running the graph (replica).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.data.columns import ArraySpec
from zoo.engine.errors import UsageError

_WHOLE, _REAL = "biu", "f"


@dataclass(frozen=True, slots=True)
class Port:
    """A tensor that is fed.

    Attributes:
        tensor: its name.
        key: what the program calls it: a key of its dict of inputs, else the name of its operation.
        dtype: of numpy; object for strings.
        shape: of all its axes, None where any length goes; None where nothing is known of it.
    """

    tensor: str
    key: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        inner = "?" if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.key} ({'string' if self.dtype == object else self.dtype}, shape ({inner}))"

    def take(self, array: Any) -> np.ndarray:
        """An array as it is fed: of the placeholder's type; axes of length 1 at the end come and go.

        Raises:
            UsageError: it has another shape.
        """
        values = np.asarray(array)
        if self.dtype != object and values.dtype != self.dtype:
            values = values.astype(self.dtype)
        if self.shape is None or len(self.shape) == values.ndim:
            return values
        if len(self.shape) == values.ndim + 1 and self.shape[-1] in (1, None):
            return values[..., None]
        if len(self.shape) == values.ndim - 1 and values.shape[-1] == 1:
            return values[..., 0]
        raise UsageError(f"the data for {self} have the shape {values.shape}.")

    def problem(self, spec: ArraySpec) -> str | None:
        """Why a column cannot feed it; None where it can, or only the rows tell."""
        if (self.dtype == object) != (spec.dtype == object):
            return f"column '{spec.name}' holds {_kind(spec.dtype)}, and feeds {self}. Give it {_kind(self.dtype)}."
        if self.dtype.kind in _WHOLE and spec.dtype.kind == _REAL and self.dtype.kind != "b":
            return f"column '{spec.name}' holds {spec.dtype}, and feeds {self}: cast it to whole numbers first."
        if self.shape is None:
            return None
        own, given = _inner(self.shape[1:]), _inner(spec.shape)
        pairs = list(zip(own, given, strict=False))
        fits = len(own) == len(given) and all(None in pair or pair[0] == pair[1] for pair in pairs)
        return None if fits else f"column '{spec.name}' has rows of the shape {spec.shape}, and feeds {self}."


def fed(ports: Sequence[Port], names: Sequence[str], arrays: Sequence[Any], what: str) -> list[np.ndarray]:
    """The arrays of a batch in the order of the ports.

    Args:
        ports: which are fed.
        names: of the columns; where they are the ports' keys, they say which feeds which.
        arrays: of the columns, or dicts of arrays, as tf.data has them.
        what: ``"features"`` or ``"labels"``, for errors.

    Raises:
        UsageError: another number of arrays, or shapes that do not fit.
    """
    found = list(_flat(arrays, names))
    if len(found) != len(ports):
        raise UsageError(
            f"the graph takes {len(ports)} arrays as {what} ({', '.join(map(str, ports)) or 'none'}). "
            f"Received {len(found)}: {', '.join(name for name, _ in found) or 'none'}."
        )
    return [port.take(array) for port, (_, array) in zip(ports, _ordered(ports, found), strict=True)]


def problems(ports: Sequence[Port], specs: Sequence[ArraySpec]) -> list[str]:
    """Everything that keeps columns from feeding the ports, as far as their types tell."""
    pairs = zip(ports, _ordered(ports, [(spec.name, spec) for spec in specs]), strict=True)
    return [found for port, (_, spec) in pairs if spec.known and (found := port.problem(spec)) is not None]


def _ordered(ports: Sequence[Port], found: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    named = dict(found)
    if len(named) == len(ports) and all(port.key in named for port in ports):
        return [(port.key, named[port.key]) for port in ports]
    return list(found)


def _flat(arrays: Sequence[Any], names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for place, array in enumerate(arrays):
        if isinstance(array, Mapping):
            yield from ((str(key), array[key]) for key in sorted(array))  # the order of tf.nest
        else:
            yield (names[place] if place < len(names) else str(place)), array


def _inner(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """A shape without axes of length 1 at its end."""
    found = tuple(shape)
    while found and found[-1] == 1:
        found = found[:-1]
    return found


def _kind(dtype: np.dtype[Any]) -> str:
    return "strings" if dtype.kind == "O" else "numbers"
