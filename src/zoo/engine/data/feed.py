"""One rank's rows, again and again.

Owns: keeping a copy of a one-pass stream, finding a row of the plan in it, cutting batches.
Leaves: which rows a step takes (plan), which rows a rank gets (shards, clusters), column types (columns), where the
copy lies (spool), tensors (frameworks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo.engine.contracts import Batch, Collective, Extent, FeedRequest
from zoo.engine.data import columns
from zoo.engine.data.arrivals import Arrivals, Rows, indices, joined
from zoo.engine.data.balance import evened
from zoo.engine.data.content import aligned, dealt, lanes_of
from zoo.engine.data.plan import Plan
from zoo.engine.data.spool import Spool
from zoo.engine.data.taking import Column
from zoo.engine.data.text import Stored, stored
from zoo.engine.errors import DataError, UsageError
from zoo.engine.events.events import Tick

Settle: TypeAlias = "Callable[[Collective, Mapping[int, Rows]], Mapping[int, Rows]]"
"""(the ranks, the parts held here so far) -> the parts held here from now on, and where their rows lie."""

NO_ROWS = "the {} data has no rows. Check the filters and joins that made it."
CHANGED = (
    "the {} data changed when a lost rank's share was read again: {:,} rows before, {:,} now, or others in its parts. "
    "Keep what a query with random or changing results gives (persist(), or write it) before training on it."
)


class RowFeed:
    """Rows in the order of the plan: the same rows make the same step on any number of ranks."""

    def __init__(self, spool: Spool, settle: Settle, request: FeedRequest) -> None:
        """Holds the rows that this rank has read.

        Args:
            spool: the rank's rows; the feed closes it.
            settle: finds out which parts this rank holds.
            request: as in `fill`.
        """
        self._spool, self._request = spool, request
        self._settle = partial(dealt, lanes_of(spool, request), spool, request) if request.rank.lanes else settle
        self._columns: tuple[Column, ...] = ()
        self._rows_of: Mapping[int, Rows] = {}
        self.plan = Plan((), request.batch_size, request.seed, request.shuffle)

    @property
    def extent(self) -> Extent:
        """Rows and steps of an epoch; known once it is settled."""
        return Extent(self.plan.rows, self.plan.steps)

    def settle(self, group: Collective) -> None:
        """Agrees with the other ranks on the parts that each holds.

        Raises:
            DataError: there is no row on any rank; or, for a group that was formed anew, other rows than before.
            UsageError: the rows of one step alone are more than the memory that was given.
        """
        known = self.plan.sizes
        self._rows_of = dict(sorted(self._settle(group, self._rows_of).items()))
        self.plan = replace(self.plan, sizes=_sizes(self._rows_of, group))
        if not self.plan.rows:
            raise DataError(NO_ROWS.format(self._request.purpose))
        if known and known != self.plan.sizes:
            raise DataError(CHANGED.format(self._request.purpose, sum(known), self.plan.rows))
        self._refuse_large_steps()
        self._close_columns()
        self._columns = self._spool.so_far()

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
            DataError: nulls or ragged lists.
        """
        columns = (
            (part, {name: [column] for name, column in zip(schema.names, batch.columns, strict=True)})
            for part, (batch,) in ((part, _kept(request, batch)) for part, batch in rows)
        )
        return cls.fill_columns(columns, schema, request, None if request.keep else expected)

    @classmethod
    def fill_columns(
        cls, parts: Iterable[tuple[int, Mapping[str, Iterable[pa.Array]]]], schema: pa.Schema, request: FeedRequest,
        expected: int | None = None,
    ) -> RowFeed:  # fmt: skip
        """Reads whole parts to their end, in columns; all their rows, whatever `request.keep` says.

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
        rows_of = {part: joined(found) for part, found in lying.items()}
        return cls(filling.spool, lambda group, held: rows_of, request)

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
                batch, *beside = _kept(request, batch, part, place)
                filling.append(batch)
                parts.append(beside[0])
                places.append(beside[1])
        part = np.concatenate(parts)
        order = np.lexsort((np.concatenate(places), part))
        runs = np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
        rows_of = {int(part[run[0]]): run for run in runs if len(run)}
        return cls(filling.spool, lambda group, held: rows_of, request)

    @classmethod
    def fill_placed(
        cls, rows: Iterable[tuple[NDArray[np.int64], pa.RecordBatch]], schema: pa.Schema, request: FeedRequest
    ) -> RowFeed:
        """Reads whole partitions, as they happen to be on this rank.

        The parts are cut when all ranks have read, and move where one has read much more than the others.

        Args:
            rows: (the place of each row, see `arrivals`; the rows).
            schema: of the rows.
            request: columns, batch size, memory and so on.
        """
        arrivals = Arrivals()
        with _Filling(schema, request) as filling:
            for places, batch in rows:
                batch, places = _kept(request, batch, places)
                arrivals.add(places, filling.append(batch))
        return cls(filling.spool, partial(evened, arrivals.partitions(), filling.spool, request), request)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
        parts = list(self._rows_of)
        reading = [self._reading_order(epoch, part) for part in parts]
        order = np.concatenate(reading) if reading else np.empty(0, np.intp)
        offsets = np.cumsum([0, *map(len, reading)])[:-1]
        for step, (part, k) in enumerate(self.plan.steps_of(parts, start), start):
            rows = order[offsets[part] + k] if len(part) else np.empty(0, np.intp)
            if not self._request.rank.lanes:
                yield self._batch(rows, self.plan.total(step))
                continue
            borders = np.searchsorted(part, np.arange(1, len(parts)))
            for lane, own in zip(parts, np.split(rows, borders), strict=True):
                yield self._lane_batch(own, self.plan.total(step), (self.plan.seed, epoch, step, lane))

    def close(self) -> None:
        """Gives back memory and files."""
        self._close_columns()
        self._spool.close()

    def _refuse_large_steps(self) -> None:
        """Rows of a single step that do not fit."""
        own = sum(map(len, self._rows_of.values()))
        rows = -(-self.plan.total(0) * own // self.plan.rows)
        needed, memory = rows * self._spool.row_bytes, self._request.memory
        if needed > memory:
            raise UsageError(
                f"a step has {rows:,} rows of about {self._spool.row_bytes:,} bytes on this rank, {needed:,} bytes, "
                f"and memory= allows {memory:,}. Give memory= more, a smaller batch_size, or more ranks."
            )

    def _close_columns(self) -> None:
        for column in self._columns:
            column.close()

    def _reading_order(self, epoch: int, part: int) -> NDArray[np.intp]:
        rows, permutation = self._rows_of[part], self.plan.permutation(epoch, part)
        if permutation is None:
            return indices(rows)
        return permutation * rows.step + rows.start if isinstance(rows, range) else rows[permutation]

    def _batch(self, rows: NDArray[np.intp], total: int) -> Batch:
        arrays = tuple(column.take(rows) for column in self._columns)
        features = len(self._request.features)
        return Batch(arrays[:features], arrays[features:], len(rows), total)

    def _lane_batch(self, rows: NDArray[np.intp], total: int, key: tuple[int, ...]) -> Batch:
        batch = self._batch(rows, total)
        features, labels = tuple(map(aligned, batch.features)), tuple(map(aligned, batch.labels))
        return replace(batch, features=features, labels=labels, key=key)


_ON_THE_WAY = 48 << 20  # bytes of rows that are read, decoded and handed over, and of allocators' own room


def _kept_of(memory: int) -> int:
    """How many bytes of rows are kept in memory: the rest is for those on their way."""
    return memory - max(memory // 8, min(_ON_THE_WAY, memory // 2))


class _Filling:
    """A spool while it is being filled; closed again if that fails."""

    def __init__(self, schema: pa.Schema, request: FeedRequest, expected: int | None = None) -> None:
        self._specs = columns.describe(schema, (*request.features, *request.labels))
        self.spool = Spool(_kept_of(request.memory), self._specs, expected=expected, disk=request.disk)
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


def _kept(request: FeedRequest, batch: pa.RecordBatch, *beside: NDArray[np.int64]) -> tuple[Any, ...]:
    """The rows that are to be kept, and what lies beside them."""
    if request.keep is None:
        return batch, *beside
    stays = request.keep(batch)
    return batch.filter(pa.array(stays)), *(array[stays] for array in beside)


def _sizes(rows_of: Mapping[int, Rows], group: Collective) -> tuple[int, ...]:
    """Rows of every part, from all ranks."""
    gathered = group.gather([[part, len(rows)] for part, rows in rows_of.items()])
    sizes = {part: rows for pairs in gathered for part, rows in pairs}
    return tuple(sizes.get(part, 0) for part in range(max(sizes, default=-1) + 1))
