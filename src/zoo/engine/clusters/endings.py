"""What is said when a gang comes to a bad end that none of its ranks can tell of.

Owns: the words, for ranks that do not come, are lost again and again, or do not move.
Leaves: errors that ranks tell of (failures), when it is so (board).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.engine.clusters.crew import JOIN_SECONDS
from zoo.engine.errors import RankLost, RankStalled

_SILENT = "  (no answer: the process is stopped, or its interpreter is blocked)"


@dataclass(frozen=True)
class Loss:
    """A rank that was lost: how, and where in the user's code it was seen last."""

    rank: int
    how: str
    line: str

    @property
    def told(self) -> str:
        """In words."""
        return f"rank {self.rank} {self.how}" + (f"\n  It was last seen at {self.line}" if self.line else "")


def absent(missing: Sequence[int], world: int) -> RankLost:
    """Ranks that have not come."""
    return RankLost(
        f"ranks {list(missing)} of {world} did not report within {JOIN_SECONDS:.0f} s. "
        "Check that the workers can reach the driver's address (spark.driver.host) and that slots are free.",
        missing, retryable=True,
    )  # fmt: skip


def hopeless(times: int, step: int, losses: Sequence[Loss]) -> RankLost:
    """Groups that broke at one step, `times` times.

    Args:
        times: all that was allowed.
        step: the last one done; -1 before the first.
        losses: of all ranks so far.
    """
    at = f"at step {step + 1}" if step >= 0 else "before the first step"
    if not losses:
        return RankLost(
            f"{times} times the ranks lost each other {at} (attempts={times}), though none of them ended. Look for "
            "what cuts connections between their machines.", retryable=False,
        )  # fmt: skip
    last = losses[-1]
    return RankLost(
        f"{times} times a rank was lost {at} (attempts={times}), the last time: {last.told}", [last.rank],
        retryable=False,
    )  # fmt: skip


def stalled(seconds: float, stacks: Sequence[tuple[int, str]], silent: Sequence[int]) -> RankStalled:
    """Ranks that do not move.

    Args:
        seconds: for so long.
        stacks: (rank, where it is; empty where it does not answer).
        silent: those that do not answer.
    """
    told = [f"rank {rank}:\n{stack or _SILENT}" for rank, stack in stacks]
    return RankStalled(
        f"no rank has moved for {seconds:g} s (stall_timeout). If a step may take that long, give a larger "
        "stall_timeout. Where each rank is:\n" + "\n".join(told),
        silent or [rank for rank, _ in stacks], retryable=bool(silent),
    )  # fmt: skip
