"""What the driver's JVM says on its standard error, without the one line that tells a user nothing.

Owns: launching pyspark's JVM with its standard error in a pipe; passing on what comes.
Leaves: the JVM's settings (conf) and its end (sessions); what Spark logs (log4j2-quiet.properties).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark import SparkConf

NOISE = b"WARNING: Using incubator modules: jdk.incubator.vector\n"
"""Printed by every JVM that Spark starts (it asks for the module, for MLlib's speed); no option turns it off."""

_STANDARD_ERROR = 2
_LAST_WORDS_SECONDS = 2.0  # to hear why a JVM did not start


def launch(settings: SparkConf) -> None:
    """Launches the JVM that pyspark will use from now on. Its standard error reaches ours, `NOISE` apart.

    Raises:
        PySparkRuntimeError: the JVM ended before it could be reached.
    """
    from pyspark import SparkContext
    from pyspark.java_gateway import launch_gateway

    source, target = os.pipe()
    # It ends when the JVM does: nobody else holds the pipe's other end.
    listener = threading.Thread(target=_pass_on, args=(source,), name="zoo-jvm-stderr", daemon=True)
    listener.start()
    try:
        gateway = launch_gateway(settings, {"stderr": target})  # type: ignore[no-untyped-call]
    except BaseException:
        os.close(target)
        listener.join(_LAST_WORDS_SECONDS)
        raise
    os.close(target)
    SparkContext._ensure_initialized(gateway=gateway)


def without(noise: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, each `noise` among them left out, as early as they can be told from it."""
    held = b""
    for chunk in chunks:
        text = (held + chunk).replace(noise, b"")
        begun = next((n for n in range(min(len(noise) - 1, len(text)), 0, -1) if text.endswith(noise[:n])), 0)
        held = text[len(text) - begun :]
        yield text[: len(text) - begun]
    yield held


def _pass_on(source: int) -> None:
    with open(source, "rb", buffering=0) as stream:
        for text in without(NOISE, iter(lambda: stream.read(1 << 16), b"")):
            with contextlib.suppress(OSError):  # nobody listens; the JVM shall not stop for that
                os.write(_STANDARD_ERROR, text)
