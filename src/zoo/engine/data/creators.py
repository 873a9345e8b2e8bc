"""Functions that create a loader, as shards. They are called where the rows are needed; what they make is seen there.

Owns: calling them; which room knows the kind of loader that was made.
Leaves: loaders themselves (the frameworks' rooms).
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from zoo.engine.contracts import Batch, Collective, Extent, Feed, FeedRequest, Shards
from zoo.engine.data import draws
from zoo.engine.data.adapters import Adapted
from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns
from zoo.engine.values import part_of

ROWS = 32
"""Rows that a creator is asked for at once where nobody trains."""

_TORCH = "zoo.engine.frameworks.torch.loaders:created"
_LOADERS: Mapping[str, str] = {  # the module that a loader's class or a base of it comes from -> who makes shards of it
    "torch.utils.data": _TORCH,
    "tensorflow.python.data": "zoo.engine.frameworks.tensorflow.datasets:created",
}
_GENERATORS: Mapping[
    str, str
] = {  # a module that has a generator of its own -> all of those that a creator may draw from
    "torch": "zoo.engine.frameworks.torch.draws:GENERATORS",
}
_UNNAMED = Columns(("x0",), ("y0",))


class Maker(Protocol):
    """What the table's names lead to."""

    def __call__(self, loader: Any, columns: Columns, named: bool, rows: int, own: bool, /) -> Shards:
        """Shards over a loader that was made on this rank alone, with `rows` rows a batch.

        With `own` it gives this rank's part of the data alone; else all ranks have made it alike.
        """


class Paced(Protocol):
    """A reader that knows the order of each epoch, and so must be told which one begins."""

    def set_epoch(self, epoch: int) -> None:
        """The epoch that is read next, from its first step."""


@dataclass
class _Said:
    """What readers have said while a creator was called."""

    own: bool = False
    paced: list[Paced] = field(default_factory=list)


_said: ContextVar[_Said | None] = ContextVar("said", default=None)  # while a creator is called


def read_own_part() -> None:
    """Told by a reader that reads one rank's part: what a creator that is being called makes of it is not divided."""
    said = _said.get()
    if said is not None:
        said.own = True


def read_by_epochs(reader: Paced) -> None:
    """Told by a reader whose own order has epochs: if a creator is being called, it is told which one begins."""
    said = _said.get()
    if said is not None:
        said.paced.append(reader)


def adapt_creator(
    data: Callable[..., Any],
    features: tuple[str, ...] | None,
    labels: tuple[str, ...] | None,
    config: Mapping[str, Any] | None = None,
) -> Adapted:
    """A function ``f(config, batch_size)``, ``f(batch_size)`` (with its config bound) or ``f()`` that creates a loader.

    It is called on each rank, with the rows of a step on this rank, and must make the same loader on all of them,
    unless what it reads from takes the rank's part by itself: of several ranks, each finds ``num_shards``
    and ``rank`` in `config`. While it is called, Python, NumPy and torch draw the same random numbers on all of them.
    It is not called here: without names, a batch is taken to have one feature and one target.
    """
    columns = _UNNAMED if features is None else Columns(features, labels or ())
    return Adapted(CreatedShards(data, columns, features is not None, dict(config or {})), columns)


@dataclass(frozen=True)
class CreatedShards:
    """What a creator makes, as `Shards`.

    Attributes:
        create: the function.
        columns: names of a batch's parts.
        named: whether the caller gave the names, and so how many parts are features.
        config: the user's values.
    """

    create: Callable[..., Any]
    columns: Columns
    named: bool
    config: Mapping[str, Any] = field(default_factory=dict)
    own_order: ClassVar[bool] = True

    @property
    def schema(self) -> pa.Schema:
        """Empty: only the ranks see the rows."""
        return pa.schema([])

    def share(self, index: int, world: int) -> CreatedShards:
        """The creator: ranks choose their rows themselves."""
        return self

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of the batch, its rows)."""
        with self._drawing(0, world):
            made, _ = self._made(ROWS)
        return made.open(index, world)

    def peek(self) -> pa.RecordBatch | None:
        """One or two of the first rows; None where there are none."""
        return self._made(ROWS)[0].peek()

    def feed(self, request: FeedRequest) -> Feed:
        """The batches of one rank."""
        rank = request.rank
        rows = max(1, len(part_of(range(request.batch_size), rank.index, rank.world)))
        part = {"num_shards": rank.world, "rank": rank.index} if rank.world > 1 else {}
        with self._drawing(request.seed, rank.world):
            made, paced = self._made(rows, part)
        feed = made.feed(request)
        return PacedFeed(feed, paced) if paced else feed

    def _drawing(self, seed: int, world: int) -> AbstractContextManager[None]:
        """In which the creator is called: of several ranks all draw the same random numbers."""
        if world == 1:
            return nullcontext()
        homes = [home for module, home in _GENERATORS.items() if module in sys.modules]
        return draws.Draws(seed, _named(homes[0]) if homes else draws.GENERATORS).used()

    def _made(self, rows: int, part: Mapping[str, int] | None = None) -> tuple[Shards, Sequence[Paced]]:
        said = _Said()
        before = _said.set(said)
        try:
            loader = _called(self.create, {**(part or {}), **self.config}, rows)
        finally:
            _said.reset(before)
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise UsageError(
                f"a data creator must return a torch DataLoader or a tf.data.Dataset. It returned: {type(loader)}"
            )
        make: Maker = _named(_room_of(type(loader)))
        return make(loader, self.columns, self.named, rows, said.own), said.paced


@dataclass(frozen=True)
class PacedFeed:
    """Batches of readers that are told which epoch begins.

    Attributes:
        feed: the batches.
        readers: of them.
    """

    feed: Feed
    readers: Sequence[Paced]

    @property
    def extent(self) -> Extent | None:
        """Of the feed."""
        return self.feed.extent

    def settle(self, group: Collective) -> None:
        """As the feed does."""
        self.feed.settle(group)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
        for reader in self.readers:
            reader.set_epoch(epoch)
        yield from self.feed.epoch(epoch, start)

    def close(self) -> None:
        """As the feed does."""
        self.feed.close()


def _named(home: str) -> Any:
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(module), name)


def _room_of(kind: type) -> str:
    for base in kind.__mro__:
        for prefix, room in _LOADERS.items():
            if f"{base.__module__}.".startswith(f"{prefix}."):
                return room
    return _TORCH  # any iterable of batches


def _called(create: Callable[..., Any], config: Mapping[str, Any], rows: int) -> Any:
    try:
        parameters = inspect.signature(create).parameters.values()
    except (TypeError, ValueError):
        return create(config, rows)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [p for p in parameters if p.kind in kinds]
    needed = [p for p in places if p.default is p.empty]
    if len(needed) == 1 and len(places) == 1:
        return create(rows)
    return create(config, rows) if places else create()
