"""Files as pandas DataFrames: what one partition reads, where it is computed.

Owns: reading whole files with pandas, and row groups of Parquet; making the frames of all partitions alike.
Leaves: which files there are (listing), what Spark reads itself (its room), the words of the user's call (front ends).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from zoo.engine import storage
from zoo.engine.data.delimited import CsvColumns, CsvRequest, by_name, squeezed
from zoo.engine.data.objects import Item
from zoo.engine.errors import DataError, UsageError, ZooError
from zoo.engine.optional import require

_COMPRESSION = {".gz": "gzip", ".bz2": "bz2", ".zip": "zip", ".xz": "xz", ".zst": "zstd"}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a file system.

    Attributes:
        files: the file system.
        path: within it.
    """

    files: Any
    path: str

    def read(self, how: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """What a reader of pandas makes of it.

        Raises:
            DataError: it does not hold what is asked for; the message begins with pandas' own.
            StorageFailed: it cannot be read.
        """
        given = dict(arguments)
        if given.get("compression", "infer") == "infer":
            given["compression"] = next((kind for end, kind in _COMPRESSION.items() if self.path.endswith(end)), None)
        try:
            with storage.explained(self.path, "read"), self.files.open_input_file(self.path) as file:
                return how(file, **given)
        except ZooError:
            raise
        except (ValueError, KeyError, IndexError, TypeError, EOFError) as error:  # pandas' own errors are ValueErrors
            raise DataError(f"{str(error).strip()} (in the file {self.path}; {type(error).__name__})") from error


class Piece(Protocol):
    """What one partition reads; picklable."""

    def frame(self) -> Any:
        """The DataFrame (or Series)."""


@dataclass(frozen=True, slots=True)
class CsvPiece:
    """Whole CSV files.

    Attributes:
        files: one after the other.
        request: what is asked.
        columns: what was settled beforehand; None where each file tells, as with plain pandas.
        names_are_text: columns without names are ``'0'``, ``'1'``, ... instead of 0, 1, ...
    """

    files: tuple[DataFile, ...]
    request: CsvRequest
    columns: CsvColumns | None = None
    names_are_text: bool = False

    def frame(self) -> Any:
        frames = [self._settled(file, self.columns) if self.columns else self._told(file) for file in self.files]
        return joined(frames, [file.path for file in self.files], same_columns=True)

    def _settled(self, file: DataFile, columns: CsvColumns) -> Any:
        pandas, request = pandas_(), self.request
        arguments: dict[str, Any] = {"sep": request.sep, "header": request.header, "dtype": dict(columns.dtypes)}
        arguments |= dict(request.options)
        if request.header is None or request.names is not None:
            arguments["names"] = list(columns.names)
        header: dict[Any, None] = {}  # pandas asks for each of its names, in order
        if len(columns.used) < len(columns.names):
            arguments["usecols"] = lambda name: header.setdefault(name) or name in columns.chosen
            arguments["index_col"] = False
        frame = file.read(pandas.read_csv, arguments)
        if tuple(header or frame.columns) != columns.names:
            raise DataError(
                f"the CSV files have different headers: the file {file.path} has {list(header or frame.columns)}, the "
                f"first has {list(columns.names)}. Read them apart, or write them with the same columns in one order."
            )
        if not _is_numbered([frame]):
            raise DataError(
                f"Error tokenizing data: the lines of the file {file.path} have more cells than its first one. Give "
                "names for all of them, or index_col."
            )
        return columns.finished(frame[columns.chosen])

    def _told(self, file: DataFile) -> Any:
        pandas, request = pandas_(), self.request
        arguments: dict[str, Any] = {"sep": request.sep, "header": request.header, "index_col": request.index_col}
        if request.names is not None:
            arguments["names"] = list(request.names)
        if request.usecols is not None:
            arguments["usecols"] = request.usecols if callable(request.usecols) else list(request.usecols)
        arguments |= dict(request.options)
        dtype = request.dtype
        if isinstance(dtype, Mapping):  # pandas takes names only
            head = file.read(pandas.read_csv, arguments | {"nrows": 0, "index_col": None})
            dtype = by_name(dtype, list(head.columns))
        frame = file.read(pandas.read_csv, arguments | {"dtype": dtype})
        if self.names_are_text and request.header is None and request.names is None:
            frame.columns = [str(name) for name in frame.columns]
        return squeezed(frame) if request.squeeze else frame


@dataclass(frozen=True, slots=True)
class JsonPiece:
    """Whole JSON files.

    Attributes:
        files: one after the other.
        arguments: of ``pandas.read_json``.
    """

    files: tuple[DataFile, ...]
    arguments: Mapping[str, Any]

    def frame(self) -> Any:
        pandas = pandas_()
        frames = [file.read(pandas.read_json, self.arguments) for file in self.files]
        return joined(frames, [file.path for file in self.files], same_columns=False)


@dataclass(frozen=True, slots=True)
class ParquetPiece:
    """Row groups of Parquet files.

    Attributes:
        shards: those that this partition reads (`files.FileShards`).
        schema: columns and types that they are read as.
    """

    shards: Any
    schema: pa.Schema

    def frame(self) -> Any:
        pandas_()
        batches = [batch for _, batch in self.shards.open(0, 1)]
        table = pa.Table.from_batches(batches, self.shards.schema)
        try:
            return shaped(table, self.schema).to_pandas()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"the Parquet files do not fit the schema that was given: {error}") from error


