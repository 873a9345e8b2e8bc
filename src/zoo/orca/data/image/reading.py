"""Reading image sets: into tf.data, into a torch `DataLoader`, into XShards.

Owns: the words of the calls, which chunks a rank reads.
Leaves: the set's metadata (manifest), columns (schema), reading (zoo.engine.data.records), tensors (frameworks).
"""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from zoo.engine import storage
from zoo.engine.data import images
from zoo.engine.data.creators import read_by_epochs, read_own_part
from zoo.engine.data.fields import RecordField
from zoo.engine.data.records import PlanRequest, RecordFiles, RecordMaker, chosen
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image.manifest import Manifest
from zoo.orca.data.image.places import Place
from zoo.orca.data.image.schema import FeatureType, SchemaField

ORDERS = ("files", "plan")
ON_ERROR = ("raise", "skip")
_CONFIG = ("num_shards", "rank", "num_workers")
_HOLDS = {FeatureType.IMAGE: "image", FeatureType.NDARRAY: "array", FeatureType.SCALAR: "scalar"}


@dataclass(frozen=True)
class ImageSet:
    """A set that is whole.

    Attributes:
        path: as it was given.
        manifest: what ``_orca_metadata`` says.
        records: its files and columns.
        chunks: the row groups of each chunk, by their numbers in `records.files`.
    """

    path: str
    manifest: Manifest
    records: RecordFiles
    chunks: tuple[tuple[int, ...], ...]

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], columns: Sequence[str] | None = None, argument: str = "columns"
    ) -> ImageSet:
        """Reads the metadata and the files' footers.

        Args:
            path: a directory that `write_parquet` or Analytics Zoo has written, local or a URL.
            columns: that are read; None for all.
            argument: of the call, which held them.

        Raises:
            UsageError: there is no set, or one that is not whole; a column that it does not have.
            DataError: its files are not what its metadata say.
        """
        from zoo.engine.data.files import FileShards  # pyarrow's datasets import pandas

        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"path must be that of an image set. Received: {path!r}")
        url = os.fspath(path)
        manifest = Manifest.read(url)
        files = FileShards(url)
        chunks: dict[int, list[int]] = {}
        for part, group in enumerate(files.groups):
            chunks.setdefault(int(dict(group.keys).get("chunk", -1)), []).append(part)
        missing = [name for name in manifest.schema if name not in files.schema.names]
        if missing:
            raise DataError(f"the files of {storage.masked(url)} have no column {', '.join(missing)}. Write it anew.")
        found = [_field(files.schema.field(name), field) for name, field in manifest.schema.items()]
        fields = chosen(found, columns, argument)
        records = RecordFiles(files.with_columns([field.name for field in fields]), fields)
        return cls(Place(url), manifest, records, tuple(tuple(chunks[number]) for number in sorted(chunks)))

    @property
    def rows(self) -> int:
        """Records in it."""
        return self.records.files.rows


