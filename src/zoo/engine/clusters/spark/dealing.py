"""One stream of rows, several data sets in it.

A Spark task has one input, which flows past once. Training and validation rows come mixed in it, marked by a column.

Owns: taking the stream apart again on the rank.
Leaves: how it was put together (cluster), what is done with the rows (feed).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zoo.engine.contracts import Feed, FeedRequest
from zoo.engine.data.feed import RowFeed
from zoo.engine.data.objects import PLACE

SET = "__zoo_set"
_IN_MEMORY = 64 << 20

Placed = tuple[NDArray[np.int64], pa.RecordBatch]


class Dealer:
    """Takes a task's input apart by data set; rows that nobody has asked for yet wait in a temporary file."""

    def __init__(self, batches: Iterator[pa.RecordBatch], sets: int) -> None:
        self._batches = batches
        self._waiting = [_Waiting() for _ in range(sets)]

    def rows_of(self, wanted: int) -> Iterator[pa.RecordBatch]:
        """The rows of one set: those that waited, then those still to come."""
        yield from self._waiting[wanted].batches()
        for batch in self._batches:
            if len(self._waiting) == 1:
                yield batch
                continue
            marks = batch.column(SET)
            for number, waiting in enumerate(self._waiting):
                mine = batch.filter(pc.equal(marks, number))
                if mine.num_rows and number != wanted:
                    waiting.put(mine)
                elif mine.num_rows:
                    yield mine

    def close(self) -> None:
        """Gives back the temporary files."""
        for waiting in self._waiting:
            waiting.close()


class DealtShards:
    """One data set of a task's input, on its rank."""

    def __init__(self, dealer: Dealer, number: int, schema: pa.Schema) -> None:
        self.schema = schema
        self._dealer, self._number = dealer, number

    def share(self, index: int, world: int) -> DealtShards:
        """Itself: it is a rank's own already."""
        return self

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All rows that came to this rank, mixed: for reading once, in any order."""
        for _, batch in self._placed():
            yield 0, batch

    def peek(self) -> pa.RecordBatch | None:
        """None: a look would take the rows away."""
        return None

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan."""
        return RowFeed.fill_placed(self._placed(), self.schema, request)

    def _placed(self) -> Iterator[Placed]:
        for batch in self._dealer.rows_of(self._number):
            arrays = [batch.column(number) for number in range(len(self.schema))]
            yield batch.column(PLACE).to_numpy(), pa.RecordBatch.from_arrays(arrays, names=self.schema.names)


class _Waiting:
    """Batches put aside: in memory while they are few, else in an unnamed file."""

    def __init__(self) -> None:
        self._file: Any = None
        self._writer: pa.RecordBatchStreamWriter | None = None

    def put(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  closed by close()
            self._writer = pa.ipc.new_stream(self._file, batch.schema)
        self._writer.write_batch(batch)

    def batches(self) -> Iterator[pa.RecordBatch]:
        if self._writer is None:
            return
        self._writer.close()
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._writer = None
