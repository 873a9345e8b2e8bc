"""TensorBoard logs: writing a run's scalars, and reading them back.

Owns: which events become which tags, the event files' records.
Leaves: the meaning of metrics; showing them (``tensorboard --logdir <log_dir>``).

The files are written here record by record, not through TensorBoard's own EventFileWriter: that one keeps a thread,
and imports TensorFlow (seconds, hundreds of MB) wherever it is installed. Of the package only the protocol buffers
and the checksum are used.
"""

from __future__ import annotations

import functools
import itertools
import os
import platform
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.engine import storage
from zoo.engine.errors import UsageError, did_you_mean
from zoo.engine.events.events import Event, Resumed, StepsEnded, Validated
from zoo.engine.optional import require

_HEADER = struct.Struct("<QI")  # length of the data, checksum of that length
_FOOTER = struct.Struct("<I")  # checksum of the data
_NUMBERS = itertools.count()


class TensorBoardSink:
    """Writes ``<log_dir>/<app_name>/train`` and ``<log_dir>/<app_name>/validation``.

    Under train, by step: ``Loss`` and ``LearningRate`` of each step, and ``Throughput`` (rows per second) at the end
    of each stretch of steps over which it was measured. Under validation, by step: every metric, and the loss as
    ``Loss``. Local files can be read while the run goes on; elsewhere they may appear only when it ends.

    Args:
        log_dir: a directory (any fsspec URL).
        app_name: a name below it.
        tags: metric name -> tag; a metric that is not in it has its own name as tag.
        clock: seconds since 1970.

    Raises:
        MissingDependency: tensorboard is not installed.
    """

    def __init__(
        self,
        log_dir: str,
        app_name: str,
        tags: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _protocol()
        self._train = _EventFile(storage.join(log_dir, app_name, "train"))
        self._validation = _EventFile(storage.join(log_dir, app_name, "validation"))
        self._tags = {"loss": "Loss"} | dict(tags or {})
        self._clock = clock

    def put(self, event: Event) -> None:
        """Writes what `event` measured; events that measure nothing are passed over."""
        now = self._clock()
        if isinstance(event, StepsEnded):
            self._steps(event, now)
        elif isinstance(event, Validated):
            named = {self._tags.get(name, name): value for name, value in event.results.items()}
            self._validation.write(event.step, now, named)
            self._validation.flush()
        elif isinstance(event, Resumed):
            for file in (self._train, self._validation):
                file.restart(event.step + 1, now)

    def close(self) -> None:
        """Closes the files."""
        self._train.close()
        self._validation.close()

    def _steps(self, event: StepsEnded, now: float) -> None:
        last = len(event.losses) - 1
        for index, (loss, rate) in enumerate(zip(event.losses, event.learning_rates, strict=True)):
            named = {name: losses[index] for name, losses in event.named_losses.items()}
            values = {"Loss": loss, "LearningRate": rate, **named}
            if index == last and event.seconds > 0:
                values["Throughput"] = event.rows / event.seconds
            # The stretch is told at its end; its steps are spread over the time that it took.
            self._train.write(event.first_step + index, now - event.seconds * (last - index) / (last + 1), values)
        self._train.flush()


def write_graph(log_dir: str, nodes: Iterable[tuple[str, str, Sequence[str]]]) -> None:
    """Writes a graph that TensorBoard shows.

    Args:
        log_dir: a directory (any fsspec URL).
        nodes: (name, kind, names of what it takes) of each.

    Raises:
        MissingDependency: tensorboard is not installed.
    """
    proto = _protocol()
    graph = require("tensorboard.compat.proto.graph_pb2", extra="tensorboard", because="it shows the model's graph")
    found = graph.GraphDef()
    for name, kind, inputs in nodes:
        found.node.add(name=name, op=kind, input=list(inputs))
    file = _EventFile(log_dir)
    try:
        file.add_graph(found.SerializeToString(), time.time(), proto)
    finally:
        file.close()


def read_scalars(log_dir: str, app_name: str, kind: str, tag: str) -> list[list[float]]:
    """Reads back what runs wrote, also those of earlier processes.

    Args:
        log_dir: as given to `TensorBoardSink`.
        app_name: likewise.
        kind: ``"train"`` or ``"validation"``.
        tag: e.g. ``"Loss"``.

    Returns:
        [step, value, wall time in seconds since 1970] of each, by step. A run that went back to an earlier step
        replaces what was there from that step on. Empty where nothing has been written yet.

    Raises:
        UsageError: there are numbers, and none with this tag.
        MissingDependency: tensorboard is not installed.
        StorageFailed: a file cannot be read.
    """
    found: list[list[float]] = []
    tags: set[str] = set()
    for event in _events_of(storage.join(log_dir, app_name, kind)):
        for value in event.summary.value:
            tags.add(value.tag)
            if value.tag == tag and value.HasField("simple_value"):
                _go_back_before(event.step, found)
                found.append([event.step, value.simple_value, event.wall_time])
    if tags and not found:
        raise UsageError(
            f"there are summaries of {', '.join(sorted(tags))}, and none of {tag!r}.{did_you_mean(tag, tags)}"
        )
    return found


def _go_back_before(step: int, found: list[list[float]]) -> None:
    while found and found[-1][0] >= step:
        found.pop()


class _EventFile:
    """One file of a folder, made when there is something to write."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: Any = None

    def write(self, step: int, wall_time: float, values: Mapping[str, float]) -> None:
        proto = _protocol()
        if self._file is None:
            self._open(step, wall_time)
        scalars = [proto.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(proto.Event(wall_time=wall_time, step=step, summary=proto.Summary(value=scalars)))

    def add_graph(self, graph: bytes, wall_time: float, proto: _Protocol) -> None:
        self._open(0, wall_time)
        self._add(proto.Event(wall_time=wall_time, graph_def=graph))

    def restart(self, step: int, wall_time: float) -> None:
        """Has TensorBoard forget what an earlier attempt wrote from `step` on."""
        if self._file is not None:
            proto = _protocol()
            start = proto.SessionLog(status=proto.SessionLog.START)
            self._add(proto.Event(wall_time=wall_time, step=step, session_log=start))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            with storage.explained(self._folder, "write"):
                self._file.close()

    def _open(self, step: int, wall_time: float) -> None:
        where = f"{platform.node()}.{os.getpid()}.{next(_NUMBERS)}"
        self._file = storage.open_for_writing(
            storage.join(self._folder, f"events.out.tfevents.{int(wall_time):010d}.{where}")
        )
        self._add(_protocol().Event(wall_time=wall_time, file_version="brain.Event:2"))
        self.restart(step, wall_time)

    def _add(self, event: Any) -> None:
        data = event.SerializeToString()
        checksum = _protocol().checksum
        length = struct.pack("<Q", len(data))
        with storage.explained(self._folder, "write"):
            self._file.write(length + _FOOTER.pack(checksum(length)) + data + _FOOTER.pack(checksum(data)))


def _events_of(folder: str) -> Iterator[Any]:
    proto = _protocol()
    files = []
    for name in storage.list_names(folder):
        if "tfevents" in name:
            events = [proto.Event.FromString(data) for data in _records(storage.read_bytes(storage.join(folder, name)))]
            files.append((events[0].wall_time if events else 0.0, name, events))
    for _, _, events in sorted(files, key=lambda file: file[:2]):
        yield from events


def _records(data: bytes) -> Iterator[bytes]:
    """The whole records of a file; a killed writer may have left half a one behind them."""
    checksum = _protocol().checksum
    start = 0
    while start + _HEADER.size <= len(data):
        length, expected = _HEADER.unpack_from(data, start)
        begin, end = start + _HEADER.size, start + _HEADER.size + length
        if checksum(data[start : start + 8]) != expected or end + _FOOTER.size > len(data):
            return
        if checksum(data[begin:end]) != _FOOTER.unpack_from(data, end)[0]:
            return
        yield data[begin:end]
        start = end + _FOOTER.size


@dataclass(frozen=True, slots=True)
class _Protocol:
    """TensorBoard's messages and its checksum."""

    Event: Any
    SessionLog: Any
    Summary: Any
    checksum: Callable[[bytes], int]


@functools.cache
def _protocol() -> _Protocol:
    def part(name: str) -> Any:
        return require(f"tensorboard.compat.{name}", extra="tensorboard", because="it keeps TensorBoard logs")

    event = part("proto.event_pb2")
    checksum = part("tensorflow_stub.pywrap_tensorflow").masked_crc32c
    return _Protocol(event.Event, event.SessionLog, part("proto.summary_pb2").Summary, checksum)