@dataclass(frozen=True, slots=True)
class Config:
    """Which part of a set is read here.

    Attributes:
        num_shards: how many read it.
        rank: which of them this is.
        num_workers: processes of a loader; threads in the order of the plan.
    """

    num_shards: int = 1
    rank: int = 0
    num_workers: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any] | None) -> Config:
        """Of the argument `config`; other keys of a creator's config are let be.

        Raises:
            UsageError: numbers that cannot be; all are listed.
        """
        if config is not None and not isinstance(config, Mapping):
            raise UsageError(f"config must be a dict, as {{'num_shards': 2, 'rank': 0}}. Received: {config!r}")
        said = {name: config[name] for name in _CONFIG if name in config} if config else {}
        odd = [
            f"config[{name!r}] must be a whole number. Received: {value!r}"
            for name, value in said.items()
            if not isinstance(value, int) or isinstance(value, bool) or value < (name == "num_shards")
        ]
        if "num_shards" in said and "rank" not in said and not odd and said["num_shards"] > 1:
            odd.append("config has num_shards and no rank. Give both: {'num_shards': 2, 'rank': 0}.")
        if odd:
            raise UsageError.listing(odd)
        made = cls(**said)
        if made.rank >= made.num_shards:
            raise UsageError(
                f"rank should be smaller than num_shards: ranks are 0 .. {made.num_shards - 1}. Received: {made.rank}"
            )
        return made

    def parts(self, chunks: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """The row groups of this rank's chunks: every `num_shards`-th.

        Raises:
            UsageError: fewer chunks than ranks.
        """
        if self.num_shards > len(chunks):
            raise UsageError(
                f"num_shards should be not larger than partitions. Received: num_shards={self.num_shards}, and the set "
                f"has {len(chunks)} chunks. Write it with a smaller block_size, or read it with order='plan'."
            )
        return tuple(part for chunk in chunks[self.rank :: self.num_shards] for part in chunk)


def read_parquet(format: str, path: str, *args: Any, **kwargs: Any) -> Any:
    """Reads an image set.

    Args:
        format: ``"tf_dataset"`` (see `read_as_tfdataset`) or ``"dataloader"`` (see `read_as_dataloader`).
        path: of the set, local or a URL.
        *args: further arguments of these.
        **kwargs: the same by name.

    Raises:
        UsageError: another format, an unknown argument; `output_types` missing for ``"tf_dataset"``.
    """
    readers: dict[str, Callable[..., Any]] = {"tf_dataset": read_as_tfdataset, "dataloader": read_as_dataloader}
    if format not in readers:
        raise UsageError(f"{format} is not supported, should be 'tf_dataset' or 'dataloader'.")
    if format == "tf_dataset" and not args and "output_types" not in kwargs:
        raise UsageError("output_types is not specified for format tf_dataset: give {column: dtype}.")
    known = list(inspect.signature(readers[format]).parameters)
    if unknown := [name for name in kwargs if name not in known]:
        raise UsageError.unknown_argument(f"read_parquet('{format}', ...)", unknown, known)
    return readers[format](path, *args, **kwargs)


def read_as_tfdataset(
    path: str,
    output_types: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    output_shapes: Mapping[str, Any] | None = None,
    transforms: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    batch_size: int = 1,
    *,
    order: str = "files",
    shuffle: bool = True,
    seed: int = 0,
    start: tuple[int, int] | None = None,
    memory: int = 1 << 30,
) -> Any:
    """A ``tf.data.Dataset`` of dicts, one record each: images are scalar strings of encoded bytes.

    Args:
        path: of the set, local or a URL.
        output_types: the columns to read, and the dtype of each.
        config: ``{"num_shards": n, "rank": r}``: of n ranks this is r, and reads every n-th chunk. In a data creator it
            is the config that the creator is given.
        output_shapes: of some columns, which TensorFlow then knows without looking.
        transforms: record -> record in Python, called for each; `output_types` are then those of what it returns, and
            all columns are read. Functions for TensorFlow's own threads go to ``.map`` of the data set.
        batch_size: above 1, records are batched. In the order of the plan these are rows of a step over all ranks, and
            an element is this rank's share of a step, tensors without rows where it has none in it.
        order: ``"files"``, as they were written; ``"plan"``: as `read_as_dataloader` says.
        shuffle: in the order of the plan, whether rows are permuted.
        seed: of the plan.
        start: (epoch, step) of the plan at which the first iteration begins; later ones go on with the next epoch.
        memory: bytes that are kept in memory for the order of the plan.

    Raises:
        UsageError: no set, or one that is not whole; columns that it does not have; fewer chunks than ranks.
        MissingDependency: TensorFlow is not installed.
    """
    from zoo.engine.frameworks.tensorflow.records import Elements, dataset_of_records

    request = _Request.of(config, order, start, batch_size)
    _refuse_uncallable(transforms=transforms)
    for name, given in (("output_types", output_types), ("output_shapes", output_shapes or {})):
        if not isinstance(given, Mapping):
            raise UsageError(f"{name} must be a dict by column. Received: {given!r}")
    if request.config.num_shards > 1:
        read_own_part()
    found = ImageSet.open(path, None if transforms is not None else list(output_types), "output_types")
    steps = order == "plan" and batch_size > 1
    blocks: Any = partial(found.records.blocks, request.config.parts(found.chunks)) if order == "files" else None
    if order == "plan":
        blocks = _Epochs(found.records, request.plan(shuffle, seed, memory), start or (0, 0))
        read_by_epochs(blocks)
    elements = Elements(dict(output_types), dict(output_shapes or {}), transforms, steps)
    dataset = dataset_of_records(blocks, found.records.fields, elements)
    return dataset.batch(batch_size) if batch_size > 1 and not steps else dataset


def read_as_dataloader(
    path: str,
    config: Mapping[str, Any] | None = None,
    transforms: Callable[[dict[str, Any]], Any] | None = None,
    batch_size: int = 1,
    *,
    decode: bool = False,
    columns: Sequence[str] | None = None,
    order: str = "files",
    shuffle: bool = True,
    seed: int = 0,
    start: tuple[int, int] | None = None,
    memory: int = 1 << 30,
    on_error: str = "raise",
    collate_fn: Callable[[list[Any]], Any] | None = None,
) -> Any:
    """A torch `DataLoader` of dicts.

    With ``order="plan"`` the loader gives the steps of the engine's plan: `batch_size` rows over ALL ranks, the same
    rows in a step for any number of ranks, and another order in each epoch. The rank reads its row groups once, and
    keeps their bytes in memory or, beyond `memory`, on disk. A step in which it has no rows gives a batch without rows.

    Args:
        path: of the set, local or a URL.
        config: ``{"num_shards": n, "rank": r, "num_workers": k}``: of n ranks this is r. In the files' order it reads
            every n-th chunk, by k processes if k > 0; in the order of the plan k threads decode.
        transforms: called with each record, ``{column: value}``.
        batch_size: records of a batch; in the order of the plan, of a step over all ranks.
        decode: images as RGB arrays, uint8 (height, width, 3), in place of encoded bytes.
        columns: that are read; None for all.
        order: ``"files"``, as they were written, or ``"plan"``.
        shuffle: in the order of the plan, whether rows are permuted.
        seed: of the plan.
        start: (epoch, step) of the plan at which the first iteration begins; later ones go on with the next epoch.
        memory: bytes that are kept in memory for the order of the plan.
        on_error: an image that cannot be decoded is an error (``"raise"``), or is left out and counted (``"skip"``).
        collate_fn: records -> batch; None for torch's own, which wants equal shapes.

    Raises:
        UsageError: no set, or one that is not whole; columns that it does not have; fewer chunks than ranks.
        MissingDependency: PyTorch, or with `decode` OpenCV, is not installed.
    """
    from zoo.engine.frameworks.torch.records import LoaderRequest, loader_of

    request = _Request.of(config, order, start, batch_size)
    _refuse_uncallable(transforms=transforms, collate_fn=collate_fn)
    if on_error not in ON_ERROR:
        raise UsageError(f"on_error must be 'raise' or 'skip'. Received: {on_error!r}")
    if decode:
        images.decoder()  # told here if it is missing, and not by a worker
    found, own = ImageSet.open(path, columns), request.config
    planned = request.plan(shuffle, seed, memory) if order == "plan" else None
    return loader_of(
        found.records,
        RecordMaker(found.records.fields, decode, on_error == "skip"),
        LoaderRequest(
            parts=() if planned is not None else own.parts(found.chunks),
            plan=planned,
            start=start or (0, 0),
            transforms=transforms,
            batch_size=batch_size,
            workers=own.num_workers,
            collate=collate_fn,
            alone=own.num_shards == 1,
        ),
    )


@dataclass(frozen=True)
class _Request:
    """What both readers are asked, checked."""

    config: Config
    batch_size: int

    @classmethod
    def of(
        cls, config: Mapping[str, Any] | None, order: str, start: tuple[int, int] | None, batch_size: int
    ) -> _Request:
        problems = []
        if order not in ORDERS:
            problems.append(f"order must be 'files' or 'plan'. Received: {order!r}")
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            problems.append(f"batch_size must be a whole number, at least 1. Received: {batch_size!r}")
        if start is not None and order != "plan":
            problems.append(f"start={start!r} needs order='plan': only the plan knows its steps.")
        elif start is not None and not _is_place(start):
            problems.append(f"start must be (epoch, step), whole numbers from 0. Received: {start!r}")
        if problems:
            raise UsageError.listing(problems)
        return cls(Config.of(config), batch_size)

    def plan(self, shuffle: bool, seed: int, memory: int) -> PlanRequest:
        """Of the plan's steps, those of this rank."""
        return PlanRequest(
            rank=self.config.rank, world=self.config.num_shards, batch_size=self.batch_size, seed=seed,
            shuffle=shuffle, memory=memory,
        )  # fmt: skip


def _refuse_uncallable(**functions: Any) -> None:
    odd = [
        f"{name} must be a function. Received: {given!r}"
        for name, given in functions.items()
        if given is not None and not callable(given)
    ]
    if odd:
        raise UsageError.listing(odd)


def _is_place(start: Any) -> bool:
    return isinstance(start, tuple) and len(start) == 2 and all(isinstance(at, int) and at >= 0 for at in start)


class _Epochs:
    """The blocks of the plan's epochs, one after the other; read when the first is asked for."""

    def __init__(self, records: RecordFiles, plan: PlanRequest, start: tuple[int, int]) -> None:
        self._records, self._plan = records, plan
        self._epoch, self._step = start
        self._planned: Any = None

    def set_epoch(self, epoch: int) -> None:
        """The epoch that is read next, from its first step; where it is the same as before nothing changes."""
        if epoch != self._epoch:
            self._epoch, self._step = epoch, 0

    def __call__(self) -> Any:
        if self._planned is None:
            self._planned = self._records.planned(self._plan)
            weakref.finalize(self, self._planned.close)
        epoch, step = self._epoch, self._step
        self._epoch, self._step = epoch + 1, 0
        return self._planned.blocks(epoch, step)


def _field(arrow: Any, field: SchemaField) -> RecordField:
    return RecordField.of(arrow, _HOLDS[field.feature_type], field.dtype.value)
