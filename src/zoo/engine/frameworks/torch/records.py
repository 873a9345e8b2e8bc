"""Records of Parquet files as a torch `DataLoader`.

In the files' order the loader's workers divide the parts (row groups) among them, so that none is read twice. In the
order of the plan a step's rows lie in all parts, so one process holds them, and threads decode.

Owns: that, batches of records.
Leaves: reading and decoding (zoo.engine.data.records).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from zoo.engine.data.ahead import Ahead
from zoo.engine.data.records import PlannedRecords, PlanRequest, RecordFiles, RecordMaker
from zoo.engine.data.shards import owned
from zoo.engine.errors import DataError, UsageError

_MOST_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderRequest:
    """How records become batches.

    Attributes:
        parts: of the files that this rank reads, in the files' order.
        plan: steps of the plan in place of the files' order; None for that.
        start: (epoch, step) at which the plan begins.
        transforms: record -> anything that `collate` takes; None for the record.
        batch_size: records of a batch, in the files' order.
        workers: processes that read; in the order of the plan, threads that decode.
        collate: records -> batch; None for torch's.
        alone: whether this is the only rank, so that no row is left to another.
    """

    parts: tuple[int, ...] = ()
    plan: PlanRequest | None = None
    start: tuple[int, int] = (0, 0)
    transforms: Callable[[dict[str, Any]], Any] | None = None
    batch_size: int = 1
    workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None
    alone: bool = True


def loader_of(files: RecordFiles, maker: RecordMaker, request: LoaderRequest) -> DataLoader[Any]:
    """A loader over the records; batches are dicts of tensors, and lists of bytes and str, as `default_collate` makes.

    Raises:
        DataError: in the order of the plan, which is read here, rows that are not what their column says.
    """
    collate = request.collate or collated
    if request.plan is None:
        dataset: IterableDataset[Any] = FileRecords(files, maker, request)
        return DataLoader(dataset, request.batch_size, num_workers=request.workers, collate_fn=collate)
    steps = PlannedSteps(files.planned(request.plan), maker, request)
    return DataLoader(steps, batch_size=None, collate_fn=Collating(collate, steps.example))


class FileRecords(IterableDataset[Any]):
    """Records in the files' order; each worker of a loader reads row groups of its own.

    Attributes:
        splits_itself: whether this is one rank's part only (see `zoo.engine.frameworks.torch.loaders`).
    """

    def __init__(self, files: RecordFiles, maker: RecordMaker, request: LoaderRequest) -> None:
        self._files, self._maker, self._request = files, maker, request
        self.splits_itself = not request.alone

    def __iter__(self) -> Iterator[Any]:
        parts, worker = self._request.parts, get_worker_info()
        if worker is not None:
            sizes = [self._files.files.sizes[part] for part in parts]
            parts = tuple(parts[at] for at in owned(sizes, worker.id, worker.num_workers))
        ahead = Ahead(_threads(1 if worker is not None else 0))
        steps = self._maker.steps(self._files.blocks(parts), ahead)
        records: Iterator[Any] = chain.from_iterable(steps)
        yield from records if self._request.transforms is None else map(self._request.transforms, records)


class PlannedSteps(IterableDataset[Any]):
    """The records of each step of the plan; the next epoch each time that it is iterated.

    Attributes:
        epoch: that is iterated next.
        splits_itself: as in `FileRecords`.
    """

    def __init__(self, planned: PlannedRecords, maker: RecordMaker, request: LoaderRequest) -> None:
        self._planned, self._maker, self._request = planned, maker, request
        self.epoch, self._step = request.start
        self.splits_itself = not request.alone
        if self._step > planned.steps:
            planned.close()
            raise UsageError(
                f"start={request.start} lies behind the end of its epoch, which has {planned.steps:,} steps of "
                f"{request.plan.batch_size if request.plan else 0} rows. Give (epoch, step) with a smaller step."
            )
        weakref.finalize(self, planned.close)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that is iterated next, from its first step; where it is the same as before nothing changes."""
        if epoch != self.epoch:
            self.epoch, self._step = epoch, 0

    def __len__(self) -> int:
        return self._planned.steps

    def example(self) -> list[Any]:
        """One record of this rank; none where it has none that can be decoded."""
        transforms = self._request.transforms
        maker = replace(self._maker, skip=True)
        blocks = (block.row(at) for block in self._planned.blocks(0) for at in range(block.rows))
        found = next((made for made in map(maker.records, blocks) if made), [])
        return found if transforms is None else [transforms(record) for record in found]

    def __iter__(self) -> Iterator[list[Any]]:
        if (worker := get_worker_info()) is not None and worker.num_workers > 1:
            raise UsageError(
                f"a loader with {worker.num_workers} worker processes would read each step as often. In the order of "
                "the plan give the loader num_workers=0: threads decode."
            )
        epoch, step = self.epoch, self._step
        self.epoch, self._step = epoch + 1, 0
        ahead = Ahead(_threads(self._request.workers))
        transforms = self._request.transforms
        for records in self._maker.steps(self._planned.blocks(epoch, step), ahead):
            yield records if transforms is None else [transforms(record) for record in records]


