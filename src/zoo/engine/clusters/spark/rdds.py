"""RDDs as shards: their elements are rows.

For training an element is ``(x, y)`` or x alone; x and y are a number, a text, an array, or a list, tuple or dict of
such. So many elements as fit into a few megabytes become one object of arrays, where they lie.

Owns: elements as objects of arrays, predictions as an RDD; elements as they are (`of_objects`, `to_objects`).
Leaves: objects as rows (zoo.engine.data.objects), frames (frames).
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.engine.clusters.spark import connect, sessions, workers
from zoo.engine.clusters.spark.faults import in_own_words
from zoo.engine.clusters.spark.frames import FrameShards
from zoo.engine.contracts import Shards
from zoo.engine.data.adapters import Adapted, Names
from zoo.engine.data.answers import unnamed
from zoo.engine.data.objects import OBJECT, OBJECTS, PART, PLACE, Answering, Item, ObjectRows, Opening, Reading, pack
from zoo.engine.errors import DataError, UsageError

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import SparkSession

_BYTES = 8 << 20
"""Of one object, about."""
_MOST = 100_000
"""Elements of one object."""


def adapt_rdd(data: RDD[Any], features: Names, labels: Names) -> Adapted:
    """The adapter of RDDs; see `zoo.engine.data.adapters`.

    Args:
        data: the RDD.
        features: names among those of a dict x; None for all.
        labels: likewise of y.

    Raises:
        UsageError: it has no elements, or elements that are no rows.
    """
    with in_own_words():
        first = data.take(1)
    if not first:
        raise UsageError("the RDD has no elements.")
    opening = Opening(features, labels)
    table, columns = opening.table(Item(0, 0, stacked(first)))
    session = sessions.active()
    assert session is not None  # an RDD has one
    frame = session.createDataFrame(
        data.mapPartitionsWithIndex(_objects), f"{PART} int, {PLACE} bigint, {OBJECT} binary"
    )
    rows = ObjectRows(FrameShards(frame, tuple(OBJECTS.names)), Reading(opening, table.schema))
    return Adapted(rows, columns, give_back)


def give_back(extended: Shards) -> RDD[Any]:
    """The predictions of an RDD's elements, in their order: an array each, a list of arrays for several outputs."""
    answering = Answering.of(extended)
    source = extended.source.source  # type: ignore[attr-defined]  # `Answering.of` has looked at it
    assert isinstance(source, FrameShards)
    names = tuple(answering.added.names)
    return source.mapped(answering, OBJECTS).selected.rdd.flatMap(lambda row: _predictions(row, names))


def to_objects(rdd: RDD[Any]) -> tuple[FrameShards, int]:
    """An RDD's elements as objects (`OBJECTS`), lazily, and the number of its partitions.

    Raises:
        UsageError: it is no RDD.
    """
    if not (type(rdd).__module__.startswith("pyspark") and hasattr(rdd, "mapPartitionsWithIndex")):
        raise UsageError(
            f"SparkXShards wraps an RDD. Received: {type(rdd).__module__}.{type(rdd).__qualname__}; "
            "for arrays there is XShards.partition."
        )
    session = sessions.active()
    assert session is not None  # an RDD has one
    send_code(session)
    frame = session.createDataFrame(rdd.mapPartitionsWithIndex(_whole), f"{PART} int, {PLACE} bigint, {OBJECT} binary")
    return FrameShards(frame, tuple(OBJECTS.names)), rdd.getNumPartitions()


def of_objects(shards: Shards) -> RDD[Any]:
    """Objects as an RDD, lazily.

    Raises:
        UsageError: they are not in Spark, or in a Spark that has no RDDs.
    """
    if not isinstance(shards, FrameShards):
        raise UsageError("these shards are on local processes, which have no RDDs. Start Spark, or use collect().")
    if connect.is_connect(shards.frame.sparkSession):
        raise UsageError("Spark Connect has no RDDs. Use to_spark_df() or collect().")
    send_code(shards.frame.sparkSession)
    return shards.selected.rdd.map(lambda row: pickle.loads(bytes(row[OBJECT])))  # noqa: S301  packed by this program


def send_code(session: SparkSession) -> None:
    """What unpacks the elements must be on the executors before a function that needs it is made."""
    if not str(session.conf.get("spark.master", "local") or "local").startswith("local"):
        workers.ship(session)


def _whole(part: int, elements: Iterable[Any]) -> Iterator[tuple[int, int, bytes]]:
    """(on an executor) The rows of `OBJECTS` for one partition, one for each element."""
    for place, element in enumerate(elements):
        cell = pack(Item(part, place, element)).column(2)[0].as_py()
        yield part, place, bytearray(cell)  # type: ignore[misc]  # Spark's binary


def stacked(elements: Sequence[Any]) -> dict[str, Any]:
    """Elements as one object of arrays: ``{"x": arrays}`` or ``{"x": arrays, "y": arrays}``.

    Raises:
        DataError: elements of different shapes.
    """
    if not _is_pair(elements[0]):
        return {"x": _columns(elements)}
    x, y = zip(*elements, strict=True)
    return {"x": _columns(x)} if y[0] is None else {"x": _columns(x), "y": _columns(y)}


def _is_pair(element: Any) -> bool:
    return isinstance(element, tuple) and len(element) == 2


def _columns(rows: Sequence[Any]) -> Any:
    first = rows[0]
    if isinstance(first, Mapping):
        return {key: _stack([row[key] for row in rows]) for key in first}
    if isinstance(first, list | tuple):
        return tuple(_stack(column) for column in zip(*rows, strict=True))
    return _stack(rows)


def _stack(cells: Sequence[Any]) -> np.ndarray:
    if isinstance(cells[0], str | bytes):
        return np.array(cells, dtype=object)
    try:
        return np.stack([np.asarray(cell) for cell in cells])
    except ValueError as error:
        shapes = sorted({np.asarray(cell).shape for cell in cells})
        raise DataError(
            f"the elements of the RDD have different shapes: {shapes[:5]}. Pad or cut them first."
        ) from error


def _objects(part: int, elements: Iterable[Any]) -> Iterator[tuple[int, int, bytes]]:
    """(on an executor) The rows of `OBJECTS` for one partition."""
    waiting: list[Any] = []
    place, most = 0, 1
    for element in elements:
        waiting.append(element)
        if len(waiting) == most:
            packed, size = _packed(part, place, waiting)
            yield packed
            most = max(1, min(_MOST, most * _BYTES // max(size, 1)))
            waiting, place = [], place + 1
    if waiting:
        yield _packed(part, place, waiting)[0]


def _packed(part: int, place: int, elements: Sequence[Any]) -> tuple[tuple[int, int, bytes], int]:
    cell = pack(Item(part, place, stacked(elements))).column(2)[0].as_py()
    return (part, place, bytearray(cell)), len(cell)  # type: ignore[return-value]  # Spark's binary


def _predictions(row: Any, names: Sequence[str]) -> Iterator[Any]:
    packed = pickle.loads(bytes(row[OBJECT]))  # noqa: S301  packed by this program
    found = [packed["prediction"]] if unnamed(names) else [packed[name] for name in names]
    answer = found[0] if len(found) == 1 else found
    if isinstance(answer, list):
        yield from (list(one) for one in zip(*answer, strict=True))
    else:
        yield from answer
