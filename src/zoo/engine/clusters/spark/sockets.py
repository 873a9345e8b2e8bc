"""Unix sockets between Spark's JVM and its Python workers, where all of them run on this machine.

Rows take a quarter less of the JVM's time through them than through TCP on loopback, and there is no port: only who may
enter the directory can connect.

Owns: the directory that the sockets lie in, whether it will do, Spark's settings for it.
Leaves: whose it is (sessions, standalone), the other settings (conf).
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_log = logging.getLogger(__name__)
_LONGEST = 103  # bytes of a socket's path, on macOS; Linux takes a few more
_NAME = len("/.00000000-0000-0000-0000-000000000000.sock")  # that Spark gives them
_DAEMON = Path(__file__).with_name("daemon") / "zoo_python_daemon.py"
_PATH = "spark.executorEnv.PYTHONPATH"


def directory() -> Path | None:
    """A new directory that only this user may enter; None where it will not do (`fits`)."""
    made = Path(tempfile.mkdtemp(prefix="zoo-spark-"))
    if fits(made):
        return made
    remove(made)
    return None


def fits(place: Path) -> bool:
    """Whether Spark can put its sockets there: the system has them, the file system too, and the path is short."""
    usable = hasattr(socket, "AF_UNIX") and len(bytes(place)) + _NAME <= _LONGEST and _DAEMON.is_file()
    return usable and _takes_one(place)


def settings(place: Path, own: Mapping[str, str]) -> dict[str, str]:
    """Spark's settings.

    Args:
        place: the directory.
        own: the user's settings, which win; what they put on the path of Python stays there.
    """
    path = [own[_PATH]] if _PATH in own else []
    ours = {
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.python.unix.domain.socket.dir": str(place),
        "spark.python.daemon.module": _DAEMON.stem,
    }
    theirs = {name: own[name] for name in ours if name in own}
    return ours | theirs | {_PATH: os.pathsep.join([*path, str(_DAEMON.parent)])}


def end_with(session: SparkSession, place: Path) -> None:
    """Has the JVM remove the directory when it ends, for the case that this program is killed.

    With what is in it, as Spark does with directories of its own: the socket of a killed program is still there.
    """
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]

    jvm: Any = session.sparkContext._jvm
    try:
        jvm.org.apache.spark.util.ShutdownHookManager.registerShutdownDeleteDir(jvm.java.io.File(str(place)))
    except (Py4JError, TypeError) as error:  # of another Spark; a program that ends by itself removes it anyway
        _log.debug("Spark does not take %s to be removed at its end: %s", place, error)


def _takes_one(place: Path) -> bool:
    trial = place / "trial"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(trial))
        trial.unlink()
    except OSError:  # a shared folder of a virtual machine, for instance
        return False
    return True


def remove(place: Path | None) -> None:
    """Removes the directory, if there is one."""
    if place is not None:
        shutil.rmtree(place, ignore_errors=True)
