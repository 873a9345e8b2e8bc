"""Files that Spark reads and cuts into partitions, each of which becomes one pandas DataFrame.

Owns: CSV as text whose types follow pandas' rules (found in one pass over all partitions, so that all have the same),
lines of JSON, Parquet, Spark's errors in the words of the reader.
Leaves: which columns a CSV file has (zoo.engine.data.delimited), files that only pandas can read (pieces).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zoo.engine import storage
from zoo.engine.clusters.spark.connect import is_connect
from zoo.engine.clusters.spark.faults import in_own_words
from zoo.engine.clusters.spark.frames import FrameShards
from zoo.engine.data.delimited import CsvColumns, CsvRequest
from zoo.engine.data.objects import OBJECTS, PART, Item, pack
from zoo.engine.data.pieces import cut, pandas_
from zoo.engine.errors import ColumnNotFound, DataError, UsageError, ZooError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

CSV_OPTIONS = frozenset({
    "charToEscapeQuoteEscaping", "columnPruning", "emptyValue", "escape", "ignoreLeadingWhiteSpace",
    "ignoreTrailingWhiteSpace", "lineSep", "maxCharsPerColumn", "maxColumns", "mode", "modifiedAfter",
    "modifiedBefore", "multiLine", "pathGlobFilter", "recursiveFileLookup", "unescapedQuoteHandling",
})  # fmt: skip
"""Options of Spark's CSV reader that a program may give as they are."""

_INTEGER = r"^\s*[+-]?[0-9]+\s*$"
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|(?i:inf|infinity))\s*$"
_TRUE, _FALSE = ("True", "TRUE", "true"), ("False", "FALSE", "false")
_BOOL, _INT, _FLOAT, _TEXT = "bool", "int64", "float64", "object"

_PATH = re.compile(r"Path does not exist: (\S+?)\.?(?:\s|$)")
_FILE = re.compile(r"(?:reading file|CSV file:?) (\S+)")
_MALFORMED = re.compile(r"MALFORMED_RECORD\S*\]?[^\n]*|Malformed (?:CSV )?records? [^\n]*|MALFORMED_CSV_RECORD[^\n]*")
_HEADER = re.compile(r"CSV header does not conform to the schema\.\s*Header: ([^\n]*)\s*Schema: ([^\n]*)")


def reads(session: SparkSession, url: str) -> bool:
    """Whether Spark has a file system for the URL."""
    scheme, found, _ = url.partition("://")
    if not found or is_connect(session):
        return True
    hadoop = session.sparkContext._jvm.org.apache.hadoop.fs.FileSystem  # type: ignore[union-attr]
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]

    try:
        hadoop.getFileSystemClass(scheme, session.sparkContext._jsc.hadoopConfiguration())
    except Py4JJavaError:
        return False
    return True


class NotForSpark(DataError):
    """Files with a type that Spark does not read."""


def csv_first_row(session: SparkSession, urls: Sequence[str], request: CsvRequest) -> list[str | None]:
    """The cells of the first row of the first file that has one, as Spark finds it.

    Raises:
        UsageError: no such path, or no rows.
    """
    with _in_words_of_readers():
        first = session.read.options(**_options(request)).csv(list(urls)).take(1)
    if not first:
        raise UsageError("No columns to parse from file: the CSV files are empty. Received: " + ", ".join(urls))
    return list(first[0])


def csv_frames(
    session: SparkSession, urls: Sequence[str], request: CsvRequest, first: Sequence[str | None], rows: int | None
) -> FrameShards:
    """CSV files as objects, one DataFrame for each of Spark's splits.

    Args:
        session: the session.
        urls: files and directories.
        request: of which `CsvRequest.is_plain` holds, but for Spark's own options in it.
        first: the cells of the first row.
        rows: most of a DataFrame; None for those of a split.

    Raises:
        UsageError: no such path; columns that are not in the files.
        DataError: malformed lines, or files with different headers.
    """
    from pyspark.sql import functions as F

    with _in_words_of_readers():
        options = _options(request)
        columns = request.settled(first)
        every = _as_text(session, urls, options, request.header == 0, first)
        names = [f"_{at}" for at in columns.used]
        missing = sorted(request.missing)
        cells = {name: F.coalesce(F.col(name), F.lit("")) for name in names}  # to Spark, an empty cell is none
        texts = every.select(*(F.when(~cell.isin(missing), cell).alias(name) for name, cell in cells.items()))
        kinds = _kinds(texts, _forced(columns))
        typed = texts.select(*(_cast(F.col(name), kind).alias(name) for name, kind in kinds.items()))
        finish = _FromCsv(columns, tuple(kinds.values()))
        return _objects(typed, finish, rows)