def shaped(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema; those that it lacks are null."""
    rows = table.num_rows
    there = set(table.column_names)
    columns = [table[one.name] if one.name in there else pa.nulls(rows, one.type) for one in schema]
    return pa.Table.from_arrays(columns, names=schema.names).cast(schema)


def parquet_pieces(shards: Any, schema: pa.Schema, most: int) -> list[ParquetPiece]:
    """Row groups in at most `most` pieces, one at least."""
    pieces = []
    for groups in spread(shards.groups, most) or [()]:
        some = copy.copy(shards)
        some.groups = tuple(groups)
        pieces.append(ParquetPiece(some, schema))
    return pieces


def spread(things: Sequence[Any], most: int) -> list[tuple[Any, ...]]:
    """Blocks of about the same length, at most `most`, none of them empty."""
    if not things:
        return []
    blocks = np.array_split(np.arange(len(things)), min(most, len(things)))
    return [tuple(things[at] for at in block) for block in blocks]


def frames(items: Iterator[Item]) -> Iterator[Item]:
    """For `objects.OnObjects`: pieces replaced by their frames."""
    for item in items:
        yield item._replace(value=item.value.frame())


# --- alike -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a frame.

    Attributes:
        columns: their names; None for a Series.
        dtypes: of the columns, or of the Series.
        rows: how many.
    """

    columns: tuple[Any, ...] | None
    dtypes: tuple[Any, ...]
    rows: int

    @property
    def names(self) -> tuple[Any, ...]:
        """The columns' names; None as that of a Series."""
        return (None,) if self.columns is None else self.columns


def shape_of(value: Any) -> Shape:
    """What must be alike in all partitions."""
    if value.ndim == 1:
        return Shape(None, (value.dtype,), len(value))
    return Shape(tuple(value.columns), tuple(value.dtypes), len(value))


def joined(found: Sequence[Any], paths: Sequence[str], *, same_columns: bool) -> Any:
    """The rows of several frames.

    Raises:
        DataError: `same_columns` is asked for, and a frame has others than the first.
    """
    if len(found) == 1:
        return found[0]
    shapes = [shape_of(frame) for frame in found]
    if same_columns:
        refuse_unlike(shapes, [f"the file {path}" for path in paths])
    goal = common(shapes)
    return pandas_().concat([goal.of(frame) for frame in found], ignore_index=_is_numbered(found))


def refuse_unlike(shapes: Sequence[Shape], names: Sequence[str]) -> None:
    """Raises DataError for the first frame whose columns are not those of the first frame, in whatever order."""
    first = shapes[0]
    for shape, name in zip(shapes, names, strict=True):
        if (shape.columns is None) != (first.columns is None) or set(shape.columns or ()) != set(first.columns or ()):
            raise DataError(
                f"{name} has the columns {_told(shape)}, but {names[0]} has {_told(first)}. Read them apart, or choose "
                "columns that all have with usecols=[...]."
            )


@dataclass(frozen=True, slots=True)
class Goal:
    """The columns and types that all frames are to have.

    Attributes:
        columns: None for Series.
        dtypes: by column (by None for Series), where frames differ in them.
    """

    columns: tuple[Any, ...] | None
    dtypes: Mapping[Any, Any]

    def of(self, frame: Any) -> Any:
        """The frame like this."""
        if frame.ndim == 1:
            return frame.astype(self.dtypes[None]) if None in self.dtypes else frame
        if self.columns is not None and tuple(frame.columns) != self.columns:
            frame = frame.reindex(columns=list(self.columns))
        return frame.astype(dict(self.dtypes)) if self.dtypes else frame


def common(shapes: Sequence[Shape]) -> Goal:
    """All columns, in the order in which they appear, with types that hold the values of every frame."""
    filled = [shape for shape in shapes if shape.rows] or shapes
    columns = dict.fromkeys(name for shape in filled for name in shape.columns or ())
    series = filled[0].columns is None
    kinds: dict[Any, list[Any]] = {name: [] for name in ((None,) if series else columns)}
    for shape in filled:
        for name, kind in zip(shape.names, shape.dtypes, strict=True):
            kinds.setdefault(name, []).append(kind)
    settled = {}
    for name, found in kinds.items():
        if len(found) < len(filled):
            found.append(np.dtype(float))  # NaN where a frame lacks the column
        kind = _wide_enough(found)
        if kind is not None and any(_kind_in(shape, name) != kind for shape in shapes):
            settled[name] = kind
    return Goal(None if series else tuple(columns), settled)


def _kind_in(shape: Shape, name: Any) -> Any:
    return shape.dtypes[shape.names.index(name)] if name in shape.names else None


def _wide_enough(kinds: Sequence[Any]) -> Any:
    """A type for the values of all; None where nothing is to be changed."""
    if all(kind == kinds[0] for kind in kinds[1:]):
        return kinds[0]
    if not all(isinstance(kind, np.dtype) for kind in kinds):
        return None
    return np.result_type(*kinds) if all(kind.kind in "iuf" for kind in kinds) else np.dtype(object)


@dataclass(frozen=True, slots=True)
class Alike:
    """For `objects.OnObjects`: frames that are alike, in blocks of at most `rows` rows.

    Attributes:
        goal: what they are to be.
        rows: of a block; None for whole frames.
    """

    goal: Goal
    rows: int | None

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            for place, frame in enumerate(cut(self.goal.of(item.value), self.rows)):
                yield Item(item.part, place, frame)


def cut(frame: Any, rows: int | None) -> list[Any]:
    """Blocks of a frame; one at least."""
    if rows is None or len(frame) <= rows:
        return [frame]
    return [frame.iloc[start : start + rows] for start in range(0, len(frame), rows)]


def blocks(rows: int, most: int | None) -> int:
    """How many blocks `cut` makes."""
    return 1 if most is None else max(1, math.ceil(rows / most))


def pandas_() -> Any:
    """Pandas.

    Raises:
        MissingDependency: it is not installed.
    """
    return require("pandas", extra="pandas", because="these shards are pandas DataFrames")


def _is_numbered(found: Sequence[Any]) -> bool:
    """Whether no frame has an index of its own."""
    return all(type(frame.index).__name__ == "RangeIndex" and frame.index.name is None for frame in found)


def _told(shape: Shape) -> str:
    return "(a Series)" if shape.columns is None else str(list(shape.columns))


def first_row(file: DataFile, request: CsvRequest) -> list[str | None]:
    """The cells of a CSV file's first row.

    Raises:
        UsageError: it has none.
        DataError: it is no CSV file.
    """
    pandas = pandas_()
    more = {key: value for key, value in request.options.items() if key in ("comment", "encoding", "quotechar")}
    arguments = {"sep": request.sep, "header": None, "nrows": 1, "dtype": str, "keep_default_na": False, **more}
    try:
        found = file.read(pandas.read_csv, arguments)
    except DataError as error:
        if isinstance(error.__cause__, pandas.errors.EmptyDataError):
            raise UsageError(f"the file {file.path} is empty: No columns to parse from file") from error
        raise
    return [str(cell) for cell in found.iloc[0]]
