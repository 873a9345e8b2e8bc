"""str and bytes of many rows without an object for each: their bytes one after the other, and where each ends.

Owns: that layout, from Arrow's columns and from arrays of objects.
Leaves: where it is kept (spool), single rows as objects (spool's columns make them when they are taken).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zoo.engine.data.columns import ArraySpec, to_array
from zoo.engine.data.pictures import encoded, is_picture
from zoo.engine.errors import DataError


@dataclass(frozen=True, slots=True)
class Text:
    """Rows of str (as UTF-8) or bytes.

    Attributes:
        data: the bytes of all rows, uint8.
        ends: where each row ends in `data`, int64; the first begins at 0.
        is_str: whether rows are str.
    """

    data: np.ndarray
    ends: np.ndarray
    is_str: bool

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return self.data.nbytes + self.ends.nbytes


Stored: TypeAlias = np.ndarray | Text


def stored(column: pa.Array, spec: ArraySpec) -> Stored:
    """A column as the spool keeps it: text without objects, all else as `columns.to_array`.

    Raises:
        DataError: as `columns.to_array`.
    """
    if spec.dtype.kind != "O" or len(column) == 0:
        return to_array(column, spec)
    values = column.storage if isinstance(column, pa.ExtensionArray) else column
    if is_picture(values.type):
        if values.null_count:
            to_array(column, spec)  # tells what is wrong
        values = encoded(values, spec.name)
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    rows = pc.cast(values, pa.large_binary())
    if rows.null_count:
        to_array(column, spec)  # tells what is wrong
    _, offsets, data = rows.buffers()
    ends = np.frombuffer(offsets, np.int64)[rows.offset : rows.offset + len(rows) + 1]
    content = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    return Text(content, ends[1:] - ends[0], _is_str(kind))


def text_of(objects: np.ndarray, name: str) -> Text:
    """An array of str or bytes objects; not empty.

    Raises:
        DataError: other objects, or a mixture.
    """
    kind = type(objects[0])
    if kind not in (str, bytes) or any(type(value) is not kind for value in objects):
        raise DataError(f"column '{name}' mixes kinds of objects. Give str in all rows, or bytes in all rows.")
    rows = [value.encode() for value in objects] if kind is str else list(objects)
    ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
    return Text(np.frombuffer(b"".join(rows), np.uint8), ends, kind is str)


def _is_str(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
