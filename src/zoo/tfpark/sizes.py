"""How many rows of a `TFDataset` go together.

Owns: the rules of batch_size and batch_per_thread.
Leaves: everything else (tf_dataset).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from zoo.engine import session
from zoo.engine.errors import UsageError

_log = logging.getLogger("zoo")


@dataclass(frozen=True)
class Sizes:
    """How many rows go together.

    Attributes:
        batch_size: rows of a training step over all ranks; -1 where the data set is not for training.
        batch_per_thread: rows that are scored or predicted at once; -1 where it is for training.
        hard_code: whether placeholders have the number of rows in their shape.
    """

    batch_size: int = -1
    batch_per_thread: int = -1
    hard_code: bool = False

    @classmethod
    def taken(cls, words: dict[str, Any]) -> Sizes:
        """Those among the words of a call, which it takes away.

        Raises:
            UsageError: something that is no number of rows, or both sizes.
        """
        rows = [_rows(word, words.pop(word, None)) for word in ("batch_size", "batch_per_thread")]
        return cls(*rows, bool(words.pop("hard_code_batch_size", False)))

    def __post_init__(self) -> None:
        if self.batch_size > 0 and self.batch_per_thread > 0:
            raise UsageError(
                "batch_size and batch_per_thread should not be set simultaneously: batch_size is for training, "
                f"batch_per_thread for evaluation and prediction. Received: {self.batch_size}, {self.batch_per_thread}"
            )

    def coded(self) -> int | None:
        """Rows that placeholders are made for; None for any number.

        Raises:
            UsageError: a step's rows do not divide evenly among the nodes, which have one rank each.
        """
        if not self.hard_code or self.rows is None:
            return None
        running = session.running()
        nodes = running.cluster.nodes if running is not None and self.batch_size > 0 else 1
        if self.rows % nodes:
            raise UsageError(
                f"hard_code_batch_size=True needs a batch_size that is a multiple of the {nodes} nodes, for each gets "
                f"as many rows. Received: {self.batch_size}"
            )
        return self.rows // nodes

    @property
    def rows(self) -> int | None:
        """Whichever was given."""
        given = max(self.batch_size, self.batch_per_thread)
        return given if given > 0 else None


def advise(batch_size: int) -> None:
    """The original refused sizes that are no multiple of the cores; here they only divide unevenly."""
    running = session.running()
    cores = running.cluster.slots if running is not None else 1
    if batch_size < cores:
        _log.warning(
            "batch_size=%d is less than the %d cores: some ranks will have no row in a step.", batch_size, cores
        )


def _rows(word: str, given: Any) -> int:
    if given is None or (isinstance(given, Integral) and given == -1):
        return -1
    if not isinstance(given, Integral) or isinstance(given, bool) or given < 1:
        raise UsageError(f"{word} is a number of rows, at least 1 (-1 or None: not given). Received: {given!r}")
    return int(given)
