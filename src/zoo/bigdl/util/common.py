"""`zoo.bigdl.util.common`: starting, samples and tensors, as BigDL programs name them.

Owns: `Sample`, `JTensor`, random numbers.
Leaves: contexts (zoo.orca.common), what becomes of samples (zoo.engine.data).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine import session
from zoo.engine.errors import UsageError


class JTensor:
    """An array of numbers, dense or sparse.

    Attributes:
        storage: its numbers, flat; of a sparse one, those that are given.
        shape: an array of whole numbers.
        indices: of a sparse one, (axes, numbers) places from 0; else None.
    """

    def __init__(self, storage: Any, shape: Any, bigdl_type: str = "float", indices: Any = None) -> None:
        self.storage = _as_numbers(storage).reshape(-1)
        self.shape = np.array(shape, dtype=np.int64).reshape(-1)
        self.indices = None if indices is None else np.array(indices, dtype=np.int64)
        wanted = int(np.prod(self.shape)) if indices is None else self.indices.shape[-1]
        if self.storage.size != wanted:
            raise UsageError(f"JTensor: {self.storage.size} numbers for {wanted} places (shape {tuple(self.shape)}).")

    @classmethod
    def from_ndarray(cls, a_ndarray: Any, bigdl_type: str = "float") -> JTensor | None:
        """Of an array; None of None."""
        if a_ndarray is None:
            return None
        array = _as_numbers(a_ndarray)
        return cls(array, array.shape)

    @classmethod
    def sparse(cls, a_ndarray: Any, i_ndarray: Any, shape: Any, bigdl_type: str = "float") -> JTensor:
        """Of numbers and their places, (axes, numbers), from 0."""
        return cls(a_ndarray, shape, indices=i_ndarray)

    def to_ndarray(self) -> np.ndarray:
        """As an array, of a sparse one with zeros."""
        shape = tuple(int(size) for size in self.shape)
        if self.indices is None:
            return self.storage.reshape(shape)
        dense = np.zeros(shape, self.storage.dtype)
        np.add.at(dense, tuple(self.indices.reshape(len(shape), -1)), self.storage)
        return dense

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.to_ndarray()
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        kind = "" if self.indices is None else ", sparse"
        return f"JTensor(shape={tuple(int(size) for size in self.shape)}, dtype={self.storage.dtype}{kind})"


class Sample(tuple[Any, Any]):
    """One row: ``(x, y)`` of arrays, or of lists of arrays; an RDD of them is data for any estimator of zoo."""

    __slots__ = ()

    def __new__(cls, features: Any, labels: Any, bigdl_type: str = "float") -> Sample:
        """Of JTensors, arrays, numbers, or lists of them."""
        return super().__new__(cls, (_arrays(features), _arrays(labels)))

    def __getnewargs__(self) -> tuple[Any, Any]:  # type: ignore[override]
        return self[0], self[1]

    @classmethod
    def from_ndarray(cls, features: Any, labels: Any, bigdl_type: str = "float") -> Sample:
        """Of arrays, lists of arrays, numbers."""
        return cls(features, labels)

    @classmethod
    def from_jtensor(cls, features: Any, labels: Any, bigdl_type: str = "float") -> Sample:
        """Of JTensors, or lists of them."""
        return cls(features, labels)

    @property
    def features(self) -> list[JTensor]:
        """Each input."""
        return _tensors(self[0])

    @property
    def labels(self) -> list[JTensor]:
        """Each target."""
        return _tensors(self[1])

    @property
    def feature(self) -> JTensor:
        """The first input."""
        return self.features[0]

    @property
    def label(self) -> JTensor:
        """The first target."""
        return self.labels[0]

    def __repr__(self) -> str:
        return f"Sample: features: {self.features}, labels: {self.labels}"


class RNG:
    """Random numbers of a seed."""

    def __init__(self, bigdl_type: str = "float") -> None:
        self._generator = np.random.default_rng()

    def set_seed(self, seed: int) -> None:
        """Begins anew; so do the random numbers that layers begin with."""
        import torch

        self._generator = np.random.default_rng(seed)
        torch.manual_seed(seed)

    def uniform(self, a: float, b: float, size: Sequence[int]) -> np.ndarray:
        """Between a and b, as float32."""
        return self._generator.uniform(a, b, tuple(size)).astype(np.float32)

    def normal(self, mean: float, stdv: float, size: Sequence[int]) -> np.ndarray:
        """Of this mean and standard deviation, as float32."""
        return self._generator.normal(mean, stdv, tuple(size)).astype(np.float32)


def init_engine(bigdl_type: str = "float") -> Any:
    """The running context, the program's own SparkSession, or a new context on this machine with all its cores."""
    from zoo.orca import common

    running = session.running() or session.adopt()
    return common.handle(running) if running else common.open_context(None, "*", "2g", 1, {})


def create_spark_conf() -> Any:
    """A SparkConf with zoo's settings."""
    from zoo.engine.clusters.spark import conf, sessions

    request = conf.SparkRequest(mode="spark-submit", options={"conf": None})
    return sessions.pyspark_class("SparkConf")().setAll(list(conf.settings(request).items()))


def get_node_and_core_number(bigdl_type: str = "float") -> tuple[int, int]:
    """(nodes, cores of each) of the current cluster."""
    cluster = session.current()
    return cluster.nodes, max(1, cluster.slots // cluster.nodes)


def redire_spark_logs(bigdl_type: str = "float", log_path: str = "") -> None:
    """Accepted for older programs: Spark's log stays off the console (`OrcaContext.log_output`)."""


def show_bigdl_info_logs(bigdl_type: str = "float") -> None:
    """Shows what zoo logs, from INFO on."""
    logging.getLogger("zoo").setLevel(logging.INFO)


def to_list(a: Any) -> list[Any]:
    """A list as it is; anything else as a list of one."""
    return a if isinstance(a, list) else [a]


def _as_numbers(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise UsageError(f"samples and tensors hold numbers. Received: {value!r}"[:300])
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _arrays(given: Any) -> Any:
    if isinstance(given, list | tuple):
        return [_as_numbers(one) for one in given]
    return _as_numbers(given)


def _tensors(given: Any) -> list[JTensor]:
    arrays = given if isinstance(given, list) else [given]
    return [JTensor(array, array.shape) for array in arrays]


__all__ = [
    "JTensor", "RNG", "Sample", "create_spark_conf", "get_node_and_core_number", "init_engine", "redire_spark_logs",
    "show_bigdl_info_logs", "to_list",
]  # fmt: skip
