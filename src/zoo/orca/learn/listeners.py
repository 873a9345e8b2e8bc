"""Who hears what happens in a run: the console, TensorBoard, a file of events.

Owns: which of them a run has.
Leaves: what they do with it (zoo.engine.events).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from zoo.engine import storage
from zoo.engine.events.console import ConsoleSink
from zoo.engine.events.jsonl import JsonlSink
from zoo.engine.events.report import Reporter
from zoo.engine.events.sinks import Fan
from zoo.engine.events.tensorboard import TensorBoardSink
from zoo.engine.metrics import summary_tag


@contextmanager
def listening(
    summaries: tuple[str, str] | None, run_dir: str, metrics: Sequence[str], reporter: Reporter | None = None
) -> Iterator[Fan]:  # fmt: skip
    """The sinks of one call; closed behind it.

    Args:
        summaries: (log_dir, app_name) of TensorBoard's files, or None.
        run_dir: where ``events.jsonl`` goes, if that is on this machine; empty for nowhere.
        metrics: names, some of which have another tag in the summaries.
        reporter: makes a report of the call.
    """
    sinks: list[Any] = [ConsoleSink(), *([reporter] if reporter else [])]
    if summaries:
        sinks.append(TensorBoardSink(*summaries, tags={name: summary_tag(name) for name in metrics}))
    if run_dir and storage.is_local(run_dir):
        storage.make_dirs(run_dir)
        sinks.append(JsonlSink(storage.join(run_dir, "events.jsonl")))
    fan = Fan(sinks)
    try:
        yield fan
    finally:
        fan.close()
