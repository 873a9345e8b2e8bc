"""`read_csv`, `read_json` and `read_parquet`: files as XShards of pandas DataFrames.

``OrcaContext.pandas_read_backend`` chooses who reads. ``"spark"`` (the default): Spark, which cuts large files; where
the cluster is not Spark, or Spark cannot do what is asked, pandas reads whole files, with the same result.
``"pandas"``: pandas, file by file, with all of its arguments and defaults.

Owns: the words of the calls, who reads.
Leaves: reading (zoo.engine.data.pieces, zoo.engine.clusters.spark.readers).
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zoo.engine import filesystems, session, storage
from zoo.engine.data import ddl, pieces
from zoo.engine.data.delimited import CsvRequest
from zoo.engine.data.finding import Found, find
from zoo.engine.data.objects import Item
from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.orca.common import OrcaContext
from zoo.orca.data.collection import Collection
from zoo.orca.data.shard import XShards

_log = logging.getLogger("zoo")

_PACKED = ("", ".gz", ".bz2", ".zip", ".xz", ".zst")
_CSV = tuple(f".{kind}{end}" for kind in ("csv", "tsv") for end in _PACKED)
_JSON = tuple(f".{kind}{end}" for kind in ("json", "jsonl", "ndjson") for end in _PACKED)
_PARQUET = (".parquet", ".parq", ".pq")
_BY_SPARK_TOO = (".gz", ".bz2")  # what Hadoop unpacks without native libraries


def read_csv(file_path: Any, **kwargs: Any) -> XShards:
    """CSV files as XShards of DataFrames.

    Args:
        file_path: a file, a directory (its ``.csv`` files, packed ones too), a glob, or a list of these; local paths,
            ``hdfs://``, ``s3://``, and other URLs that fsspec knows.
        **kwargs: those of ``pandas.read_csv``, and `squeeze`. With the backend ``"spark"``, `sep`, `header` (0 or
            None), `names`, `usecols`, `index_col`, `dtype`, `na_values`, `keep_default_na`, `quotechar`, `comment`,
            `encoding` and options of Spark's reader (`multiLine`, ...) leave large files cut in pieces; with others
            each file is read whole.

    Returns:
        a DataFrame (or, with `squeeze` and one column, a Series) for each of Spark's splits, which begin with the
        largest file, or for each partition of whole files, in their order. All have the same columns and dtypes.

    Raises:
        UsageError: no such path, only empty files, an unknown argument, columns that are not in the files.
        DataError: malformed lines, files with different columns; when the shards are computed.
    """
    pandas = pieces.pandas_()
    by_spark = _spark()
    _refuse_unknown("read_csv", kwargs, pandas.read_csv, {"squeeze", *_csv_options(by_spark)})
    request, urls, rows = CsvRequest.of(kwargs), _urls(file_path), OrcaContext._shard_size
    plain = _without(request, _csv_options(by_spark))
    if by_spark is not None and plain.is_plain:
        from zoo.engine.clusters.spark import readers

        found = _for_spark(by_spark, urls, _CSV)
        if found is not None and all(map(storage.is_local, urls)):
            first = pieces.first_row(_files(urls, _CSV)[0], plain)
            return _by_spark(readers.csv_frames(by_spark, found, request, first, rows))
        if found is not None:
            first = readers.csv_first_row(by_spark, found, request)
            return _by_spark(readers.csv_frames(by_spark, found, request, first, rows))
    files = _files(urls, _CSV)
    if OrcaContext.pandas_read_backend == "pandas":
        return _by_pandas(files, lambda some: pieces.CsvPiece(some, request), same_columns=True)
    if not plain.is_plain:
        return _by_pandas(files, lambda some: pieces.CsvPiece(some, plain, None, True), same_columns=True)
    columns = plain.settled(pieces.first_row(files[0], plain))
    return _by_pandas(files, lambda some: pieces.CsvPiece(some, plain, columns), same_columns=True)


def read_json(file_path: Any, **kwargs: Any) -> XShards:
    """JSON files as XShards of DataFrames.

    Args:
        file_path: as in `read_csv`; of a directory its ``.json``, ``.jsonl`` and ``.ndjson`` files.
        **kwargs: those of ``pandas.read_json``. With ``lines=True`` (one object a line) Spark cuts large files;
            others are read whole.

    Returns:
        shards as those of `read_csv`. All have all columns, in the order in which they appear; NaN where a record
        lacks one.

    Raises:
        UsageError: no such path, only empty files, an unknown argument.
        DataError: a file is not JSON of this orientation; when the shards are computed.
    """
    pandas = pieces.pandas_()
    _refuse_unknown("read_json", kwargs, pandas.read_json, ())
    urls, by_spark = _urls(file_path), _spark()
    if by_spark is not None and kwargs.get("lines") and kwargs.keys().isdisjoint(("chunksize", "nrows", "encoding")):
        from zoo.engine.clusters.spark import readers

        found = _for_spark(by_spark, urls, _JSON)
        if found is not None:
            whole = {name: value for name, value in kwargs.items() if name != "compression"}
            return _alike(_from_spark(readers.json_frames(by_spark, found, whole, None)), same_columns=False)
    files = _files(urls, _JSON)
    return _by_pandas(files, lambda some: pieces.JsonPiece(some, dict(kwargs)), same_columns=False)


def read_parquet(file_path: Any, columns: Sequence[str] | None = None, schema: Any = None, **options: Any) -> XShards:
    """Parquet files as XShards of DataFrames.

    Args:
        file_path: as in `read_csv`; ``key=value`` directories below a directory become columns.
        columns: those that are read; None for all.
        schema: columns and types that the files are read with, in place of their own: a Spark StructType, a DDL text
            (``"id bigint, name string"``), or a `pyarrow.Schema`; columns that a file lacks are null.
        **options: of Spark's reader (``mergeSchema``, ...); only where Spark reads.

    Returns:
        a DataFrame for each of Spark's splits, or for each partition's row groups, in the order of the files.

    Raises:
        UsageError: no such path, no Parquet, files with different columns, options where Spark does not read.
        ColumnNotFound: a column that the files do not have.
    """
    pieces.pandas_()
    urls, by_spark, wanted = _urls(file_path), _spark(), _names(columns)
    if by_spark is not None and all(_readable(by_spark, url) for url in urls):
        from zoo.engine.clusters.spark import readers

        for url in urls:
            if storage.is_local(url):
                _found(url, _PARQUET)
        places = [_spark_url(url) for url in urls]
        try:
            return _by_spark(readers.parquet_frames(by_spark, places, wanted, schema, options, OrcaContext._shard_size))
        except readers.NotForSpark as error:
            _log.info("Spark cannot read these Parquet files, pandas does: %s", error)
    if options:
        raise UsageError(
            f"options of Spark's Parquet reader where Spark does not read these files. Received: {sorted(options)}"
        )
    return _row_groups(urls, wanted, ddl.to_arrow(schema))


# --- who reads -------------------------------------------------------------------------------------------------------


def _spark() -> Any:
    """The SparkSession that is to read; None where pandas is."""
    session.current()
    running = session.running()
    return running.spark if running is not None and OrcaContext.pandas_read_backend == "spark" else None


def _for_spark(spark: Any, urls: Sequence[str], suffixes: Sequence[str]) -> list[str] | None:
    """What Spark is told to read; None where it cannot."""
    if not all(_readable(spark, url) for url in urls):
        return None
    told: list[str] = []
    for url in urls:
        if not storage.is_local(url):
            told.append(_spark_url(url))
            continue
        found = _found(url, suffixes)
        told += [_escaped(path) for path, size in zip(found.paths, found.sizes, strict=True) if size]
    if any(path.endswith(_PACKED[1:]) and not path.endswith(_BY_SPARK_TOO) for path in told):
        return None
    if not told:
        raise UsageError(
            f"No columns to parse from file: all files are empty in {', '.join(map(storage.masked, urls))}"
        )
    return told


def _readable(spark: Any, url: str) -> bool:
    from zoo.engine.clusters.spark import readers

    if storage.is_local(url):
        return True
    filesystems.check_name_node(url)
    if readers.reads(spark, _spark_url(url)):
        return True
    _log.info("Spark has no file system for %s; pandas reads it, file by file.", storage.masked(url))
    return False


def _spark_url(url: str) -> str:
    """As Hadoop names it: s3a is its S3."""
    if storage.is_local(url):
        return f"file://{storage.local_path(url).absolute()}"
    scheme, _, rest = url.partition("://")
    return f"s3a://{rest}" if scheme.lower() in ("s3", "s3n") else url


def _escaped(path: str) -> str:
    """A file's own name, in which Hadoop sees no wildcards."""
    return "file://" + "".join(f"\\{one}" if one in "*?[]{}\\" else one for one in path)


