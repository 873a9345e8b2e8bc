"""torch DataLoaders as shards, the user's own and those that a creator function makes on each rank.

A step's rows do not depend on the number of ranks where the loader has a map-style data set: an epoch's order is drawn
from (seed, epoch) by the loader's own sampler, cut into steps of `batch_size` rows over all ranks, and each rank reads
its share of every step. No row is read twice, none is left out, and a run resumes at any step.

========================================  ============================================================================
a DataLoader over an IterableDataset      every rank reads all batches, which must be the same on every rank, and trains
                                          on its share of each one's rows
a creator's IterableDataset or iterable   ranks take batches in turns; or each its own, all of them, where the data set
                                          splits itself and says so by an attribute ``splits_itself = True``
a loader with a DistributedSampler        each rank takes what its sampler gives
========================================  ============================================================================

Batches are ``(*features, target)``, ``{"x": ..., "y": ...}`` or features alone; a tuple in the place of the one feature
or of the target stands for several.

Owns: loaders as shards.
Leaves: what a batch holds (batches), a rank's batches (feeds), calling creators (zoo.engine.data.creators).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset

from zoo.engine.contracts import Feed, FeedRequest
from zoo.engine.data.adapters import Adapted
from zoo.engine.data.creators import ROWS
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.batches import divide, record_of
from zoo.engine.frameworks.torch.feeds import MappedFeed, StreamFeed, alike, is_mapped, reader_of, unshuffled
from zoo.engine.jobs import Columns


def adapt_loader(data: Any, features: tuple[str, ...] | None, labels: tuple[str, ...] | None) -> Adapted:
    """A DataLoader or a map-style Dataset. Its first rows are read here, to see what a batch holds.

    Args:
        data: the loader; its `batch_size` counts rows per step over ALL ranks.
        features: names for a batch's first parts; None: all but the last are features.
        labels: names for those behind.
    """
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size=ROWS, shuffle=True)
    if not isinstance(data, DataLoader):
        raise UsageError(f"data must be a torch DataLoader or a map-style Dataset. Received: {type(data)}")
    names = None if features is None else Columns(features, labels or ())
    first = _first(data)
    if first is None:
        return Adapted(LoaderShards(data, names or _UNNAMED, pa.schema([])), names or _UNNAMED)
    pair = divide(first, names)
    columns = names or Columns(
        *(tuple(f"{c}{i}" for i in range(len(part))) for c, part in zip("xy", pair, strict=True))
    )
    return Adapted(LoaderShards(data, columns, record_of(pair, columns).schema, names is not None), columns)


def created(loader: Any, columns: Columns, named: bool, rows: int, own: bool) -> LoaderShards:
    """What a creator function has made on this rank; see `zoo.engine.data.creators`."""
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        loader = DataLoader(loader, batch_size=rows)
    return LoaderShards(loader, columns, pa.schema([]), named, each=True, own=own)


_UNNAMED = Columns(("x0",), ("y0",))


class LoaderShards:
    """A loader as `Shards`.

    Args:
        loader: the user's own, or what a creator has made on this rank.
        columns: names of a batch's parts.
        schema: of its rows; empty where only the ranks see them.
        named: whether the caller gave the names, and so how many parts are features.
        each: whether each rank has made a loader of its own, for its own part of a step.
        own: whether this one gives the rank's part of the data alone.
    """

    own_order = True

    def __init__(
        self,
        loader: Any,
        columns: Columns,
        schema: pa.Schema,
        named: bool = False,
        *,
        each: bool = False,
        own: bool = False,
    ) -> None:
        self._loader, self._each, self._own = loader, each, own
        self._columns = columns
        self._names = columns if named else None
        self.schema = schema

    @property
    def batch_size(self) -> int | None:
        """The loader's own rows per step over all ranks; None where it has none."""
        return getattr(self._loader, "batch_size", None)

    def share(self, index: int, world: int) -> LoaderShards:
        """The whole loader: ranks choose their rows themselves."""
        return self

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of the batch, its rows): every `world`-th batch, unshuffled where the loader draws no sample."""
        loader = self._loader
        if is_mapped(loader):
            chunks = list(islice(unshuffled(loader), index, None, world))
            numbered: Iterable[tuple[int, Any]] = enumerate(reader_of(loader, chunks, loader.num_workers))
            numbered = ((index + number * world, batch) for number, batch in numbered)
        else:
            numbered = islice(enumerate(loader if world == 1 else alike(loader, 0)), index, None, world)
        for number, batch in numbered:
            yield number, record_of(divide(batch, self._names), self._columns)

    def peek(self) -> pa.RecordBatch | None:
        """One or two of the first rows; None where there are none."""
        first = _first(self._loader)
        return None if first is None else record_of(divide(first, self._names), self._columns).slice(0, 2)

    def feed(self, request: FeedRequest) -> Feed:
        """The batches of one rank."""
        loader = self._loader
        if is_mapped(loader):
            return MappedFeed(loader, request, self._names, each=self._each)
        dataset = getattr(loader, "dataset", None)
        given = isinstance(getattr(loader, "sampler", None), DistributedSampler)
        own = self._own or given or getattr(dataset, "splits_itself", False)
        return StreamFeed(loader, request, self._names, "own" if own else "turns" if self._each else "share")


def _first(loader: Any) -> Any:
    """A small first batch, read in this process; None where there is none."""
    if is_mapped(loader):
        chunk = next(unshuffled(loader), None)
        return None if chunk is None else next(iter(reader_of(loader, [chunk[:2]], workers=0)))
    if isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__ and loader.num_workers:
        loader = DataLoader(
            loader.dataset, batch_size=loader.batch_size, collate_fn=loader.collate_fn, drop_last=bool(loader.drop_last)
        )
    return next(iter(loader), None)
