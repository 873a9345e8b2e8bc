"""Where a DataFrame's rows come from: tables of a metastore, tables over JDBC, files.

Owns: what the leaves of Spark's plan tell. Names are taken from what is known to hold no secret, so that a URL with a
password in an unforeseen place shows less, not more.
Leaves: reading (frames).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from zoo.engine import storage
from zoo.engine.clusters.spark import connect
from zoo.engine.values import Source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_MOST = 16
"""Leaves that are looked at: each takes some calls to the JVM."""
_PLACE = re.compile(r"jdbc:(\w+://[\w.\-]+(?::\d+)?/[\w.\-]+)(?:[?;].*)?", re.DOTALL)
_DRIVER = re.compile(r"jdbc:\w+")
_TABLE = re.compile(r'[\w.$"`]+')

_log = logging.getLogger("zoo")


def sources_of(frame: DataFrame) -> tuple[Source, ...]:
    """The tables and files behind a DataFrame, each once; empty with Spark Connect, and where Spark does not tell."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]

    if connect.is_connect(frame.sparkSession):
        return ()
    try:
        leaves = frame._jdf.queryExecution().analyzed().collectLeaves()
        found = [source for at in range(min(leaves.size(), _MOST)) for source in _sources(leaves.apply(at))]
    except Py4JError as error:  # these are Spark's own classes, and a name is not worth a run
        _log.debug("Spark did not tell where the rows come from: %s", type(error).__name__)
        return ()
    return tuple(dict.fromkeys(found))


def _sources(leaf: Any) -> Iterator[Source]:
    kind = _class(leaf)
    if kind == "HiveTableRelation":
        yield _of_catalog(leaf.tableMeta(), [])
    elif kind == "DataSourceV2Relation":
        yield Source("Table", leaf.name(), leaf.table().version() or "")
    elif kind == "LogicalRelation":
        relation, table = leaf.relation(), leaf.catalogTable()
        files = _files(relation.location()) if _class(relation) == "HadoopFsRelation" else []
        if table.isDefined():
            yield _of_catalog(table.get(), files)
        elif _class(relation) == "JDBCRelation":
            yield _of_jdbc(relation.jdbcOptions())
        elif _class(relation) == "HadoopFsRelation":
            roots = relation.location().rootPaths().mkString(", ")
            yield Source(f"{relation.fileFormat().toString()} files", storage.masked(roots), ", ".join(files))


def _of_catalog(table: Any, files: list[str]) -> Source:
    """A table of the session's catalog: it tells when its definition last changed; rows may change without."""
    properties, provider = table.properties(), table.provider()
    changed = properties.get("transient_lastDdlTime")
    seconds = int(changed.get()) if changed.isDefined() else table.createTime() // 1000
    kind = "Hive table" if provider.isDefined() and provider.get() == "hive" else "Table"
    name = table.identifier().unquotedString().removeprefix("spark_catalog.")
    since = f"so in the metastore since {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return Source(kind, name, ", ".join([since, *files]))


def _of_jdbc(options: Any) -> Source:
    """A table of a database, which has no version that JDBC would tell."""
    return Source("JDBC table", jdbc_name(options.url(), options.tableOrQuery()))


def jdbc_name(url: str, table: str) -> str:
    """A table and where it lies, without user, password, parameters and the text of queries."""
    place = _PLACE.fullmatch(url)
    driver = _DRIVER.match(url)
    shown = place[1] if place else driver[0] if driver else "jdbc"
    return f"{table if _TABLE.fullmatch(table) else 'of a query'} at {shown}"


def _files(location: Any) -> list[str]:
    """How many files and bytes, where Spark has listed them anyway."""
    if _class(location) != "InMemoryFileIndex":
        return []
    count = len(location.inputFiles())
    return [f"{count:,} file{'s' * (count != 1)}", f"{location.sizeInBytes():,} bytes"]


def _class(of: Any) -> str:
    return str(of.getClass().getSimpleName())