def _csv_options(spark: Any) -> frozenset[str]:
    if spark is None:
        return frozenset()
    from zoo.engine.clusters.spark.readers import CSV_OPTIONS

    return CSV_OPTIONS


def _without(request: CsvRequest, names: frozenset[str]) -> CsvRequest:
    return replace(request, options={key: value for key, value in request.options.items() if key not in names})


# --- files -----------------------------------------------------------------------------------------------------------


def _urls(file_path: Any) -> list[str]:
    listed = [file_path] if isinstance(file_path, str | os.PathLike) else file_path
    if not isinstance(listed, list | tuple) or not listed:
        raise UsageError(f"file_path must be a path, or a list of paths. Received: {file_path!r}")
    wrong = [one for one in listed if not isinstance(one, str | os.PathLike) or not os.fspath(one)]
    if wrong:
        raise UsageError(f"file_path must be a path, or a list of paths. Received: {wrong[0]!r} among them")
    return [str(os.fspath(one)) for one in listed]


def _found(url: str, suffixes: Sequence[str]) -> Found:
    found = find(url, suffixes)
    if not found.paths:
        raise UsageError(
            f"No such file or directory: no data file in {storage.masked(url)}. Names that start with '_' or '.' are "
            "ignored."
        )
    return found


def _files(urls: Sequence[str], suffixes: Sequence[str]) -> list[pieces.DataFile]:
    """The files with anything in them."""
    files = []
    for url in urls:
        found = _found(url, suffixes)
        files += [
            pieces.DataFile(found.files, path) for path, size in zip(found.paths, found.sizes, strict=True) if size
        ]
    if not files:
        raise UsageError(
            f"No columns to parse from file: all files are empty in {', '.join(map(storage.masked, urls))}"
        )
    return files


