"""One rank's batches of a torch DataLoader.

Owns: which rows or batches of a loader a rank takes, and the order of an epoch.
Leaves: reading them (torch's DataLoader, with the user's workers and collate function), what a batch holds (batches).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from zoo.engine.contracts import Batch, Collective, Extent, FeedRequest
from zoo.engine.data.draws import Draws, number
from zoo.engine.data.marks import in_turns
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.torch.batches import divide
from zoo.engine.frameworks.torch.draws import GENERATORS
from zoo.engine.frameworks.torch.tensors import rows_of
from zoo.engine.jobs import Columns
from zoo.engine.values import part_of

_END = object()


class MappedFeed:
    """A map-style data set: the same rows make the same step on any number of ranks.

    Args:
        loader: over the whole data set, alike on every rank.
        request: who asks.
        names: as in `divide`.
        each: whether the loader's batches are one rank's part of a step, or the whole step.
    """

    def __init__(self, loader: DataLoader[Any], request: FeedRequest, names: Columns | None, *, each: bool) -> None:
        self._loader, self._request, self._names, self._each = loader, request, names, each
        self._rows_a_step = request.batch_size
        self._indices = _Indices()
        self._reader = reader_of(loader, self._indices, loader.num_workers, loader.persistent_workers)

    @property
    def extent(self) -> Extent | None:
        """Rows and steps of an epoch; None where the loader draws its batches in its own way."""
        if not _is_plain(self._loader):
            return None
        rows, step = len(self._loader.sampler), self._rows_a_step  # type: ignore[arg-type]
        whole, rest = divmod(rows, step)
        return Extent(rows - rest, whole) if self._loader.drop_last else Extent(rows, whole + (rest > 0))

    def settle(self, group: Collective) -> None:
        """Sees whether all ranks have the same data, and how many rows make a step.

        Raises:
            UsageError: ranks were given different data sets.
            DataError: there are no rows.
        """
        loader = self._loader
        sizes = group.gather([len(loader.dataset), loader.batch_size or 0])  # type: ignore[arg-type]
        rows = sorted({size[0] for size in sizes})
        if len(rows) > 1:
            raise UsageError(
                f"the data creator made data sets of different lengths on different ranks: {rows}. Return all data on "
                "every rank (ranks take their rows themselves), or an IterableDataset with splits_itself = True."
            )
        if rows == [0]:
            raise DataError("the loader's data set has no rows.")
        if self._each:
            self._rows_a_step = sum(size[1] for size in sizes)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on; the rows before it are not read."""
        self._indices.steps = lambda: islice(self._steps(epoch), start, None)
        read = iter(self._reader)
        for mine, total in self._indices.steps():
            if mine:
                yield Batch(*divide(next(read), self._names), len(mine), total)
            else:
                yield Batch((), (), 0, total)

    def close(self) -> None:
        """Ends the loader's workers."""
        self._indices.steps = tuple
        del self._reader

    def _steps(self, epoch: int) -> Iterator[tuple[list[int], int]]:
        """(indices of this rank's rows, rows over all ranks) of each step."""
        rank, loader = self._request.rank, self._loader
        seed = number(self._request.seed, epoch)
        if not _is_plain(loader):
            batches = [list(batch) for batch in _drawn(loader.batch_sampler, seed)]  # type: ignore[arg-type]
            groups = [batches[i : i + rank.world] for i in range(0, len(batches), rank.world)]
            if self._each:
                yield from ((dict(enumerate(g)).get(rank.index, []), sum(map(len, g))) for g in groups)
            else:
                yield from ((list(part_of(batch, rank.index, rank.world)), len(batch)) for batch in batches)
            return
        order = _order(loader, seed, self._request.shuffle)
        for chunk in _chunks(order, self._rows_a_step, bool(loader.drop_last)):
            mine = part_of(chunk, rank.index, rank.world)
            yield mine.tolist() if isinstance(mine, torch.Tensor) else list(mine), len(chunk)


