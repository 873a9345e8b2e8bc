"""FeatureSet: the older name for data to train on, whatever they are made of.

Owns: the words of its methods.
Leaves: what the data are (the engine's adapters), steps (preprocessing).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from zoo.engine.data.adapters import Adapted, adapt
from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns
from zoo.feature.preprocessing import as_step
from zoo.feature.samples import as_pair

_ON_DISK = re.compile(r"DISK_\d+|DISK_AND_DRAM")


class FeatureSet:
    """Data to train on; every estimator takes it. Make one with `rdd`, `sample_rdd`, `image_set`, ...

    Attributes:
        data: what it is made of.
    """

    def __init__(self, data: Any, *, readable: Any = None) -> None:
        """Takes data.

        Args:
            data: what it is made of.
            readable: what the engine reads for it; None for `data`.
        """
        self.data = data
        self._readable = data if readable is None else readable

    def __repr__(self) -> str:
        return f"FeatureSet({self.data!r})"

    @classmethod
    def rdd(
        cls, rdd: Any, memory_type: str = "DRAM", sequential_order: bool = False, shuffle: bool = True
    ) -> FeatureSet:
        """Of an RDD of rows: ``(x, y)``, x alone, or samples.

        Args:
            rdd: the rows.
            memory_type: ``"DRAM"``. Where rows are kept is said by ``OrcaContext.train_data_store``.
            sequential_order: False: each epoch has an order of its own.
            shuffle: True: likewise.

        Raises:
            UsageError: no RDD, or another way of keeping or ordering rows.
        """
        _check(memory_type, sequential_order, shuffle)
        if not hasattr(rdd, "mapPartitionsWithIndex"):
            raise UsageError(f"FeatureSet.rdd takes an RDD of Spark's. Received: {type(rdd).__name__}")
        return cls(rdd)

    @classmethod
    def sample_rdd(
        cls, rdd: Any, memory_type: str = "DRAM", sequential_order: bool = False, shuffle: bool = True
    ) -> FeatureSet:
        """Of an RDD of samples; arguments as of `rdd`."""
        return cls.rdd(rdd, memory_type, sequential_order, shuffle)

    @classmethod
    def image_set(
        cls, imageset: Any, memory_type: str = "DRAM", sequential_order: bool = False, shuffle: bool = True
    ) -> FeatureSet:
        """Of an ImageSet; other arguments as of `rdd`."""
        _check(memory_type, sequential_order, shuffle)
        if not hasattr(imageset, "get_image"):
            raise UsageError(f"FeatureSet.image_set takes an ImageSet. Received: {type(imageset).__name__}")
        return cls(imageset)

    @classmethod
    def image_frame(
        cls, image_frame: Any, memory_type: str = "DRAM", sequential_order: bool = False, shuffle: bool = True
    ) -> FeatureSet:
        """As `image_set`: an ImageFrame of BigDL's is an ImageSet here."""
        return cls.image_set(image_frame, memory_type, sequential_order, shuffle)

    @classmethod
    def tf_dataset(cls, func: Callable[[], Any], total_size: int) -> FeatureSet:
        """Of a function that makes a `tf.data.Dataset` of (x, y), which each rank calls.

        Args:
            func: takes nothing.
            total_size: has no effect: the dataset tells how much it holds.

        Raises:
            UsageError: it is no function.
        """
        if not callable(func):
            raise UsageError(f"FeatureSet.tf_dataset takes a function that makes a dataset. Received: {func!r}")
        return cls(func, readable=partial(func))

    @classmethod
    def pytorch_dataloader(cls, dataloader: Any, features: str = "_data[0]", labels: str = "_data[1]") -> FeatureSet:
        """Of a torch `DataLoader`, or a function that makes one, whose batches are (x, y).

        Args:
            dataloader: the loader, or the function.
            features: ``"_data[0]"``: the first item of a batch is x.
            labels: ``"_data[1]"``: the second item is y.

        Raises:
            UsageError: other expressions.
        """
        if (features, labels) != ("_data[0]", "_data[1]"):
            raise UsageError(
                "batches of a loader are (x, y): features='_data[0]', labels='_data[1]'. Received: "
                f"features={features!r}, labels={labels!r}. Have the loader's collate_fn give such pairs."
            )
        return cls(dataloader)

    def transform(self, transformer: Any) -> FeatureSet:
        """The data of what a step makes of each row, or image.

        Raises:
            UsageError: data of a loader, which prepares its own rows.
        """
        step = as_step(transformer)
        if hasattr(self.data, "_preprocessed") or hasattr(self.data, "mapPartitionsWithIndex"):
            return FeatureSet(step(self.data))
        raise UsageError(
            f"transform is for RDDs and ImageSets. Received: data of {type(self.data).__name__}; do it in the loader, "
            "or in the dataset's map()."
        )

    def to_dataset(self) -> FeatureSet:
        """Itself: estimators take a FeatureSet as it is."""
        return self

    def __zoo_shards__(self, columns: Columns) -> Adapted:
        """Its rows, as the engine reads what it is made of."""
        data = self._readable
        if hasattr(data, "mapPartitionsWithIndex"):
            data = data.map(as_pair)
        return adapt(data, columns.features or None, columns.labels or None)


def _check(memory_type: Any, sequential_order: Any, shuffle: Any) -> None:
    problems = []
    if memory_type != "DRAM":
        told = "set OrcaContext.train_data_store = 'DISK_n' before fit" if _on_disk(memory_type) else "use 'DRAM'"
        problems.append(f"memory_type must be 'DRAM'; {told}. Received: {memory_type!r}")
    if sequential_order is not False or shuffle is not True:
        problems.append(
            "rows are taken in an order that each epoch draws anew (sequential_order=False, shuffle=True); for the "
            "order of the data give shuffle=False to the estimator's fit. "
            f"Received: sequential_order={sequential_order!r}, shuffle={shuffle!r}"
        )
    if problems:
        raise UsageError.listing(problems)


def _on_disk(memory_type: Any) -> bool:
    return isinstance(memory_type, str) and _ON_DISK.fullmatch(memory_type) is not None