@dataclass(frozen=True, slots=True)
class Collating:
    """Makes a batch of a step's records; of none, one like the others without rows.

    Attributes:
        collate: records -> batch.
        example: a record, or none.
    """

    collate: Callable[[list[Any]], Any]
    example: Callable[[], list[Any]]

    def __call__(self, records: list[Any]) -> Any:
        """The batch; an empty dict on a rank that has no records at all."""
        if records:
            return self.collate(records)
        some = self.example()
        return _without_rows(self.collate(some), self.collate(some * 2)) if some else {}


def _without_rows(one: Any, two: Any) -> Any:
    """What `collate` would make of no record, from what it makes of one and of two: what has grown are rows."""
    if isinstance(one, Mapping):
        return {name: _without_rows(one[name], two[name]) for name in one}
    if isinstance(one, list | tuple) and len(one) == len(two):
        parts = [_without_rows(*pair) for pair in zip(one, two, strict=True)]
        return parts if isinstance(one, list) else type(one)(*parts) if hasattr(one, "_fields") else tuple(parts)
    grown = hasattr(one, "__len__") and hasattr(one, "__getitem__") and len(one) != len(two)
    return one[:0] if grown else one


def collated(records: list[Any]) -> Any:
    """Torch's `default_collate`, whose error names the column whose arrays differ.

    Raises:
        DataError: arrays of different shapes; records that have not the same keys; one that is None.
    """
    _refuse_unlike(records)
    try:
        return default_collate(records)
    except RuntimeError as error:
        unlike = _unlike(records)
        if unlike is None:
            raise
        name, first, other = unlike
        raise DataError(
            f"'{name}' has the shapes {first} and {other} in one batch. Bring them to one size with "
            "transforms=(record -> record), or make batches of your own with collate_fn=(records -> batch)."
        ) from error


def _refuse_unlike(records: Sequence[Any]) -> None:
    if any(record is None for record in records):
        raise DataError("transforms=... returned None for a record. Return the record, or what goes into the batch.")
    if all(isinstance(record, Mapping) for record in records):
        keys = list(dict.fromkeys(frozenset(record) for record in records))
        if len(keys) > 1:
            told = " and ".join(str(sorted(map(str, one))) for one in keys[:2])
            raise DataError(f"records of one batch have different keys: {told}. Have transforms=... return the same.")


def _unlike(records: Sequence[Any]) -> tuple[Any, Any, Any] | None:
    """A column whose arrays differ in shape, and two of the shapes."""
    if not isinstance(records[0], Mapping):
        return None
    for name in records[0]:
        shapes = list(dict.fromkeys(np.shape(record[name]) for record in records))
        if len(shapes) > 1:
            return name, *shapes[:2]
    return None


def _threads(asked: int) -> int:
    return asked or max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0))))
