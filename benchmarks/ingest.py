"""From a data set to arrays on two ranks: what `fit` does before its first step.

A DataFrame against only draining `mapInArrow` with the same settings (nothing is converted or kept); the path of a
Parquet file against pyarrow alone reading the same row groups into a table in as many processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import Row, compared, in_turns
from places import folder, spark

from zoo.engine.clusters.local import LocalCluster
from zoo.engine.collectives import join
from zoo.engine.contracts import Cluster, Collective, FeedRequest, Rank, Shards, Sink
from zoo.engine.data.adapters import Adapted, adapt
from zoo.engine.events.sinks import MemorySink
from zoo.engine.jobs import Columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MEGABYTES = {"tiny": 1, "quick": 40, "full": 400}
TURNS = {"tiny": 1, "quick": 5, "full": 9}
GROUPS = 8


@dataclass(frozen=True)
class Kind:
    """One kind of rows.

    Attributes:
        name: in the table.
        row_bytes: of one row.
        make: rows -> table.
    """

    name: str
    row_bytes: int
    make: Callable[[int], pa.Table]


def _floats(rows: int) -> pa.Table:
    draw = np.random.default_rng(0)
    return pa.table({f"f{number}": draw.random(rows, np.float32) for number in range(20)})


def _lists(rows: int) -> pa.Table:
    values = pa.array(np.random.default_rng(0).random(rows * 784, np.float32))
    return pa.table({"x": pa.ListArray.from_arrays(np.arange(0, rows * 784 + 1, 784, dtype=np.int32), values)})


def _blobs(rows: int) -> pa.Table:
    content = np.random.default_rng(0).bytes(rows * 10_000)
    return pa.table({"x": [content[start : start + 10_000] for start in range(0, len(content), 10_000)]})


KINDS = (
    Kind("20 float columns", 80, _floats),
    Kind("array<float> of 784", 3136, _lists),
    Kind("binary of 10 KB", 10_000, _blobs),
)


def from_frames(size: str) -> Iterator[Row]:
    """A DataFrame read from Parquet."""
    with folder() as place, spark() as (session, cluster):
        for kind in KINDS:
            frame = session.read.parquet(_written(kind, size, place))
            data = adapt(frame, frame.columns)
            ours, theirs = partial(_fill, cluster, data), partial(_drain, frame)
            seconds = in_turns(ours, theirs, TURNS[size], 0 if size == "tiny" else 2)
            labels = (f"DataFrame to arrays on 2 ranks: {kind.name}", "feed of `fit`", "draining `mapInArrow`")
            yield compared(labels, *seconds, 0.8)


def from_paths(size: str) -> Iterator[Row]:
    """Parquet files that the ranks read themselves."""
    with folder() as place:
        for kind in KINDS[: 1 if size == "tiny" else None]:
            path = _written(kind, size, place)
            turns = LocalCluster(2).gang(partial(_read, path, TURNS[size]), adapted(path), 2, MemorySink())
            ours, theirs = ([max(pair) for pair in zip(*times, strict=True)] for times in zip(*turns, strict=True))
            labels = (f"Parquet path to arrays on 2 ranks: {kind.name}", "feed of `fit`", "pyarrow reading the same")
            yield compared(labels, ours, theirs, 0.9)


def adapted(path: str) -> Mapping[str, Shards]:
    """The file as shards."""
    return {"train": adapt(path, pq.read_schema(path).names).shards}


def _written(kind: Kind, size: str, place: Path) -> str:
    path = place / f"{kind.row_bytes}.parquet"
    rows = MEGABYTES[size] * 1_000_000 // kind.row_bytes
    pq.write_table(kind.make(rows), path, row_group_size=-(-rows // GROUPS))
    return str(path)


def _fill(cluster: Cluster, data: Adapted) -> None:
    cluster.gang(partial(_feed, data.columns), {"train": data.shards}, 2, MemorySink())


def _drain(frame: DataFrame) -> None:
    def drain(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            pass
        yield from ()

    frame.mapInArrow(drain, "nothing int").collect()


def _feed(columns: Columns, rank: Rank, shards: Mapping[str, Shards], sink: Sink) -> None:
    with closing(join(rank, 60.0)) as collective:
        request = FeedRequest(
            rank=rank, features=columns.features, labels=columns.labels, batch_size=256, sink=sink
        )  # fmt: skip
        _filled(shards["train"], request, collective)


def _filled(shards: Shards, request: FeedRequest, collective: Collective) -> None:
    with closing(shards.feed(request)) as feed:
        feed.settle(collective)


def _read(
    path: str, turns: int, rank: Rank, shards: Mapping[str, Shards], sink: Sink
) -> tuple[list[float], list[float]]:
    """Seconds of (ours, pyarrow's)."""
    names = tuple(shards["train"].schema.names)
    found: tuple[list[float], list[float]] = ([], [])
    with closing(join(rank, 60.0)) as collective:

        def fill() -> None:
            request = FeedRequest(rank=rank, features=names, labels=(), batch_size=256, sink=sink)
            _filled(shards["train"], request, collective)

        def read() -> None:
            file = pq.ParquetFile(path)
            mine = list(range(rank.index, file.num_row_groups, rank.world))
            file.read_row_groups(mine, use_threads=False)

        for turn in range(turns + 1):
            for which, call in ((0, fill), (1, read)) if turn % 2 else ((1, read), (0, fill)):
                pa.default_memory_pool().release_unused()  # both get their memory from the system, as in a new process
                collective.gather(None)
                began = time.perf_counter()
                call()
                found[which].append(time.perf_counter() - began)
    return found[0][1:], found[1][1:]
