"""How the rows of a DataFrame get into one partition a rank.

A shuffle writes and reads every row in the JVM, which costs more than to hand it to Python. So the ranks are tasks over
the frame's own partitions, coalesced, wherever that is possible; each reads some of them whole, and the ranks even out
among themselves what they have read (`zoo.engine.data.balance`). Spark runs no barrier stage over coalesced partitions;
the ranks are ordinary tasks then, which is enough, because they meet through the driver anyway.

Owns: the choice between the two ways.
Leaves: what a rank does with its rows (cluster, dealing).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from zoo.engine.clusters.spark import connect
from zoo.engine.data.arrivals import ROW_BITS
from zoo.engine.data.objects import PART, PLACE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Seated: TypeAlias = "Callable[[DataFrame, bool], DataFrame]"
"""(rows in one partition a rank, whether as a barrier stage) -> the ranks' answers."""


def gathered(frame: DataFrame, world: int, slots: int, seated: Seated) -> DataFrame:
    """The ranks' answers to all rows. Rows of the same partition of `frame` (or of the same `PART`) stay together.

    Args:
        frame: with a column `PLACE`, and perhaps `PART`.
        world: ranks.
        slots: tasks that can run at once.
        seated: the ranks.
    """
    from pyspark.sql import functions as F

    if PART in frame.columns:
        return seated(frame.repartitionById(world, F.col(PART) % F.lit(world)), True)
    if _may_be_read_by_ranks(frame, world, slots):
        ranks = seated(frame.coalesce(world), False)
        if _has_partitions(ranks, world):  # asked of the very plan that will run: planning takes as long as a small job
            return ranks
    partition = F.shiftright(F.col(PLACE), ROW_BITS)
    return seated(frame.repartitionById(world, (partition % F.lit(world)).cast("int")), True)


def _may_be_read_by_ranks(frame: DataFrame, world: int, slots: int) -> bool:
    """Whether ranks may compute the frame's partitions themselves.

    Not where that would leave half of the slots or more without work; nor with speculation, which would start a rank
    twice.
    """
    session = frame.sparkSession
    return slots < 2 * world and not connect.is_connect(session) and not speculates(session)


def _has_partitions(ranks: DataFrame, world: int) -> bool:
    """Whether each rank has one: not where there are too few, or only Spark knows how many once it runs."""
    planned = ranks._jdf.queryExecution()
    adaptive = planned.executedPlan().getClass().getSimpleName() == "AdaptiveSparkPlanExec"
    return not adaptive and planned.toRdd().getNumPartitions() == world


def speculates(session: SparkSession) -> bool:
    """Whether Spark starts slow tasks a second time. Never those of a barrier stage."""
    return str(session.conf.get("spark.speculation", "false")).lower() == "true"