def _names(columns: Sequence[str] | None) -> list[str] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not columns:
        raise UsageError(f"columns must be a list of names. Received: {columns!r}")
    return list(columns)


def _refuse_unknown(call: str, received: Mapping[str, Any], like: Callable[..., Any], more: Any) -> None:
    known = {*list(inspect.signature(like).parameters)[1:], *more}
    unknown = sorted(received.keys() - known)
    if unknown:
        raise UsageError.unknown_argument(call, unknown, known)
    for name in ("chunksize", "iterator"):
        if received.get(name):
            raise UsageError(f"{call} reads all rows. Received: {name}={received[name]!r}; leave it out.")


# --- shards ----------------------------------------------------------------------------------------------------------


def _by_spark(frames: Any) -> XShards:
    return XShards._of(_from_spark(frames))


def _from_spark(frames: Any) -> Collection:
    from zoo.engine.clusters.spark import readers

    if OrcaContext._eager_mode:
        frames.keep()
    counts = readers.counts(frames)
    return Collection(session.current(), frames, len(counts), counts).settled()


def _by_pandas(
    files: Sequence[pieces.DataFile],
    piece: Callable[[tuple[pieces.DataFile, ...]], pieces.Piece],
    *,
    same_columns: bool,
) -> XShards:
    groups = pieces.spread(files, max(1, session.current().slots))
    return _alike(_read([piece(group) for group in groups]), same_columns=same_columns)


def _row_groups(urls: Sequence[str], columns: list[str] | None, schema: Any) -> XShards:
    import pyarrow as pa

    from zoo.engine.data.files import FileShards

    most = max(1, session.current().slots)
    made: list[pieces.Piece] = []
    for url in urls:
        _found(url, _PARQUET)
        shards = FileShards(url)
        wanted = shards.schema if schema is None else schema
        unknown = [name for name in columns or () if name not in wanted.names]
        if unknown:
            raise ColumnNotFound.among(unknown, wanted.names, "columns")
        if columns is not None:
            wanted = pa.schema([wanted.field(name) for name in columns])
        stored = shards.with_columns(name for name in wanted.names if name in shards.schema.names)
        made += pieces.parquet_pieces(stored, wanted, most)
    return _alike(_read(made), same_columns=True)


def _read(made: Sequence[pieces.Piece]) -> Collection:
    """One partition a piece, each read where it will lie."""
    items = (Item(part, 0, piece) for part, piece in enumerate(made))
    return Collection.placed(session.current(), items, len(made), pieces.frames).settled()


def _alike(shards: Collection, *, same_columns: bool) -> XShards:
    """The same frames with the same columns and dtypes, in blocks of ``OrcaContext._shard_size``."""
    shapes, most = shards.facts(pieces.shape_of), OrcaContext._shard_size
    if same_columns:
        pieces.refuse_unlike(shapes, [f"partition {part}" for part in range(len(shapes))])
    goal = pieces.common(shapes)
    counts = [pieces.blocks(shape.rows, most) for shape in shapes]
    if max(counts) == 1 and not goal.dtypes and all(shape.columns == goal.columns for shape in shapes):
        return XShards._of(shards)
    return XShards._of(shards.mapped(pieces.Alike(goal, most), counts).settled(shards))
