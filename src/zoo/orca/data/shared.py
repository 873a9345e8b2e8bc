"""`SharedValue`: something that many functions need, sent to each process once.

Owns: how it gets there on the current cluster.
Leaves: finding it again inside a function (zoo.engine.data.sharing).
"""

from __future__ import annotations

import pickle
from typing import Any

from zoo.engine import session
from zoo.engine.clusters.spark import connect
from zoo.engine.data.sharing import Held, Shared
from zoo.engine.errors import NotPicklable


class SharedValue(Shared):
    """A value for the functions of `transform_shard`, which read it as ``.value``; do not change it there.

    On Spark it is broadcast: each worker gets it once, however many functions and shards use it. On local processes and
    Spark Connect it travels beside the functions.
    """

    def __init__(self, data: Any) -> None:
        """Takes the value.

        Args:
            data: anything that can travel to another process.

        Raises:
            NoContext: no context is running.
            NotPicklable: it cannot travel.
        """
        super().__init__(_carrier(data))

    def unpersist(self) -> None:
        """Has the executors forget the value; it is sent again when it is needed."""
        forget = getattr(self.carrier, "unpersist", None)
        if forget is not None:
            forget()


def _carrier(data: Any) -> Any:
    session.current()  # adopts a SparkSession of the program's own
    running = session.running()
    if running is None or running.spark is None or connect.is_connect(running.spark):
        return Held(data)
    try:
        return running.spark.sparkContext.broadcast(data)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise NotPicklable(f"the data of a SharedValue cannot travel to another process ({error}).") from error
