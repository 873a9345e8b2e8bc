"""Records of Parquet files, read row group by row group: in the files' order, or in the order of the plan.

========  ==========================================================================================================
files     each part (row group) once, a few megabytes at a time. Nothing is kept.
plan      the rank's own parts are read once, as they are (images stay encoded), into memory and beyond it to disk;
          then each epoch is the engine's plan: the same rows in the same step for any number of ranks, and any step
          of any epoch is found at once.
========  ==========================================================================================================

Images are decoded by threads ahead of the reader, in order, within a number of bytes.

Owns: blocks of rows -> records, images that cannot be decoded.
Leaves: columns (fields), files (files), the plan (plan, feed), threads (ahead), tensors (frameworks).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np

from zoo.engine.contracts import Collective, FeedRequest
from zoo.engine.data import columns, images
from zoo.engine.data.ahead import Ahead, in_order
from zoo.engine.data.feed import RowFeed
from zoo.engine.data.fields import RecordField, kept_batch, kept_schema, path_of
from zoo.engine.data.shards import owned
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.engine.events.events import Tick
from zoo.engine.values import Rank

if TYPE_CHECKING:
    from zoo.engine.data.files import FileShards  # pyarrow's datasets import pandas

_LOG = logging.getLogger("zoo.data")

PIECE_BYTES = 1 << 17
"""About how many encoded bytes a thread decodes at a time: much more than handing them over costs."""
_DECODED = 12.0  # bytes of pixels for each byte of a JPEG, until the first are decoded
_NAMED = 3  # broken images that are named where they are left out

Record: TypeAlias = "dict[str, Any]"


class Block(NamedTuple):
    """Some rows, as they are kept.

    Attributes:
        step: that they belong to; in the files' order simply counted.
        arrays: by kept column, rows first.
        rows: how many.
    """

    step: int
    arrays: Mapping[str, np.ndarray]
    rows: int

    def row(self, at: int) -> Block:
        """One of its rows."""
        return Block(self.step, {name: array[at : at + 1] for name, array in self.arrays.items()}, 1)


@dataclass(frozen=True)
class RecordFiles:
    """Records and where they are; picklable.

    Attributes:
        files: with the columns of `fields` only.
        fields: the columns.
    """

    files: FileShards
    fields: tuple[RecordField, ...]

    def blocks(self, parts: Sequence[int]) -> Iterator[Block]:
        """All rows of these parts, in order."""
        specs = self._specs()
        for number, (_, batch) in enumerate(self.files.read(parts)):
            kept = kept_batch(self.fields, batch)
            arrays = {spec.name: columns.to_array(kept.column(spec.name), spec) for spec in specs}
            yield Block(number, arrays, batch.num_rows)

    def planned(self, request: PlanRequest) -> PlannedRecords:
        """Reads a rank's own parts, for the order of the plan."""
        schema = kept_schema(self.fields, self.files.schema)
        asked = FeedRequest(
            rank=Rank(request.rank, request.world), features=tuple(schema.names), labels=(), sink=_Nobody(),
            batch_size=request.batch_size, seed=request.seed, shuffle=request.shuffle, memory=request.memory,
        )  # fmt: skip
        sizes = self.files.sizes
        mine = owned(sizes, request.rank, request.world)
        rows = ((part, kept_batch(self.fields, batch)) for part, batch in self.files.read(mine))
        feed = RowFeed.fill(rows, schema, asked, sum(sizes[part] for part in mine))
        try:
            feed.settle(cast(Collective, _Footers(sizes)))
        except BaseException:
            feed.close()
            raise
        return PlannedRecords(feed, tuple(schema.names))

    def _specs(self) -> tuple[columns.ArraySpec, ...]:
        schema = kept_schema(self.fields, self.files.schema)
        return columns.describe(schema, schema.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """Which steps of the plan are asked for.

    Attributes:
        rank: who asks.
        world: how many ranks share each step.
        batch_size: rows of a step over ALL ranks.
        seed: of the order.
        shuffle: whether rows are permuted in each epoch.
        memory: bytes of rows that are kept in memory before they go to disk.
    """

    rank: int = 0
    world: int = 1
    batch_size: int = 1
    seed: int = 0
    shuffle: bool = True
    memory: int = 1 << 30


class PlannedRecords:
    """A rank's rows in the order of the plan, again and again."""

    def __init__(self, feed: RowFeed, names: Sequence[str]) -> None:
        self._feed, self._names = feed, names

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self._feed.extent.steps

    def blocks(self, epoch: int, start: int = 0) -> Iterator[Block]:
        """This rank's rows of each step from `start` on; one block a step, empty where it has none in a step."""
        for step, batch in enumerate(self._feed.epoch(epoch, start), start):
            yield Block(step, dict(zip(self._names, batch.features, strict=True)), batch.weight)

    def close(self) -> None:
        """Gives back memory and disk."""
        self._feed.close()


@dataclass(frozen=True)
class RecordMaker:
    """Makes records of blocks.

    Attributes:
        fields: the columns.
        decode: whether images become arrays.
        skip: whether images that cannot be decoded are left out with their records, and counted; or raise.
    """

    fields: tuple[RecordField, ...]
    decode: bool = False
    skip: bool = False

    def steps(self, blocks: Iterable[Block], ahead: Ahead) -> Iterator[list[Record]]:
        """The records of each step, made ahead."""
        grown = Ahead(ahead.threads, ahead.limit, _DECODED if self.decode else 1.0)
        lost: list[DataError] = []
        made = in_order(self._pieces(blocks), self, grown, (self._weight, _size))
        try:
            for _, pieces in groupby(made, key=lambda piece: piece.step):
                records: list[Record] = []
                for piece in pieces:
                    records += piece.records
                    lost += piece.lost
                yield records
        finally:
            made.close()
            _report(lost)

    def records(self, block: Block) -> list[Record]:
        """The records of one block."""
        return self(block).records

    def __call__(self, block: Block) -> _Made:
        """The records of one block, and images that were left out."""
        made = _Made(block.step)
        arrays = {name: array if array.flags.writeable else array.copy() for name, array in block.arrays.items()}
        for row in range(block.rows):
            try:
                made.records.append({field.name: self._value(field, arrays, row) for field in self.fields})
            except _BrokenImage as error:
                if not self.skip:
                    raise DataError(str(error)) from None
                made.lost.append(DataError(str(error)))
        return made

    def _value(self, field: RecordField, arrays: Mapping[str, np.ndarray], row: int) -> Any:
        kept = arrays[field.name][row]
        if field.form != "image" or not self.decode:
            return field.value(kept)
        try:
            return images.decode(kept, arrays[path_of(field.name)][row] or f"an image of column '{field.name}'")
        except DataError as error:
            raise _BrokenImage(str(error)) from None

    def _pieces(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Blocks cut so that threads share them."""
        for block in blocks:
            each = max(1, block.rows * PIECE_BYTES // max(self._weight(block), 1))
            if not self.decode or block.rows <= each:
                yield block
                continue
            for start in range(0, block.rows, each):
                cut = {name: array[start : start + each] for name, array in block.arrays.items()}
                yield Block(block.step, cut, min(each, block.rows - start))

    def _weight(self, block: Block) -> int:
        return sum(map(_bytes, block.arrays.values()))


class _BrokenImage(Exception):
    """An image that cannot be decoded."""


@dataclass(slots=True)
class _Made:
    step: int
    records: list[Record] = field(default_factory=list)
    lost: list[DataError] = field(default_factory=list)


def _size(made: _Made) -> int:
    return sum(_value_bytes(value) for record in made.records for value in record.values())


def _value_bytes(value: Any) -> int:
    return int(value.nbytes) if hasattr(value, "nbytes") else len(value)


def _bytes(array: np.ndarray) -> int:
    return sum(map(len, array)) if array.dtype.kind == "O" else array.nbytes


def _report(lost: Sequence[DataError]) -> None:
    if lost:
        shown = "\n".join(f"  {error}" for error in lost[:_NAMED])
        more = f"\n  and {len(lost) - _NAMED:,} more" if len(lost) > _NAMED else ""
        _LOG.warning("%d images were left out, with their records:\n%s%s", len(lost), shown, more)


class _Footers:
    """In place of the other ranks: the files' footers tell the size of every part."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes

    def gather(self, value: Any, patience: float = 0.0) -> list[Any]:
        """Every part and its rows, as all ranks together would tell."""
        return [[[part, rows] for part, rows in enumerate(self._sizes)]]


class _Nobody:
    """Listens to nothing."""

    def put(self, event: Tick) -> None:
        """Does nothing."""


def chosen(fields: Sequence[RecordField], names: Any, argument: str = "columns") -> tuple[RecordField, ...]:
    """The fields asked for, in the order of `names`; all of them for None.

    Args:
        fields: those that there are.
        names: a list of names, or None.
        argument: of the call, which held them.

    Raises:
        UsageError: it is no list of names, or there is no such column.
    """
    if names is None:
        return tuple(fields)
    if isinstance(names, str) or not isinstance(names, Iterable) or not (listed := list(names)):
        raise UsageError(f"{argument} must list columns, at least one: ['image']. Received: {names!r}")
    there = {one.name: one for one in fields}
    unknown = [name for name in listed if name not in there]
    if unknown:
        raise ColumnNotFound.among(unknown, list(there), argument)
    return tuple(there[name] for name in listed)
