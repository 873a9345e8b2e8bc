"""Errors of Python workers, in their own words.

Spark wraps what a worker raised in its own error, as text. Owns: finding the worker's error in it.
Leaves: errors of a gang, which never pass through Spark (board).
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from zoo.engine import errors
from zoo.engine.clusters.failures import LIBRARIES
from zoo.engine.errors import DataError, WorkerFailed, ZooError

_TRACE = "Traceback (most recent call last):\n"
_RAISED = re.compile(r"^(?P<kind>[\w.]+)(?:: (?P<text>.*))?\Z", re.MULTILINE | re.DOTALL)

_OF_SPARK = re.compile(r"\[[A-Z][A-Z0-9_.]+\] .*?SQLSTATE: (?:22\w{3}|39000|P0001)", re.DOTALL)
_PASSING = re.compile(
    r"(?:MemoryError|KeyboardInterrupt|EOFError|OSError|Connection\w*Error|BrokenPipeError|TimeoutError)\b"
)
_RANK = re.compile(r'/clusters/spark/cluster\.py", line \d+, in seat$', re.MULTILINE)
_NO_MODULE = re.compile(r"No module named '(\w+)")
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)', re.MULTILINE)


@contextmanager
def in_own_words() -> Iterator[None]:
    """Raises the error of a Python worker in place of Spark's.

    Raises:
        ZooError: the one that zoo raised in the worker.
        WorkerFailed: any other error; its first line is the worker's own.
    """
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        found = told(str(error))
        if found is None:
            raise
        raise found from None  # Spark's own has all this once more, among the stack of its JVM


def told(text: str) -> ZooError | None:
    """The error that a worker's traceback ends with; None where there is no traceback in `text`."""
    _, trace, last = text.rpartition(_TRACE)
    raised = _RAISED.search(re.split(r"\n+(?:Driver stacktrace|JVM stacktrace|\tat | ?SQLSTATE: )", last)[0].rstrip())
    if not trace or raised is None:
        return None
    module, _, name = raised["kind"].rpartition(".")
    message = raised["text"] or ""
    kind = getattr(errors, name, None) if module == errors.__name__ else None
    if isinstance(kind, type) and issubclass(kind, ZooError):
        return kind(message)
    return WorkerFailed(f"{_own_line(last)}{name}: {message}{_other_python(message)}\n{_TRACE}{last.rstrip()}")


def of_rows(text: str) -> ZooError | None:
    """The error of what computes the rows that ranks read: a user's function, or an expression.

    None for what may go well another time (a worker or an executor that was lost), and for errors of the ranks
    themselves, which tell them over their own connections.

    Args:
        text: of Spark's error.
    """
    _, trace, last = text.rpartition(_TRACE)
    if not trace:  # no Python worker has raised it; SQLSTATE says whether the data, or a function of the JVM's, has
        expression = _OF_SPARK.search(text)
        return DataError(f"Spark could not compute the rows: {expression[0]}") if expression else None
    found = told(text)
    if _RANK.search(last) or found is None:
        return None
    if type(found) is WorkerFailed and not _own_line(last) and _PASSING.match(str(found)):
        return None  # a worker whose other end has gone
    return found


def _other_python(message: str) -> str:
    """What to do, where a worker lacks a package that is installed here."""
    found = _NO_MODULE.match(message)
    spec = importlib.util.find_spec(found[1]) if found else None
    if spec is None or "-packages" not in (spec.origin or ""):  # what is the user's own comes by other ways
        return ""
    return (
        f". This program has it, and Spark's Python workers do not: they run another Python. Before Spark starts, set "
        f"PYSPARK_PYTHON={sys.executable}"
    )


def _own_line(trace: str) -> str:
    """Where in the user's own code it was raised, ``file:41 in forward: ``; empty where there is none."""
    frames = [frame for frame in _FRAME.finditer(trace) if not any(part in frame["file"] for part in LIBRARIES)]
    return "{file}:{line} in {function}: ".format(**frames[-1].groupdict()) if frames else ""
