"""A distributed list of Python objects: what XShards holds, and what the operations on tables work with.

Owns: what is computed when, what is kept in memory and what is given free, how many objects lie where.
Leaves: the words (shard, table_words), objects as rows (zoo.engine.data.objects), where rows are kept (clusters).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from zoo.engine.contracts import Cluster, Kept, Shards
from zoo.engine.data import moves
from zoo.engine.data.held import gather
from zoo.engine.data.objects import OBJECTS, Item, ItemMapper, OnObjects, collected, pack, unpack
from zoo.engine.errors import UsageError
from zoo.orca.common import OrcaContext
from zoo.orca.data.tables import Outline


class Collection:
    """Objects in the partitions of a cluster. Operations make new ones, lazily; `settled` decides when to compute.

    Attributes:
        cluster: where the objects are.
        rows: the objects, one pickled in each row (`zoo.engine.data.objects.OBJECTS`).
        partitions: how many there are, empty ones included.
        lazy: whether nothing is computed before it is asked for, also of what is made of this one.
        pinned: whether the user wants it in memory, whatever is made of it.
        origins: what this one is computed from; they must not be given free before it.
    """

    def __init__(
        self,
        cluster: Cluster,
        rows: Shards,
        partitions: int,
        counts: Sequence[int] | None = None,
        *,
        lazy: bool = False,
    ) -> None:
        """Wraps rows of the engine.

        Args:
            cluster: where they are.
            rows: one pickled object each.
            partitions: how many there are.
            counts: objects in each partition; None to count them when that is needed.
            lazy: see the class.
        """
        self.cluster = cluster
        self.rows: Kept = cluster.store.hold(rows)
        self.partitions = partitions
        self.lazy = lazy
        self.pinned = False
        self.origins: tuple[Collection, ...] = ()
        self._counts = None if counts is None else tuple(counts)
        self._end: Any = None  # releases the rows when nobody has this collection any more

    @classmethod
    def placed(
        cls, cluster: Cluster, items: Iterable[Item], partitions: int, fn: ItemMapper | None = None
    ) -> Collection:
        """Objects of this process, or what a function makes of them where they will lie.

        Args:
            cluster: where they are to be.
            items: ordered by part.
            partitions: how many there are.
            fn: from these objects to as many others.
        """
        parts: list[int] = []

        def packed() -> Iterable[tuple[int, Any]]:
            for item in items:
                parts.append(item.part)
                yield item.part, pack(item)

        rows = cluster.store.regroup([gather(packed(), OBJECTS, partitions)], partitions)
        return cls(cluster, rows if fn is None else _mapped(cluster, fn, rows), partitions, _counted(parts, partitions))

    # --- lazily ------------------------------------------------------------------------------------------------------

    def mapped(self, fn: ItemMapper, counts: Sequence[int] | None = None) -> Collection:
        """``fn`` over the objects: another for each of them, in its place, or so many in each partition (`counts`)."""
        known = self._counts if counts is None else counts
        rows = _mapped(self.cluster, fn, self.rows)
        return Collection(self.cluster, rows, self.partitions, known, lazy=self.lazy)

    def same(self, rows: Shards) -> Collection:
        """Of as many objects in each partition as this one."""
        return Collection(self.cluster, rows, self.partitions, self._counts, lazy=self.lazy)

    def lazily(self) -> Collection:
        """The same objects; what is made of them is computed when it is asked for."""
        return Collection(self.cluster, self.rows, self.partitions, self._counts, lazy=True).following(self)

    def regrouped(
        self, scatters: Sequence[tuple[Collection, ItemMapper]], join: ItemMapper, counts: Sequence[int]
    ) -> Collection:
        """Objects that have moved between partitions, of this collection and perhaps others.

        Args:
            scatters: whose objects, and what makes of them the pieces that move.
            join: makes the objects of the pieces that have arrived.
            counts: objects in each of the new partitions.
        """
        pieces = [_mapped(one.cluster, fn, one.rows) for one, fn in scatters]
        moved = self.cluster.store.regroup(pieces, len(counts))
        return Collection(self.cluster, _mapped(self.cluster, join, moved), len(counts), counts, lazy=self.lazy)

    def following(self, *origins: Collection) -> Collection:
        """Itself; is computed each time it is needed, from `origins`."""
        self.origins += origins
        return self

    # --- computed ----------------------------------------------------------------------------------------------------

    @property
    def eager(self) -> bool:
        """Whether what is made of this one is computed at once."""
        return OrcaContext._eager_mode and not self.lazy

    def settled(self, *parents: Collection) -> Collection:
        """Itself; in eager mode computed and kept, and its parents given free, unless they are pinned."""
        if not self.eager:
            return self.following(*parents)
        self.keep()
        self.rows.make()
        self.origins = ()
        for parent in parents:
            if not parent.pinned:
                parent.rows.release()
        return self

    def keep(self) -> None:
        """Keeps the rows, once computed, as long as somebody has this collection."""
        self.rows.keep()
        if self._end is None:
            self._end = weakref.finalize(self, self.rows.release)
            self._end.atexit = False

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Objects in each partition; of an RDD they must be counted."""
        if self._counts is None:
            self._counts = _counted([item.part for item in self._items(moves.Facts(_nothing))], self.partitions)
        return self._counts

    @property
    def counted(self) -> int | None:
        """How many objects there are, if that is known without counting."""
        return None if self._counts is None else sum(self._counts)

    def places(self) -> list[tuple[int, int]]:
        """(partition, place in it) of every object."""
        return [(part, place) for part, count in enumerate(self.counts) for place in range(count)]

    @cached_property
    def outline(self) -> Outline:
        """What the first object is.

        Raises:
            UsageError: there is none.
        """
        first = self.peek(moves.Facts(Outline.of))
        if first is None:
            raise UsageError("this XShards has no shards.")
        outline: Outline = first.value
        return outline

    # --- in this process ---------------------------------------------------------------------------------------------

    def values(self, fn: ItemMapper | None = None) -> list[Any]:
        """All objects in order, or what `fn` makes of them."""
        return [item.value for item in self._items(fn)]

    def facts(self, fn: Callable[[Any], Any]) -> list[Any]:
        """Something small about every object, in order."""
        return self.values(moves.Facts(fn))

    def peek(self, fn: ItemMapper) -> Item | None:
        """The first that `fn` makes of the objects; the others are not computed for it."""
        first = _mapped(self.cluster, fn, self.rows).peek()
        return None if first is None else next(unpack([first]))

    def _items(self, fn: ItemMapper | None) -> list[Item]:
        return collected(self.rows if fn is None else _mapped(self.cluster, fn, self.rows))


def _mapped(cluster: Cluster, fn: ItemMapper, rows: Shards) -> Shards:
    return cluster.map(OnObjects(fn), rows, OBJECTS)


def _counted(parts: Sequence[int], partitions: int) -> tuple[int, ...]:
    """How many of `parts` are each partition's."""
    return tuple(np.bincount(np.array(parts, np.int64), minlength=partitions).tolist())


def _nothing(shard: Any) -> None:
    return None
