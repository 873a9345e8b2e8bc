"""Objects on their way to another process.

Owns: packing them, and unpacking them where the driver's own modules are found as far as that machine has them.
Leaves: what travels (jobs, clusters), naming what cannot (frameworks).
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cloudpickle


@dataclass(frozen=True, slots=True)
class Parcel:
    """Something packed.

    Attributes:
        payload: the thing, pickled; functions and classes of the main program by value, those of modules by name.
        path: where the driver's Python looks for modules.
    """

    payload: bytes = field(repr=False)
    path: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, thing: Any) -> Parcel:
        """Packs a thing; what its pickling raises is raised."""
        return cls(cloudpickle.dumps(thing), tuple(os.path.abspath(place) for place in sys.path))

    def open(self) -> Any:
        """Unpacks it; modules beside the user's program are found wherever their files are.

        Raises:
            ModuleNotFoundError: a module is not on this machine; a note says how to send it.
        """
        sys.path += [place for place in self.path if place not in sys.path]
        try:
            return pickle.loads(self.payload)  # noqa: S301  packed by this program's own driver
        except ModuleNotFoundError as error:
            error.add_note(
                f"The driver has the module {error.name!r}, this worker has not. Send its file along with "
                "spark.sparkContext.addPyFile(path) or spark-submit --py-files, or define what is in it in the main "
                "program (or notebook), which travels by itself."
            )
            raise


class Carried:
    """A user's function that is packed whenever it is pickled, so that its module is found where it is unpickled."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        """Calls it."""
        return self._function(*args)

    def __getattr__(self, name: str) -> Any:
        """What else the function can do."""
        if name.startswith("__") or name == "_function":
            raise AttributeError(name)
        return getattr(self._function, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _carried, (Parcel.of(self._function),)


def _carried(parcel: Parcel) -> Carried:
    return Carried(parcel.open())
