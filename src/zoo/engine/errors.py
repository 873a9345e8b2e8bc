"""Every error that zoo raises on purpose.

    ZooError
    +-- UsageError (ValueError)         a mistake in the call; raised before any process starts
    |   +-- ColumnNotFound              a name that the data does not have
    |   +-- NotPicklable                an object that cannot travel to another process
    |   +-- NotEnoughSlots              more ranks asked for than the cluster can run at once
    +-- DataError (ValueError)          rows that cannot become arrays; raised where the rows are read
    +-- MissingDependency (ImportError) an extra that is not installed
    +-- NoContext (RuntimeError)        no cluster is current
    +-- StorageFailed (OSError)         a file that cannot be read or written: full disk, no permission, no connection
    +-- CheckpointDamaged               a checkpoint that is incomplete or altered
    +-- TrainingDiverged (ArithmeticError)  the loss is NaN or infinite
    +-- GangYielded                     driver side: the ranks have left for a gang of another size
    +-- PeerLost (ConnectionError)      rank side: another rank left the gang
    +-- WorkerFailed (RuntimeError)     driver side: ranks raised the user's error
        +-- RankLost                    a rank's process ended without a word
        +-- RankStalled                 no rank has moved for `stall_timeout`

Each message says what happened, the value received, and what to do. All of them pickle.
"""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self


class ZooError(Exception):
    """Base of every error raised on purpose by zoo."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle as cls(*args); ours may take other arguments, so the state is set directly.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(ZooError, ValueError):
    """A mistake in the call, found before any process starts."""

    @classmethod
    def listing(cls, problems: Sequence[str]) -> UsageError:
        """One error for all problems found, one line each."""
        if len(problems) == 1:
            return cls(problems[0])
        lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
        return cls(f"{len(problems)} problems:\n{lines}")

    @classmethod
    def found_by(cls, *checks: Callable[[], object]) -> list[str]:
        """The texts of all problems that the checks raise, so that the user hears of them at once."""
        found = []
        for check in checks:
            try:
                check()
            except UsageError as error:
                found.append(str(error))
        return found

    @classmethod
    def unknown_argument(cls, call: str, received: Iterable[str], known: Iterable[str]) -> UsageError:
        """A keyword that `call` does not take, with the nearest one that it does."""
        known = sorted(known)
        lines = []
        for name in received:
            lines.append(f"{call} has no argument '{name}'.{did_you_mean(name, known)}")
        return cls("\n".join(lines) + f"\n  Known arguments: {', '.join(known)}")


class ColumnNotFound(UsageError):
    """A column that the data does not have."""

    @classmethod
    def among(cls, missing: Iterable[str], available: Sequence[str], argument: str = "feature_cols") -> ColumnNotFound:
        """Names what is missing, what is there, and the nearest name.

        Args:
            missing: the names that were not found.
            available: the data's columns, in order.
            argument: the argument that held the missing names.
        """
        missing = list(missing)
        named = ", ".join(repr(name) for name in missing)
        lines = [f"no column {named} in the data ({argument}={missing})."]
        lines.append(f"  Columns: {', '.join(available) or '(none)'}")
        for name in missing:
            alike = [one for one in available if one.casefold() == name.casefold()]  # to Spark they would be one
            near = alike or difflib.get_close_matches(name, available, n=1, cutoff=0.5)
            if near:
                lines.append(f"  Did you mean '{near[0]}'? Set it with {argument}=['{near[0]}'].")
        return cls("\n".join(lines))


class NotPicklable(UsageError):
    """An object that cannot travel to another process."""


class NotEnoughSlots(UsageError):
    """More ranks asked for than the cluster can run at once."""


class DataError(ZooError, ValueError):
    """Rows that cannot become arrays: nulls, text among numbers, ragged lists, no rows at all."""


class MissingDependency(ZooError, ImportError):
    """A package of one of zoo's extras is not installed."""


class NoContext(ZooError, RuntimeError):
    """No cluster is current."""


class StorageFailed(ZooError, OSError):
    """A file or directory that cannot be read or written."""


class CheckpointDamaged(ZooError):
    """A checkpoint that is incomplete or whose content does not match its manifest."""


class TrainingDiverged(ZooError, ArithmeticError):
    """The loss is NaN or infinite."""


class PeerLost(ZooError, ConnectionError):
    """Another rank left the gang while this one was waiting for it."""


class WorkerFailed(ZooError, RuntimeError):
    """Ranks of a gang failed.

    Attributes:
        ranks: the ranks that failed on their own account (not for the loss of a peer).
        retryable: whether a new gang may succeed where this one failed.
        error: the first rank's own exception where it could be sent, else None.
    """

    def __init__(
        self, message: str, ranks: Sequence[int] = (), retryable: bool = False, error: BaseException | None = None
    ) -> None:
        super().__init__(message)
        self.ranks = tuple(ranks)
        self.retryable = retryable
        self.error = error
        self.handed: Any = None

    def handing(self, handed: Any) -> Self:
        """The same error with what a rank that was left has handed over, from which another gang can go on."""
        self.handed = handed
        return self

    def hinting(self, hint: str) -> Self:
        """The same error with a line more that says what to do; itself where there is none."""
        if not hint:
            return self
        hinted = type(self)(f"{self.args[0]}\n{hint}", self.ranks, self.retryable, self.error).handing(self.handed)
        return hinted.with_traceback(self.__traceback__)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.ranks, self.retryable, self.error)


class GangYielded(ZooError):
    """The ranks have left at a step, for a gang of another size to go on.

    Attributes:
        handed: what the furthest of them has handed over.
    """

    def __init__(self, handed: Any) -> None:
        super().__init__("the ranks have left for a gang of another size.")
        self.handed = handed


class RankLost(WorkerFailed):
    """A rank's process ended without a word (killed, out of memory, its host is gone)."""


class RankStalled(WorkerFailed):
    """No rank has moved for `stall_timeout` seconds; the message holds every rank's stack."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?``, the nearest known name, to stand behind a sentence; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
