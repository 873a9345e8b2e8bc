"""One rank's rows, again and again.

Owns: keeping a copy of a one-pass stream, finding a row of the plan in it, cutting batches.
Leaves: which rows a step takes (plan), which rows a rank gets (shards, clusters), column types (columns), where the
copy lies (spool), tensors (frameworks).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zoo.engine.contracts import Batch, Extent, FeedRequest
from zoo.engine.data import columns
from zoo.engine.data.arrivals import Arrivals, Rows, indices, joined
from zoo.engine.data.balance import evened
from zoo.engine.data.plan import Plan
from zoo.engine.data.spool import Spool
from zoo.engine.data.text import Stored, stored
from zoo.engine.errors import DataError
from zoo.engine.events.events import Tick

if TYPE_CHECKING:
    import pyarrow as pa

NO_ROWS = "the {} data has no rows. Check the filters and joins that made it."


class RowFeed:
    """Rows in the order of the plan: the same rows make the same step on any number of ranks."""

    def __init__(self, spool: Spool, rows_of: Mapping[int, Rows], request: FeedRequest) -> None:
        """Learns the rows per part of all ranks; every rank of the gang must come here.

        Args:
            spool: the rank's rows; the feed closes it.
            rows_of: part -> where its rows lie in the spool, in the part's own order.
            request: as in `fill`.
        """
        self._spool = spool
        self._columns = spool.seal()
        self._features = len(request.features)
        self._parts = sorted(rows_of)
        self._rows_of = [rows_of[part] for part in self._parts]
        self.plan = Plan(_sizes(rows_of, request), request.batch_size, request.seed, request.shuffle)
        self.extent = Extent(self.plan.rows, self.plan.steps)

    @classmethod
    def fill(
        cls, rows: Iterable[tuple[int, pa.RecordBatch]], schema: pa.Schema, request: FeedRequest,
        expected: int | None = None,
    ) -> RowFeed:  # fmt: skip
        """Reads whole parts to their end.

        Args:
            rows: (part, rows of it); a part's rows come in order.
            schema: of the rows.
            request: columns, batch size, memory and so on.
            expected: how many rows will come, where that is known.

        Raises:
            DataError: nulls, ragged lists, or no row on any rank.
        """
        columns = ((part, dict(zip(schema.names, ([c] for c in batch.columns), strict=True))) for part, batch in rows)
        return cls.fill_columns(columns, schema, request, expected)

    @classmethod
    def fill_columns(
        cls, parts: Iterable[tuple[int, Mapping[str, Iterable[pa.Array]]]], schema: pa.Schema, request: FeedRequest,
        expected: int | None = None,
    ) -> RowFeed:  # fmt: skip
        """Reads whole parts to their end, in columns.

        Args:
            parts: (part, the pieces of each column); a part may come in several runs of rows, in order.
            schema: of the rows.
            request: columns, batch size, memory and so on.
            expected: how many rows will come, where that is known.

        Raises:
            DataError: as `fill`.
        """
        lying: dict[int, list[Rows]] = {}
        with _Filling(schema, request, expected) as filling:
            for part, pieces in parts:
                lying.setdefault(part, []).append(filling.extend(pieces))
        return cls(filling.spool, {part: joined(found) for part, found in lying.items()}, request)

    @classmethod
    def fill_mixed(
        cls, rows: Iterable[tuple[NDArray[np.int64], NDArray[np.int64], pa.RecordBatch]], schema: pa.Schema,
        request: FeedRequest,
    ) -> RowFeed:  # fmt: skip
        """Reads rows that come in any order (from a shuffle).

        Args:
            rows: (part of each row, its place in the part, the rows). Places are unique within a part and order it.
            schema: of the rows.
            request: columns, batch size, memory and so on.
        """
        parts, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        with _Filling(schema, request) as filling:
            for part, place, batch in rows:
                filling.append(batch)
                parts.append(part)
                places.append(place)
        part = np.concatenate(parts)
        order = np.lexsort((np.concatenate(places), part))
        runs = np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
        return cls(filling.spool, {int(part[run[0]]): run for run in runs if len(run)}, request)

    @classmethod
    def fill_placed(
        cls, rows: Iterable[tuple[NDArray[np.int64], pa.RecordBatch]], schema: pa.Schema, request: FeedRequest
    ) -> RowFeed:
        """Reads whole partitions, as they happen to be on this rank; every rank of the gang must come here.

        The parts are cut when all is read, and move between ranks where one has read much more than the others.

        Args:
            rows: (the place of each row, see `arrivals`; the rows).
            schema: of the rows.
            request: columns, batch size, memory and so on.
        """
        arrivals = Arrivals()
        with _Filling(schema, request) as filling:
            for places, batch in rows:
                arrivals.add(places, filling.append(batch))
            parts = evened(arrivals.partitions(), filling.spool, request)
        return cls(filling.spool, parts, request)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
        reading = [self._reading_order(epoch, i) for i in range(len(self._parts))]
        order = np.concatenate(reading) if reading else np.empty(0, np.intp)
        offsets = np.cumsum([0, *map(len, reading)])[:-1]
        for step, (part, k) in enumerate(self.plan.steps_of(self._parts, start), start):
            yield self._batch(order[offsets[part] + k] if len(part) else np.empty(0, np.intp), self.plan.total(step))

    def close(self) -> None:
        """Gives back memory and files."""
        self._spool.close()

    def _reading_order(self, epoch: int, index: int) -> NDArray[np.intp]:
        rows, permutation = self._rows_of[index], self.plan.permutation(epoch, self._parts[index])
        if permutation is None:
            return indices(rows)
        return permutation * rows.step + rows.start if isinstance(rows, range) else rows[permutation]

    def _batch(self, rows: NDArray[np.intp], total: int) -> Batch:
        arrays = tuple(column.take(rows) for column in self._columns)
        return Batch(arrays[: self._features], arrays[self._features :], len(rows), total)


class _Filling:
    """A spool while it is being filled; closed again if that fails."""

    def __init__(self, schema: pa.Schema, request: FeedRequest, expected: int | None = None) -> None:
        self._specs = columns.describe(schema, (*request.features, *request.labels))
        memory = request.memory - request.memory // 8  # an eighth for the batch on its way
        self.spool = Spool(memory, self._specs, expected=expected)
        self._sink = request.sink

    def append(self, batch: pa.RecordBatch) -> range:
        """Converts and keeps the rows; returns where they lie."""
        return self.extend({spec.name: [batch.column(spec.name)] for spec in self._specs})

    def extend(self, pieces: Mapping[str, Iterable[pa.Array]]) -> range:
        """The same, of columns in pieces."""
        before = self.spool.rows
        self.spool.extend([self._converted(spec, pieces[spec.name]) for spec in self._specs])
        return range(before, self.spool.rows)

    def _converted(self, spec: columns.ArraySpec, pieces: Iterable[pa.Array]) -> Iterator[Stored]:
        for piece in pieces:
            yield stored(piece, spec)
            self._sink.put(Tick())

    def __enter__(self) -> _Filling:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.spool.close()


def _sizes(rows_of: Mapping[int, Rows], request: FeedRequest) -> tuple[int, ...]:
    """Rows of every part, from all ranks."""
    gathered = request.gather([[part, len(rows)] for part, rows in rows_of.items()])
    sizes = {part: rows for pairs in gathered for part, rows in pairs}
    if not any(sizes.values()):
        raise DataError(NO_ROWS.format(request.purpose))
    return tuple(sizes.get(part, 0) for part in range(max(sizes) + 1))
