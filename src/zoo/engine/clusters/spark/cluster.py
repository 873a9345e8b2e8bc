"""Ranks as the tasks of one Spark stage; independent pieces as ordinary Spark tasks.

Owns: putting data sets into the one input of a stage, slots, cancelling, which address the driver listens on.
Leaves: columns of a DataFrame (frames), what driver and rank say to each other (board, seat), sessions (sessions).

Rows go from executor to rank inside Spark; none visits the driver. Answers, events and errors come over a connection
of their own to the driver's board, so that an error is told within a second and in its own words.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zoo.engine.clusters.board import Board
from zoo.engine.clusters.channel import introduce, own_address
from zoo.engine.clusters.seat import InputBroken, sit
from zoo.engine.clusters.spark import connect, workers
from zoo.engine.clusters.spark.dealing import SET, Dealer, DealtShards
from zoo.engine.clusters.spark.frames import FrameShards
from zoo.engine.clusters.spark.garbage import spare_the_lasting
from zoo.engine.clusters.spark.gathering import gathered
from zoo.engine.clusters.spark.store import FrameStore
from zoo.engine.clusters.spark.tasks import Stage, Tasks, allocates, most_allocated, wanting
from zoo.engine.contracts import Mapper, Rank, Shards, Sink, T, Task, Terms
from zoo.engine.data.objects import ObjectRows, Reading
from zoo.engine.errors import NotEnoughSlots, UsageError
from zoo.engine.parcels import Parcel
from zoo.engine.values import TERMS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_RETURN_SECONDS = 60.0
_APART = "ZOO_APART"
_NOTHING = pa.schema([pa.field("nothing", pa.int32())])


@dataclass(frozen=True)
class SparkCluster:
    """The executors of a Spark application.

    Attributes:
        session: the application's session.
        nodes: executors.
        cores: of each executor.
    """

    session: SparkSession
    nodes: int
    cores: int

    def __str__(self) -> str:
        return f"Spark {self._master()}"

    @property
    def slots(self) -> int:
        """Tasks that can run at once, asked of the scheduler where it can be."""
        if connect.is_connect(self.session):
            return self.nodes * self.cores
        scala = self.session.sparkContext._jsc.sc()
        profile = scala.resourceProfileManager().defaultResourceProfile()
        return int(scala.maxNumConcurrentTasks(profile))

    def gang(
        self, task: Task[T], shards: Mapping[str, Shards], world: int, sink: Sink, terms: Terms = TERMS
    ) -> list[T]:
        """Runs `task` in the tasks of one stage; see `Cluster.gang`."""
        self._check(world)
        board = Board(world, sink, terms)
        try:
            ports = ports_of(self.session)
            address = board.listen(self._driver_address(), ports)
            place = _Place(address, board.token, world, self._threads(world), ports)
            framed = {name: found for name, one in shards.items() if (found := _frame_of(one)) is not None}
            carried = {name: one for name, one in shards.items() if name not in framed}
            dealt = {name: _Dealt(found.schema, _reading_of(shards[name])) for name, found in framed.items()}
            seat = _seat(place, Parcel.of((task, carried)), dealt)
            barrier = not terms.peers and not allocates(self.session)  # Spark refuses it with dynamic allocation
            with self._own_workers(terms.apart):
                ranks = self._seated(framed, world, seat, barrier=barrier)
            stage, more = Stage(self.session, ranks), wanting(self.session, terms.most - world)
            crew = Tasks(self.session, stage, board, lambda: min(terms.most, self.slots))
            with more, stage, closing(board):  # closing ends the ranks, without which the stage would not end
                return board.run(crew)
        finally:
            board.close()

    def map(self, fn: Mapper, shards: Shards, schema: pa.Schema) -> FrameShards:
        """Lazy: a DataFrame whose partitions are `fn`'s answers."""
        self._send_code()
        frame, reading = _frame_of(shards), _reading_of(shards)
        if frame is not None:
            return frame.mapped(fn if reading is None else reading.then(fn), schema)
        pieces = self.slots
        numbers = FrameShards(self.session.range(0, pieces, 1, pieces), ("id",))
        return numbers.mapped(_opened(fn, shards, pieces), schema)

    def extend(self, fn: Mapper, shards: Shards, schema: pa.Schema) -> Shards:
        """Lazy: the DataFrame with more columns; shards of the driver's own stay there."""
        from zoo.engine.data.mapped import ExtendedShards

        if not isinstance(shards, FrameShards):
            return ExtendedShards(shards, fn, schema)
        self._send_code()
        return shards.extended(fn, schema)

    @property
    def store(self) -> FrameStore:
        """Spark's own cache."""
        return FrameStore(self.session)

    def close(self) -> None:
        """Every gang ends its own stage; the session belongs to who started it."""

    def _check(self, world: int) -> None:
        slots = self._slots_for(world)
        if world > slots:
            raise NotEnoughSlots(
                f"{world} ranks need {world} free task slots at once, and {self} has {slots}. Ask for fewer ranks "
                "(workers_per_node), or give Spark more: cores=/num_nodes= of init_orca_context, "
                "spark.executor.instances, spark.executor.cores, or a smaller spark.task.cpus."
            )
        if self._is_elsewhere():
            workers.check_workers(self.session, slots)

    def _send_code(self) -> None:
        """Whoever evaluates or predicts without having trained here needs zoo on the executors too."""
        if self._is_elsewhere():
            workers.ship(self.session)

    def _is_elsewhere(self) -> bool:
        """Whether the executors may have another environment than this program."""
        return connect.is_connect(self.session) or not self._master().startswith("local")

    def _slots_for(self, world: int) -> int:
        """The slots now; waits a while for executors that were lost, or that Spark has taken from an idle program."""
        until = time.monotonic() + _RETURN_SECONDS
        most = max(self.nodes, most_allocated(self.session)) * self.cores
        with wanting(self.session, world - self.slots):
            while (slots := self.slots) < world <= most and time.monotonic() < until:
                time.sleep(0.5)
        return slots

    def _threads(self, world: int) -> int:
        return max(1, self.nodes * self.cores // world)

    def _master(self) -> str:
        return str(self.session.conf.get("spark.master", "local") or "local")

    def _driver_address(self) -> str:
        if connect.is_connect(self.session):
            return connect.address(self.session)
        if self._master().startswith("local["):
            return "127.0.0.1"
        return str(self.session.conf.get("spark.driver.host", "") or socket.gethostbyname(socket.gethostname()))

    @contextmanager
    def _own_workers(self, apart: bool) -> Iterator[None]:
        """Ranks made in the block get Python workers that no other task has had: Spark pools them by environment."""
        if not apart or connect.is_connect(self.session):
            yield
            return
        environment = self.session.sparkContext.environment
        environment[_APART] = "1"
        try:
            yield
        finally:
            del environment[_APART]

    def _seated(self, framed: Mapping[str, FrameShards], world: int, seat: Mapper, *, barrier: bool) -> DataFrame:
        """The ranks' stage: all data sets as its one input, one partition a rank."""
        from pyspark.sql import functions as F
        from pyspark.sql.pandas.types import from_arrow_schema

        def seated(rows: DataFrame, at_once: bool) -> DataFrame:
            return rows.mapInArrow(seat, from_arrow_schema(_NOTHING), at_once and barrier)

        if not framed:
            return seated(self.session.range(0, world, 1, world), True)
        placed = [one.placed() for one in framed.values()]
        if len(placed) > 1:
            names, types = placed[0].columns, {field.name: field.dataType for field in placed[0].schema}
            alike = [one.select(*(F.col(f"`{name}`").cast(types[name]) for name in names)) for one in placed]
            marked = [one.withColumn(SET, F.lit(number)) for number, one in enumerate(alike)]
            placed = [reduce(lambda one, other: one.union(other), marked)]
        return gathered(placed[0], world, self.nodes * self.cores, seated)


@dataclass(frozen=True)
class _Place:
    """Where a rank reports."""

    address: tuple[str, int]
    token: str
    world: int
    threads: int
    ports: range | None


@dataclass(frozen=True)
class _Dealt:
    """How a data set's rows arrive at a rank.

    Attributes:
        schema: of the rows.
        reading: what is done there with rows that are objects; None for rows as they are.
    """

    schema: pa.Schema
    reading: Reading | None

    def shards(self, dealer: Dealer, number: int) -> Shards:
        """The data set, on its rank."""
        rows = DealtShards(dealer, number, self.schema)
        return rows if self.reading is None else ObjectRows(rows, self.reading)


def _frame_of(shards: Shards) -> FrameShards | None:
    """The DataFrame that holds the rows, or the objects that the rows are in; None where neither is in Spark."""
    source = shards.source if isinstance(shards, ObjectRows) else shards
    return source if isinstance(source, FrameShards) else None


def _reading_of(shards: Shards) -> Reading | None:
    return shards.reading if isinstance(shards, ObjectRows) else None


def _seat(
    place: _Place, packed: Parcel, framed: Mapping[str, _Dealt]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function of the stage's tasks. It closes over plain values: no session, no frame."""

    def seat(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None  # a task is running
        index = context.partitionId()
        connection = introduce(place.address, place.token, index)
        host = own_address(place.address[0])
        rank = Rank(index, place.world, host, "", place.token, place.threads, _device(context))
        dealer = Dealer(_arriving(batches), max(1, len(framed)))
        own = {name: dealt.shards(dealer, number) for number, (name, dealt) in enumerate(framed.items())}
        try:
            sit(connection, rank, packed, own, context.taskAttemptId(), place.ports)
        except InputBroken:
            raise  # the task must not end well; whether it is tried again is Spark's to decide
        except Exception:  # noqa: BLE001, S110  the driver has been told; Spark would only print it again, in Java
            pass
        finally:
            dealer.close()
        spare_the_lasting()
        for _ in batches:
            pass  # what the task did not read must still be taken from Spark
        yield from ()

    return seat


def _arriving(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A task's input. Spark ends it anywhere, even within a message, where what computes it fails.

    Raises:
        InputBroken: it cannot be read to its end.
    """
    try:
        yield from batches
    except Exception as error:
        raise InputBroken("the rows broke off") from error


def _opened(fn: Mapper, shards: Shards, pieces: int) -> Mapper:
    """`fn` over shards that the function carries along, one piece for each row of the input."""

    def opened(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in numbers:
            for index in batch.column(0).to_pylist():
                yield from fn(rows for _, rows in shards.open(index, pieces))

    return opened


def ports_of(session: SparkSession) -> range | None:
    """The ports of ``spark.zoo.ports=<first>-<last>``, at which driver and ranks may listen; None for any.

    Raises:
        UsageError: the setting says something else.
    """
    said = str(session.conf.get("spark.zoo.ports", "") or "")
    if not said:
        return None
    found = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", said)
    if found is None or not 0 < int(found[1]) <= int(found[2]) < 1 << 16:
        raise UsageError(f"spark.zoo.ports is a range like 40000-40099. Received: {said!r}")
    return range(int(found[1]), int(found[2]) + 1)


def _device(context: Any) -> str:
    gpu = context.resources().get("gpu")
    return f"cuda:{gpu.addresses[0]}" if gpu else "cpu"
