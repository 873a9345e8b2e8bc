"""The clusters under test: where the same job must give the same answer.

A new cluster is one line of `CLUSTERS`, and passes the whole suite without a change to any test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.contracts import Cluster
from zoo.engine.data.adapters import Adapted, adapt


@dataclass(frozen=True)
class Place:
    """A cluster and how data come to it.

    Attributes:
        cluster: made of the Spark session where it needs one.
        worlds: the numbers of ranks that it can hold.
        keep: the rows as this place's users hold them: (table, session) -> data.
        needs_spark: whether a session must be running.
    """

    cluster: Callable[[Any], Cluster]
    worlds: tuple[int, ...]
    keep: Callable[[pa.Table, Any], Any] = lambda table, _: table
    needs_spark: bool = False


def _spark_cluster(session: Any) -> Cluster:
    from zoo.engine.clusters.spark.cluster import SparkCluster

    return SparkCluster(session, 1, 2)


CLUSTERS = {
    "inline": Place(lambda _: InlineCluster(), worlds=(1,)),
    "local": Place(lambda _: LocalCluster(cores=4), worlds=(1, 2, 4)),
    "spark": Place(
        _spark_cluster, worlds=(1, 2), keep=lambda rows, spark: spark.createDataFrame(rows).repartition(5),
        needs_spark=True,
    ),
}  # fmt: skip

WARM = ("inline", "spark")
"""Where ranks need no new interpreter: for laws that do not depend on where the ranks are."""


@dataclass(frozen=True)
class Here:
    """A place at work.

    Attributes:
        name: its key in `CLUSTERS`.
        place: its line there.
        session: the SparkSession, where it needs one.
    """

    name: str
    place: Place
    session: Any

    @property
    def cluster(self) -> Cluster:
        """The cluster itself."""
        return self.place.cluster(self.session)

    @property
    def ranks(self) -> int:
        """Two, or one where no more fit: for tests that ask for some."""
        return min(2, max(self.place.worlds))

    def data(self, table: pa.Table) -> Any:
        """The rows as a user of this place holds them."""
        return self.place.keep(table, self.session)

    def adapted(self, table: pa.Table, features: tuple[str, ...], labels: tuple[str, ...]) -> Adapted:
        """The rows as the engine sees them here."""
        return adapt(self.data(table), features, labels)
