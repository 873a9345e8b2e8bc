"""Relations between two texts, a question and an answer say.

Owns: the value, reading files of them.
Leaves: connections (the engine), what is made of relations (zoo.feature.text).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zoo.engine import session, storage
from zoo.engine.errors import DataError, UsageError

_FIELDS = ("id1", "id2", "label")


@dataclass(frozen=True)
class Relation:
    """How two texts are related.

    Attributes:
        id1: of the first.
        id2: of the second.
        label: 1 where they belong together, 0 where not.
    """

    id1: str
    id2: str
    label: int

    def to_tuple(self) -> tuple[str, str, int]:
        """(id1, id2, label)."""
        return self.id1, self.id2, self.label


class Relations:
    """Readers of relations."""

    @staticmethod
    def read(path: str, sc: Any = None, min_partitions: int = 1) -> Any:
        """Reads lines ``id1,id2,label``, without a header.

        Args:
            path: a text file.
            sc: a SparkContext: lines are read there. None: here.
            min_partitions: on Spark, at least so many.

        Returns:
            a list of `Relation`, or an RDD of them.

        Raises:
            StorageFailed: the file cannot be read.
            DataError: a line of another kind (on Spark, when it is read).
        """
        if sc is not None:
            return sc.textFile(path, min_partitions).filter(_filled).map(relation_of)
        lines = storage.read_bytes(path).decode("utf-8-sig").splitlines()
        return [relation_of(line) for line in lines if _filled(line)]

    @staticmethod
    def read_parquet(path: str, sc: Any = None) -> Any:
        """Reads a Parquet file with columns id1, id2 and label, on Spark.

        Args:
            path: of the file.
            sc: has no effect: the current Spark reads.

        Returns:
            an RDD of `Relation`.

        Raises:
            NoContext: there is no Spark.
            UsageError: columns are missing.
        """
        frame = session.spark().read.parquet(path)
        missing = [name for name in _FIELDS if name not in frame.columns]
        if missing:
            raise UsageError(f"{storage.masked(path)} has no column {', '.join(missing)}. Columns: {frame.columns}")
        return frame.select(*_FIELDS).rdd.map(_of_row)


def relation_of(line: str) -> Relation:
    """The relation of a line.

    Raises:
        DataError: it is of another kind.
    """
    fields = [field.strip() for field in line.split(",")]
    try:
        id1, id2, label = fields
        return Relation(id1, id2, int(label))
    except ValueError:
        raise DataError(
            f"a relation is a line 'id1,id2,label' with a whole number as label. Received: {line!r}"
        ) from None


def _filled(line: str) -> bool:
    return bool(line.strip())


def _of_row(row: Any) -> Relation:
    return Relation(str(row[0]), str(row[1]), int(row[2]))