def json_frames(
    session: SparkSession, urls: Sequence[str], arguments: Mapping[str, Any], rows: int | None
) -> FrameShards:
    """Files of one JSON object a line as objects, one DataFrame for each of Spark's splits.

    Args:
        session: the session.
        urls: files and directories.
        arguments: of ``pandas.read_json``, ``lines`` among them.
        rows: most of a DataFrame.
    """
    with _in_words_of_readers():
        return _objects(session.read.text(list(urls)), _FromLines(dict(arguments)), rows)


def parquet_frames(
    session: SparkSession,
    urls: Sequence[str],
    columns: Sequence[str] | None,
    schema: Any,
    options: Mapping[str, Any],
    rows: int | None,
) -> FrameShards:
    """Parquet files as objects, one DataFrame for each of Spark's splits.

    Args:
        session: the session.
        urls: files and directories.
        columns: those that are read; None for all.
        schema: a StructType, DDL or Arrow schema; None for that of the files.
        options: of Spark's reader.
        rows: most of a DataFrame.

    Raises:
        ColumnNotFound: a column that the files do not have.
        NotForSpark: a column's type is nothing to Spark, such as times in nanoseconds, which pandas writes.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    with _in_words_of_readers():
        reader = session.read.options(**options)
        if isinstance(schema, pa.Schema):
            schema = from_arrow_schema(schema)
        frame = (reader if schema is None else reader.schema(schema)).parquet(*urls)
        unknown = [name for name in columns or () if name not in frame.columns]
        if unknown:
            raise ColumnNotFound.among(unknown, frame.columns, "columns")
        if columns is not None:
            frame = frame.select(*(F.col("`" + name.replace("`", "``") + "`") for name in columns))
        zone = str(session.conf.get("spark.sql.session.timeZone"))
        return _objects(frame, _FromRows(tuple(frame.columns), zone), rows)


def counts(objects: FrameShards) -> list[int]:
    """How many objects each partition holds; computes them."""
    with in_own_words(), _in_words_of_readers():
        found = Counter(row[0] for row in objects.frame.select(PART).collect())
    return [found[part] for part in range(max(found, default=-1) + 1)]


# --- CSV -------------------------------------------------------------------------------------------------------------


def _options(request: CsvRequest) -> dict[str, str]:
    given = dict(request.options)
    options = {"sep": str(request.sep), "escape": '"', "mode": "FAILFAST", "columnPruning": "false"}
    for name, option in (("quotechar", "quote"), ("comment", "comment"), ("encoding", "encoding")):
        if given.get(name) is not None:
            options[option] = str(given[name])
    own = {name: given[name] for name in CSV_OPTIONS & given.keys()}
    return options | {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in own.items()
    }


def _as_text(
    session: SparkSession, urls: Sequence[str], options: Mapping[str, str], header: bool, first: Sequence[str | None]
) -> DataFrame:
    """All columns as text, named by their positions; the headers of all files are compared."""
    from pyspark.sql.types import StringType, StructField, StructType

    positions = [f"_{at}" for at in range(len(first))]
    distinct = header and all(first) and len({str(cell).lower() for cell in first}) == len(first)
    names = [str(cell) for cell in first] if distinct else positions
    reader = session.read.options(**options).options(
        header=str(header).lower(), enforceSchema=str(not distinct).lower()
    )
    schema = StructType([StructField(name, StringType()) for name in names])
    return reader.schema(schema).csv(list(urls)).toDF(*positions)


def _forced(columns: CsvColumns) -> dict[str, bool]:
    """Whether a column stays text, by position."""
    api = pandas_().api.types
    kinds = {name: api.pandas_dtype(kind) for name, kind in columns.dtypes.items()}
    texts = {name for name, kind in kinds.items() if _is_text(kind) or api.is_string_dtype(kind)}
    return {f"_{at}": columns.names[at] in texts for at in columns.used}


def _kinds(texts: DataFrame, forced: Mapping[str, bool]) -> dict[str, str]:
    """The dtype that pandas gives to each column, were all rows in one file."""
    from pyspark.sql import functions as F

    asked: list[Column] = [F.count(F.lit(1))]
    for name in (name for name, text in forced.items() if not text):
        column = F.col(name)
        whole = column.rlike(_INTEGER)
        tests = (
            column.isNotNull(),
            column.isin(*_TRUE, *_FALSE),
            whole,
            whole & F.trim(column).try_cast("bigint").isNotNull(),
            column.rlike(_NUMBER),
        )
        asked += [F.count_if(test) for test in tests]
    ((rows, *found),) = texts.select(*asked).collect()
    told = iter(found)
    return {name: _TEXT if text else _kind(rows, *islice(told, 5)) for name, text in forced.items()}


def _kind(rows: int, present: int, booleans: int, whole: int, fitting: int, numbers: int) -> str:
    if rows == 0:
        return _TEXT
    if present == 0:
        return _FLOAT  # NaN
    if booleans == present:
        return _BOOL if present == rows else _TEXT + _BOOL
    if numbers < present or fitting < whole:  # a number of 25 digits is a name
        return _TEXT
    return _INT if whole == present == rows else _FLOAT


def _cast(column: Column, kind: str) -> Column:
    from pyspark.sql import functions as F

    if kind == _TEXT:
        return column
    if kind in (_BOOL, _TEXT + _BOOL):
        return F.lower(column).cast("boolean")
    return F.trim(column).cast("bigint" if kind == _INT else "double")


@dataclass(frozen=True, slots=True)
class _FromCsv:
    columns: CsvColumns
    kinds: tuple[str, ...]

    def __call__(self, table: pa.Table) -> Any:
        pandas = pandas_()
        names = self.columns.chosen
        made = {name: self._series(column, kind) for name, column, kind in zip(names, table.columns, self.kinds)}  # noqa: B905
        frame = pandas.DataFrame(made, index=pandas.RangeIndex(table.num_rows), columns=names)
        for name, dtype in self.columns.dtypes.items():
            if name in made and not _stays(dtype):
                try:
                    frame[name] = frame[name].astype(dtype)
                except (TypeError, ValueError, OverflowError) as error:
                    raise DataError(f"column '{name}' cannot become {dtype!r}: {error}") from error
        return self.columns.finished(frame)

    @staticmethod
    def _series(column: pa.ChunkedArray, kind: str) -> Any:
        series = column.to_pandas()
        if kind in (_TEXT, _TEXT + _BOOL):
            series = series.astype(object)
            return series.where(series.notna(), float("nan"))
        return series.astype(kind)


def _is_text(dtype: Any) -> bool:
    """Whether cells stay as they are written; categories are such texts, too, unless they are named."""
    api = pandas_().api.types
    kind = api.pandas_dtype(dtype)
    return bool(api.is_object_dtype(kind) or kind.kind == "U" or (kind == "category" and kind.categories is None))


def _stays(dtype: Any) -> bool:
    """Whether a column of texts is that already."""
    return _is_text(dtype) and str(dtype) != "category"


# --- JSON, Parquet ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FromLines:
    arguments: Mapping[str, Any]

    def __call__(self, table: pa.Table) -> Any:
        pandas = pandas_()
        lines = [line for line in table.column(0).to_pylist() if line and line.strip()]
        if not lines:
            return pandas.DataFrame()
        try:
            return pandas.read_json(StringIO("\n".join(lines).lstrip("\ufeff")), **self.arguments)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{error} (in {len(lines)} lines of JSON, the first of which begins with {lines[0][:60]!r})"
            ) from error


@dataclass(frozen=True, slots=True)
class _FromRows:
    names: tuple[str, ...]
    zone: str

    def __call__(self, table: pa.Table) -> Any:
        pandas = pandas_()
        frame = table.rename_columns(list(self.names)).to_pandas(timestamp_as_object=False)
        for name in self.names:
            if isinstance(frame[name].dtype, pandas.DatetimeTZDtype):
                frame[name] = frame[name].dt.tz_convert(self.zone).dt.tz_localize(None)
        return frame


# --- objects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Objects:
    """A `Mapper` from the rows of a partition to one object, or several of at most `rows` rows."""

    finish: Callable[[pa.Table], Any]
    schema: pa.Schema
    rows: int | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None  # a task is running
        table = pa.Table.from_batches((batch.cast(self.schema) for batch in batches), self.schema)
        for place, frame in enumerate(cut(self.finish(table), self.rows)):
            yield pack(Item(context.partitionId(), place, frame))


def _objects(frame: DataFrame, finish: Callable[[pa.Table], Any], rows: int | None) -> FrameShards:
    source = FrameShards(frame, tuple(frame.columns))
    return source.mapped(_Objects(finish, source.schema, rows), OBJECTS)


@contextmanager
def _in_words_of_readers() -> Iterator[None]:
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        found = _told(str(error))
        if found is None:
            raise
        raise found from error


def _told(text: str) -> ZooError | None:
    text = storage.masked(text)
    path, header, malformed, file = (pattern.search(text) for pattern in (_PATH, _HEADER, _MALFORMED, _FILE))
    where = f" in the file {file[1].rstrip('.,')}" if file else ""
    if "PARQUET_TYPE_ILLEGAL" in text or "PARQUET_TYPE_NOT_SUPPORTED" in text:
        return NotForSpark(text.partition("\n")[0])
    if path:
        return UsageError(f"Path does not exist: No such file or directory: {path[1]}. Check where it is mounted.")
    if header:
        return DataError(
            f"the CSV files have different headers: {header[1].strip()}{where}, the first has {header[2].strip()}. "
            "Read them apart, or write them with the same columns in the same order."
        )
    if malformed:
        return DataError(
            f"Error tokenizing data: {malformed[0].strip()}{where}. Lines have fewer or more cells than the first. If "
            "cells hold line breaks, give multiLine=True; OrcaContext.pandas_read_backend = 'pandas' pads short lines."
        )
    return None
