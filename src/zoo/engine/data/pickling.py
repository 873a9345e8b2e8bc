"""Pickles of objects, with a short way for columns of text.

A pickler notes every string, in case it comes again. Where few strings repeat that is small and fast; where each is
another it costs several times what the text does. Such columns travel as one string.

Owns: the pickler, which columns take the short way.
Leaves: rows of objects, errors (objects).
"""

from __future__ import annotations

import io
from typing import Any

import cloudpickle
import numpy as np

_FEWEST = 256  # cells of a column that is worth a look
_BETWEEN = "\0"


def dumps(value: Any) -> bytes:
    """Pickles a value; `pickle.loads` reads it where zoo is installed."""
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is np.ndarray and obj.dtype == np.object_ and obj.ndim and obj.shape[-1] >= _FEWEST:
            found = _reduced(obj)
            if found is not None:
                return found
        return super().reducer_override(obj)


def _reduced(array: np.ndarray) -> tuple[Any, ...] | None:
    """How an array with columns of text is made again; None for others."""
    if array.ndim == 1:
        text = _joined(array)
        return None if text is None else (_column, (text,))
    if array.ndim != 2:
        return None
    columns = [_joined(column) for column in array]  # pandas keeps columns as rows of one array
    if all(text is None for text in columns):
        return None
    return _block, ([column if text is None else text for column, text in zip(array, columns, strict=True)],)


def _joined(column: np.ndarray) -> str | None:
    """The strings of a column as one; None for few strings that repeat, and for columns of other things."""
    some = column[:: len(column) // _FEWEST].tolist()
    if 2 * len(set(map(id, some))) < len(some):
        return None
    cells = column.tolist()
    if set(map(type, cells)) != {str}:
        return None
    text = _BETWEEN.join(cells)
    return text if text.count(_BETWEEN) == len(cells) - 1 else None


def _column(text: str) -> np.ndarray:
    """(unpickling) The column again."""
    return np.array(text.split(_BETWEEN), object)


def _block(columns: list[Any]) -> np.ndarray:
    """(unpickling) Some columns as one array."""
    cells = [column.split(_BETWEEN) if isinstance(column, str) else column for column in columns]
    made = np.empty((len(cells), len(cells[0])), object)
    for row, column in zip(made, cells, strict=True):
        row[:] = column
    return made
