"""Rows that are released while Python collects garbage, which it may do at any moment."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.engine.clusters.spark.frames import FrameShards


def test_releasing_in_the_middle_of_another_call(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FrameShards(spark.range(3), ("id",))
    kept.keep()
    connection = spark.sparkContext._gateway._gateway_client.get_thread_connection()
    stream, released = connection.stream, []

    class Collecting:
        """Stands for a garbage collection between a question to the JVM and its answer."""

        def readline(self) -> bytes:
            if not released:
                released.append(True)
                kept.release()
            return stream.readline()

        def __getattr__(self, name: str) -> Any:
            return getattr(stream, name)

    monkeypatch.setattr(connection, "stream", Collecting())
    assert spark.sparkContext._jsc.sc().applicationId() == spark.sparkContext.applicationId
    assert released and not kept.kept
