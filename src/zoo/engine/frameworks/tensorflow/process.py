"""TensorFlow in this process: how many threads it has, and whether it computes at once or makes graphs.

Its thread pools are made when it computes for the first time, and kept.

Owns: that, silence at its start, files that it would leave behind.
Leaves: what is computed (keras, graph).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from zoo.engine.optional import require

if TYPE_CHECKING:
    from zoo.engine.values import Rank

_GENERATED = "__autograph_generated_file"
_GREETINGS = (b"I0000 ", b"E0000 ", b"WARNING: All log messages before absl", b"To enable the following instructions")


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads of one process.

    Attributes:
        intra: that share the work of one operation; None: the rank's own share of the cores.
        inter: operations that TensorFlow runs side by side; None: one, as the graph of a step is mostly a chain.
    """

    intra: int | None = None
    inter: int | None = None

    def placed(self, rank: Rank) -> Rank:
        """The rank with these threads."""
        return replace(rank, threads=self.intra or rank.threads, inter_threads=self.inter or rank.inter_threads)


def library(because: str = "the model computes with tensorflow") -> ModuleType:
    """The module ``tensorflow``.

    Raises:
        MissingDependency: it is not installed.
    """
    return require("tensorflow", extra="tensorflow", because=because)


def begin(intra: int, inter: int) -> None:
    """Starts TensorFlow. A pool that has been made keeps its threads: what comes too late changes nothing.

    Args:
        intra: threads that share one operation.
        inter: operations that run side by side.
    """
    with without_greetings():
        tensorflow = library()
        with suppress(RuntimeError):
            tensorflow.config.threading.set_intra_op_parallelism_threads(intra)
            tensorflow.config.threading.set_inter_op_parallelism_threads(inter)
        tensorflow.config.list_logical_devices()  # starts it


def builds_graphs() -> bool:
    """Whether the program has disabled to compute at once."""
    return not library().compat.v1.executing_eagerly_outside_functions()


def eagerly() -> AbstractContextManager[Any]:
    """Computes at once in the block, also in a program that has disabled it (``tf.compat.v1``)."""
    context: AbstractContextManager[Any] = library().__internal__.eager_context.eager_mode()
    return context


def clear_generated_files() -> None:
    """Removes the files to which TensorFlow has written each function that it translated (AutoGraph).

    It does so itself when a process ends by itself. Spark's workers do not; and nobody reads the files but tracebacks.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith(_GENERATED) and module.__file__:
            Path(module.__file__).unlink(missing_ok=True)


@contextmanager
def without_greetings() -> Iterator[None]:
    """Leaves out what TensorFlow's C++ writes to standard error at its start, about processors and CUDA.

    No setting silences it, and each rank would say it again. Everything else that is written meanwhile is written
    behind it.
    """
    if sys.stderr is None:  # a program without one
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with os.fdopen(os.memfd_create("zoo-stderr"), "w+b") as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            rest = [line for line in caught if not line.startswith(_GREETINGS)]
            if rest:
                os.write(2, b"".join(rest))
