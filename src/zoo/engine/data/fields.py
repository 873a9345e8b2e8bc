"""The columns of records (an image, its boxes, its number): as Parquet has them, as a feed keeps them, as values.

    what it holds      Parquet                                      kept           value
    ``"image"``        struct<bytes, path>, or binary               bytes, path    bytes; or uint8 (height, width, 3)
    ``"array"``        fixed_size_list, numbers                     the array      the array
                       list<fixed_size_list>                        bytes          array with a first axis that varies
                       binary: a file of numpy's format ``.npy``    bytes          the array
                       any other nested list                        ``.npy``       the array
    ``"scalar"``       a plain column                               as it is       number of its dtype, str or bytes

A feed keeps equal rows and bytes; arrays whose first axis varies (boxes) become bytes without a loop over rows.

Owns: that table, and errors of rows that are not what the column says.
Leaves: decoding images (images), which rows are read (records).
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from zoo.engine.data.columns import DTYPE, describe
from zoo.engine.errors import DataError, UsageError

HOLDS = ("image", "array", "scalar")
Kept: TypeAlias = "list[tuple[pa.Field, pa.Array]]"
_PATH = "{}.path"
_INT32 = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class RecordField:
    """One column of records.

    Attributes:
        name: the column.
        holds: one of `HOLDS`.
        form: how it is kept: ``"plain"``, ``"image"``, ``"raw"`` (an array's bytes) or ``"npy"``.
        dtype: of an array or number; object for str and bytes.
        inner: the axes of a plain row; of an array that is kept raw, those behind the first.
        listed: whether a ``"npy"`` is made here, of a nested list.
    """

    name: str
    holds: str
    form: str
    dtype: np.dtype[Any]
    inner: tuple[int | None, ...] = ()
    listed: bool = False

    @classmethod
    def of(cls, field: pa.Field, holds: str, dtype: str) -> RecordField:
        """What a Parquet column is.

        Args:
            field: of the files.
            holds: one of `HOLDS`.
            dtype: of the values, as numpy calls it; ``"string"`` and ``"bytes"`` for those.

        Raises:
            UsageError: a column of that type cannot hold it.
        """
        kind = np.dtype(object) if dtype in ("string", "bytes") else np.dtype(dtype)
        binary = pt.is_binary(field.type) or pt.is_large_binary(field.type)
        if holds == "image" and (binary or is_image(field.type)):
            return cls(field.name, holds, "image", np.dtype(object))
        if holds == "array" and binary:
            return cls(field.name, holds, "npy", kind)
        if holds == "array" and pt.is_list(field.type):
            inner = _fixed(field.type.value_type)
            form = "npy" if inner is None else "raw"
            return cls(field.name, holds, form, kind, inner or (), listed=inner is None)
        if holds == "array" and pt.is_fixed_size_list(field.type) and _fixed(field.type) is None:
            return cls(field.name, holds, "npy", kind, listed=True)
        nested = pt.is_nested(field.type) and not pt.is_fixed_size_list(field.type)
        if holds == "image" or nested or (holds == "scalar" and pt.is_nested(field.type)):
            raise UsageError(f"column '{field.name}' has the type {field.type}, which holds no {holds}.")
        return cls(field.name, holds, "plain", kind, describe(pa.schema([field]), [field.name])[0].shape)

    def kept(self, field: pa.Field, column: pa.Array) -> Kept:
        """The columns that a feed keeps, of a record batch's.

        Raises:
            DataError: rows without a value.
        """
        if self.form == "image":
            return self._image(column)
        if column.null_count:
            raise DataError(
                f"column '{self.name}' has {column.null_count} nulls in the {len(column)} rows read. "
                "Fill them or leave those rows out."
            )
        if self.form == "raw":
            return [(pa.field(self.name, pa.binary()), self._raw(column))]
        if self.listed:
            return [(pa.field(self.name, pa.binary()), pa.array(map(self._npy, column.to_pylist()), pa.binary()))]
        return [(self._typed(field), column)]

    def keeps(self, field: pa.Field) -> list[pa.Field]:
        """The fields of `kept`."""
        return [one for one, _ in self.kept(field, pa.array([], field.type))]

    def value(self, kept: Any) -> Any:
        """A row of what was kept, as a value; bytes of images stay encoded.

        Raises:
            DataError: it is no such array.
        """
        if self.form == "raw":
            return np.frombuffer(kept, self.dtype).reshape(-1, *(size or 0 for size in self.inner)).copy()
        if self.form != "npy":
            return kept
        try:
            return np.load(io.BytesIO(kept), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(
                f"column '{self.name}' should hold arrays as numpy saves them (.npy). A row begins with "
                f"{bytes(kept[:8])!r} ({error}). Objects are not read, for they may run code."
            ) from error

    def _typed(self, field: pa.Field) -> pa.Field:
        """With the dtype that its values keep."""
        if self.form == "npy" or self.dtype.kind == "O":
            return pa.field(field.name, field.type, metadata={} if self.form == "npy" else field.metadata)
        return field.with_metadata({**(field.metadata or {}), DTYPE: self.dtype.name.encode()})

    def _image(self, column: pa.Array) -> Kept:
        whole, path = column, pa.nulls(len(column), pa.string())
        if pt.is_struct(column.type):
            names = [one.name for one in column.type]
            whole = pc.struct_field(column, "bytes")
            path = pc.struct_field(column, "path") if "path" in names else path
        if whole.null_count:
            at = pc.index(pc.is_null(whole), True).as_py()
            raise DataError(
                f"column '{self.name}' has {whole.null_count} rows without an image's bytes; the first has the path "
                f"{path[at].as_py()!r}. Write the bytes of the files into the set, not their paths alone."
            )
        names = pc.fill_null(path.cast(pa.string()), "")
        return [
            (pa.field(self.name, whole.type), whole),
            (pa.field(_PATH.format(self.name), pa.string()), names),
        ]

    def _raw(self, column: pa.Array) -> pa.Array:
        """list<fixed_size_list> as the bytes of each row's array."""
        flat = column.flatten()
        while pt.is_fixed_size_list(flat.type):
            flat = flat.flatten()
        if flat.null_count:
            raise DataError(f"column '{self.name}' has {flat.null_count} nulls within its arrays. Fill them first.")
        values = np.ascontiguousarray(flat.to_numpy(zero_copy_only=False), self.dtype)
        row = self.dtype.itemsize * math.prod(size or 0 for size in self.inner)
        ends = (column.offsets.to_numpy().astype(np.int64) - column.offsets[0].as_py()) * row
        assert ends[-1] <= _INT32, "batches are some megabytes"
        buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(values)]
        return pa.Array.from_buffers(pa.binary(), len(column), buffers)

    def _npy(self, nested: Any) -> bytes:
        try:
            array = np.array(nested, self.dtype)
        except ValueError as error:
            raise DataError(f"column '{self.name}' has a row that is no array ({error}).") from error
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        return file.getvalue()


