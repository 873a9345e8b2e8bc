"""A cluster under test, with what a test must know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """A cluster that is the current one.

    Attributes:
        name: which.
        ranks: how many a test uses there.
        spark: its session; None where there is none.
    """

    name: str
    ranks: int
    spark: Any = None

    def keep(self, table: Any) -> Any:
        """Rows as the users of this place hold them."""
        return table if self.spark is None else self.spark.createDataFrame(table).repartition(3)
