"""How the rows of a DataFrame get into one partition a rank.

A shuffle writes and reads every row in the JVM, which costs more than to hand it to Python. So the ranks are tasks over
the frame's own partitions, coalesced, wherever that is possible; each reads some of them whole, and the ranks even out
among themselves what they have read (`zoo.engine.data.balance`). Spark runs no barrier stage over coalesced partitions;
the ranks are ordinary tasks then, which is enough, because they meet through the driver anyway.

Owns: the choice between the two ways.
Leaves: what a rank does with its rows (cluster, dealing).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.engine.clusters.spark import connect
from zoo.engine.data.arrivals import ROW_BITS
from zoo.engine.data.objects import PART, PLACE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Gathered:
    """The input of a gang's stage.

    Attributes:
        frame: of one partition a rank.
        barrier: whether Spark can run it as a barrier stage.
    """

    frame: DataFrame
    barrier: bool


def gathered(frame: DataFrame, world: int, slots: int) -> Gathered:
    """All rows in `world` partitions. Rows of the same partition of `frame` (or of the same `PART`) stay together.

    Args:
        frame: with a column `PLACE`, and perhaps `PART`.
        world: ranks.
        slots: tasks that can run at once.
    """
    from pyspark.sql import functions as F

    if PART in frame.columns:
        return Gathered(frame.repartitionById(world, F.col(PART) % F.lit(world)), barrier=True)
    if _is_for_its_readers(frame, world, slots):
        return Gathered(frame.coalesce(world), barrier=False)
    partition = F.shiftright(F.col(PLACE), ROW_BITS)
    return Gathered(frame.repartitionById(world, (partition % F.lit(world)).cast("int")), barrier=True)


def _is_for_its_readers(frame: DataFrame, world: int, slots: int) -> bool:
    """Whether the ranks shall compute the frame's partitions themselves.

    Not where that would leave half of the slots or more without work, where there are fewer partitions than ranks, or
    only Spark knows how many once it runs; nor with speculation, which would start a rank twice.
    """
    session = frame.sparkSession
    if slots >= 2 * world or connect.is_connect(session) or speculates(session):
        return False
    planned = frame._jdf.queryExecution()
    adaptive = planned.executedPlan().getClass().getSimpleName() == "AdaptiveSparkPlanExec"
    return not adaptive and planned.toRdd().getNumPartitions() >= world


def speculates(session: SparkSession) -> bool:
    """Whether Spark starts slow tasks a second time. Never those of a barrier stage."""
    return str(session.conf.get("spark.speculation", "false")).lower() == "true"