def is_image(kind: pa.DataType) -> bool:
    """Whether this is how Parquet has images: a struct of the file's bytes and its path."""
    if not pt.is_struct(kind):
        return False
    types = {field.name: field.type for field in kind}
    return "bytes" in types and types.keys() <= {"bytes", "path"} and pt.is_binary(types["bytes"])


def path_of(name: str) -> str:
    """The kept column with the paths of the images in column `name`."""
    return _PATH.format(name)


def kept_batch(fields: Sequence[RecordField], batch: pa.RecordBatch) -> pa.RecordBatch:
    """What a feed keeps of a record batch."""
    found = [one for field in fields for one in field.kept(batch.schema.field(field.name), batch.column(field.name))]
    return pa.RecordBatch.from_arrays([array for _, array in found], schema=pa.schema([field for field, _ in found]))


def kept_schema(fields: Sequence[RecordField], schema: pa.Schema) -> pa.Schema:
    """The schema of `kept_batch`."""
    return pa.schema([kept for field in fields for kept in field.keeps(schema.field(field.name))])


def _fixed(kind: pa.DataType) -> tuple[int, ...] | None:
    """The axes of fixed lists down to numbers; None where an axis varies."""
    if pt.is_fixed_size_list(kind):
        inner = _fixed(kind.value_type)
        return None if inner is None else (kind.list_size, *inner)
    return None if pt.is_nested(kind) else ()
