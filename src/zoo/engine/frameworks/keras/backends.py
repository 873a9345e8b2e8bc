"""Which library computes for Keras in this process, and with how many threads.

Keras takes its backend from the environment when it is imported, and keeps it; the thread pools of TensorFlow and JAX
are made when they compute for the first time. So all of this is settled before anything else of Keras happens here.

Owns: the names of the backends, importing Keras with one of them, the threads.
Leaves: what is computed (steps_tensorflow, steps_jax, steps_torch).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.tensorflow import process
from zoo.engine.optional import require

BACKENDS: Mapping[str, str] = {  # name: the extra of the distribution that brings it
    "tensorflow": "tensorflow",
    "jax": "jax",
    "torch": "torch",
}


def begin(backend: str, threads: int = 0, inter_threads: int = 1) -> ModuleType:
    """Imports Keras with a backend; idempotent.

    Args:
        backend: one of `BACKENDS`.
        threads: CPU threads that this process may use; 0 leaves them as they are.
        inter_threads: operations that TensorFlow runs side by side.

    Returns:
        the module ``keras``.

    Raises:
        UsageError: an unknown backend, Keras has been imported here with another one, or the program builds graphs.
        MissingDependency: Keras or the backend is not installed.
    """
    check(backend)
    _refuse_another(backend)
    if threads:
        _LIMITS[backend](threads, inter_threads)
    with _quietly(backend), _variable("KERAS_BACKEND", backend):
        require(backend, extra=BACKENDS[backend], because=f"the Keras model computes with {backend}")
        keras = require("keras", extra="keras", because="the model is a Keras model")
    _refuse_another(backend)  # a keras.json, or a plug-in, may have had another word
    if backend == "tensorflow" and process.builds_graphs():
        raise UsageError(
            "this program builds graphs (tf.disable_eager_execution, zoo.tfpark.compat), where Keras 3 cannot compute "
            "on TensorFlow. Train Keras models in a program with tensorflow as it is, or with KERAS_BACKEND=jax."
        )
    return keras


def check(backend: str) -> None:
    """Refuses names that are no backend's.

    Raises:
        UsageError: `backend` is none of `BACKENDS`.
    """
    if backend not in BACKENDS:
        raise UsageError(f"the Keras backend must be one of {', '.join(BACKENDS)}. Received: {backend!r}")


def check_threads(backend: str, wanted: int) -> None:
    """Refuses a process whose library computes with another number of threads, and so adds up in another order.

    Raises:
        UsageError: it does.
    """
    found = _COUNTS[backend]()
    if found not in (None, wanted):
        raise UsageError(
            f"{backend} computes with {found} threads in this process (pid {os.getpid()}) and keeps them; "
            f"reproducible=True needs {wanted} in every process. Begin the program with "
            f"{_BEGINNINGS[backend].format(wanted)}, or train on a cluster whose ranks are other processes "
            "(init_orca_context; of Spark Connect with spark.python.worker.reuse=false)."
        )


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """In the block Keras does not import TensorFlow only to ask whether something is TensorFlow's.

    It asks while it seeds and while it describes a model, also where another backend computes: 460 MB, and seconds.
    Where TensorFlow has been imported, or computes, nothing changes; elsewhere nothing can be of it.
    """
    lazy: Any = getattr(sys.modules.get("keras.src.utils.module_utils"), "tensorflow", None)
    if current() == "tensorflow" or "tensorflow" in sys.modules or not hasattr(lazy, "_available"):
        yield
        return
    before, lazy._available = lazy._available, False
    try:
        yield
    finally:
        lazy._available = before


def current() -> str:
    """The backend of Keras in this process, or the one that it would take if it were imported now."""
    if "keras" in sys.modules:
        return str(importlib.import_module("keras").backend.backend())
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


def _refuse_another(backend: str) -> None:
    if "keras" in sys.modules and (here := current()) != backend:
        raise UsageError(
            f"this process (pid {os.getpid()}) has imported Keras with the backend {here!r}, and the model computes "
            f"with {backend!r}; Keras keeps the backend that it was imported with. Set KERAS_BACKEND={backend} for "
            "every program and notebook that shares these processes, or give Spark fresh Python workers with "
            "spark.python.worker.reuse=false."
        )


def _quietly(backend: str) -> AbstractContextManager[None]:
    """Without TensorFlow's greetings, where it is about to be imported."""
    greets = backend == "tensorflow" and "keras" not in sys.modules
    return process.without_greetings() if greets else nullcontext()


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """An environment variable that is read in the block, and not left to the processes that are started later."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


# A pool that has been made keeps its threads: what comes too late in the user's own process changes nothing.


def _limit_jax(intra: int, inter: int) -> None:
    jax = require("jax", extra="jax", because="the Keras model computes with jax")
    with _variable("PJRT_NPROC", str(intra)):
        jax.local_devices()  # makes the CPU client, and its pool


def _limit_torch(intra: int, inter: int) -> None:
    require("torch", extra="torch", because="the Keras model computes with torch").set_num_threads(intra)


def _count_tensorflow() -> int | None:
    tensorflow = process.library()
    return int(tensorflow.config.threading.get_intra_op_parallelism_threads()) or os.cpu_count()


def _count_jax() -> int | None:
    """Threads of the pool by their name; None where the system does not tell."""
    try:
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    except OSError:
        return None
    return names.count(_JAX_POOL) or None


def _count_torch() -> int | None:
    return int(require("torch", extra="torch", because="the Keras model computes with torch").get_num_threads())


_COUNTS: Mapping[str, Callable[[], int | None]] = {
    "tensorflow": _count_tensorflow,
    "jax": _count_jax,
    "torch": _count_torch,
}
_BEGINNINGS: Mapping[str, str] = {
    "tensorflow": "tf.config.threading.set_intra_op_parallelism_threads({})",
    "jax": "os.environ['PJRT_NPROC'] = '{}'",
    "torch": "torch.set_num_threads({})",
}
_JAX_POOL = "tf_XLAEigen"

_LIMITS: Mapping[str, Callable[[int, int], None]] = {
    "tensorflow": process.begin,
    "jax": _limit_jax,
    "torch": _limit_torch,
}