class StreamFeed:
    """Batches that can only be read one after the other; those before the step of a resumed run are read and let go.

    Args:
        loader: gives the batches of an epoch each time that it is iterated.
        request: who asks.
        names: as in `divide`.
        mode: ``"share"``: ranks share the rows of each batch; ``"turns"``: they take batches in turns; ``"own"``: all
            batches are this rank's own. In the last two ways only the ranks together know how large a step is.
    """

    extent: Extent | None = None

    def __init__(self, loader: Iterable[Any], request: FeedRequest, names: Columns | None, mode: str) -> None:
        self._loader, self._rank, self._seed, self._names, self._mode = loader, request.rank, request.seed, names, mode

    def settle(self, group: Collective) -> None:
        """Nothing: which batches are a rank's own follows from its number."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on; in ``"turns"`` and ``"own"`` empty ones follow without end."""
        parts = (getattr(self._loader, "sampler", None), getattr(self._loader, "dataset", None), self._loader)
        for part in filter(lambda part: hasattr(part, "set_epoch"), parts):
            part.set_epoch(epoch)  # type: ignore[union-attr]
        index, world = self._rank.index, self._rank.world
        batches = alike(self._loader, number(self._seed, epoch))
        if self._mode == "share":
            for batch in islice(batches, start, None):
                yield self._part(*divide(batch, self._names))
            return
        if self._mode == "turns" and world > 1:
            yield from in_turns(islice(batches, start * world, None), index, world, self._whole)
        yield from map(self._whole, islice(batches, start, None))
        while True:
            yield Batch((), (), 0)

    def close(self) -> None:
        """Nothing is held."""

    def _whole(self, batch: Any) -> Batch:
        features, labels = divide(batch, self._names)
        return Batch(features, labels, rows_of(features))

    def _part(self, features: tuple[Any, ...], labels: tuple[Any, ...]) -> Batch:
        """This rank's rows of a batch that every rank has read."""
        rows = rows_of(features)
        if self._rank.world == 1:
            return Batch(features, labels, rows, rows)
        mine = part_of(range(rows), self._rank.index, self._rank.world)
        cut = slice(mine.start, mine.stop)
        return Batch(_cut(features, cut), _cut(labels, cut), len(mine), rows)


def alike(loader: Iterable[Any], seed: int) -> Iterator[Any]:
    """The batches of a loader that draws from a line of random numbers of its own: alike on every rank."""
    line = Draws(seed, GENERATORS)
    with line.used():
        batches = iter(loader)
    while True:
        with line.used():
            batch = next(batches, _END)
        if batch is _END:
            return
        yield batch


def is_mapped(loader: Any) -> bool:
    """Whether its rows can be read by index, with torch's own way of reading."""
    return (
        isinstance(loader, DataLoader)
        and type(loader).__iter__ is DataLoader.__iter__
        and not isinstance(loader.dataset, IterableDataset)
        and loader.batch_sampler is not None
        and not isinstance(loader.sampler, DistributedSampler)
    )


def _is_plain(loader: DataLoader[Any]) -> bool:
    """Whether rows are cut into batches one after the other."""
    return loader.batch_size is not None and type(loader.batch_sampler) is BatchSampler


def _order(loader: DataLoader[Any], seed: int, shuffle: bool) -> Any:
    """The indices of an epoch: a range, a tensor or a list."""
    sampler, rows = loader.sampler, len(loader.dataset)  # type: ignore[arg-type]
    permuting = type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == rows
    if type(sampler) in (SequentialSampler, DistributedSampler) or (permuting and not shuffle):
        return range(rows)
    if permuting:
        return torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return list(_drawn(sampler, seed))


def _drawn(sampler: Iterable[Any], seed: int) -> list[Any]:
    """What a sampler draws with the random numbers of `seed`, the same on every rank."""
    inner: Any = getattr(sampler, "sampler", sampler)
    own = getattr(inner, "generator", None)
    with Draws(seed, GENERATORS).used():
        if own is None:
            return list(sampler)
        inner.generator = torch.Generator().manual_seed(seed)
        try:
            return list(sampler)
        finally:
            inner.generator = own


def unshuffled(loader: DataLoader[Any]) -> Iterator[list[int]]:
    """The indices of each batch, in the order of the data set where the loader draws no sample."""
    if not _is_plain(loader):
        return iter([list(batch) for batch in _drawn(loader.batch_sampler, 0)])  # type: ignore[arg-type]
    assert loader.batch_size is not None
    return map(list, _chunks(_order(loader, 0, shuffle=False), loader.batch_size, bool(loader.drop_last)))


def _chunks(order: Any, size: int, drop_last: bool) -> Iterator[Any]:
    for start in range(0, len(order) - size + 1 if drop_last else len(order), size):
        yield order[start : start + size]


def _cut(values: Any, rows: slice) -> Any:
    if isinstance(values, Mapping):
        return {key: _cut(value, rows) for key, value in values.items()}
    if isinstance(values, tuple):
        return tuple(_cut(value, rows) for value in values)
    if isinstance(values, list) and values and isinstance(values[0], torch.Tensor | np.ndarray):
        return [_cut(value, rows) for value in values]
    return values[rows]


class _Indices:
    """The batch sampler of a reader: this rank's rows of the steps that are set, the steps without any left out."""

    steps: Callable[[], Iterable[tuple[list[int], int]]] = tuple

    def __iter__(self) -> Iterator[list[int]]:
        return (mine for mine, _ in self.steps() if mine)


def reader_of(
    loader: DataLoader[Any], chunks: Sequence[list[int]] | _Indices, workers: int, persistent: bool = False
) -> DataLoader[Any]:
    """Reads rows by index as `loader` does."""
    apart = {}
    if workers:
        apart = {
            "prefetch_factor": loader.prefetch_factor,
            "multiprocessing_context": loader.multiprocessing_context,
            "persistent_workers": persistent,
            "timeout": loader.timeout,
            "worker_init_fn": loader.worker_init_fn,
        }
    return DataLoader(
        loader.dataset,
        batch_sampler=chunks,
        num_workers=workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory and torch.cuda.is_available(),
        **apart,
    )
