"""What went wrong on a rank, as a value that travels; and one error out of many.

Owns: what a user reads first when ranks fail.
Leaves: what is done about it (run).
"""

from __future__ import annotations

import pickle
import traceback
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

import cloudpickle

from zoo.engine.errors import PeerLost, RankLost, WorkerFailed, ZooError

LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3", "/zoo/engine/", "<frozen", "/pyspark/")
"""Parts of the paths of files that are nobody's own code."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One rank's error.

    Attributes:
        rank: whose.
        kind: ``"own"`` (its own code), ``"peer"`` (another rank had gone) or ``"lost"`` (it ended without a word).
        headline: type and message of the error.
        line: where in the user's own code it was raised, ``file:41 in forward``; empty where there is none.
        code: what stands there.
        trace: the whole traceback.
        pickled: the exception; empty where it does not pickle.
    """

    rank: int
    kind: str
    headline: str
    line: str = ""
    code: str = ""
    trace: str = ""
    pickled: bytes = b""

    @classmethod
    def of(cls, rank: int, error: BaseException) -> Failure:
        """The failure that an exception on this rank is."""
        kind = "peer" if isinstance(error, PeerLost) else "own"
        trace = "".join(traceback.format_exception(error))
        return cls(rank, kind, _headline(error), *_own_line(error), trace, _pickle(error))

    @classmethod
    def lost(cls, rank: int, how: str) -> Failure:
        """The failure of a rank that can no longer speak."""
        return cls(rank, "lost", f"rank {rank} {how}")


def own_line_of(frame: FrameType | None) -> str:
    """The innermost line of a running thread that belongs to no library; empty where there is none."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename != "<string>" and not any(part in code.co_filename for part in LIBRARIES):
            return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
        frame = frame.f_back
    return ""


def raised(failures: Sequence[Failure], world: int) -> Exception:
    """The one error to raise for all failures of a gang."""
    own = [failure for failure in failures if failure.kind == "own"]
    if own:
        return _own_error(own, failures, world)
    lost = [failure for failure in failures if failure.kind == "lost"]
    named = "\n".join(f"  {failure.headline}" for failure in lost or failures)
    ranks = [failure.rank for failure in lost]
    return RankLost(f"{len(lost) or 'some'} of {world} ranks were lost:\n{named}", ranks, retryable=True)


def _own_error(own: Sequence[Failure], failures: Sequence[Failure], world: int) -> Exception:
    folded: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for failure in own:
        folded[failure.line, failure.headline].append(failure)
    first = own[0]
    error = _unpickle(first.pickled)
    if isinstance(error, ZooError) and len({failure.headline.partition(":")[0] for failure in own}) == 1:
        return _ours(error, own, world)
    paragraphs = [_paragraph(group, world) for group in folded.values()]
    others = sorted({f.rank for f in failures if f.kind != "own"})
    if others:
        paragraphs.append(f"Rank{_s(others)} {_list(others)} stopped because {_their(others)} peers had gone.")
    paragraphs.append(f"On rank {first.rank}:\n{first.trace.rstrip()}")
    return WorkerFailed("\n".join(paragraphs), [f.rank for f in own], retryable=False, error=error)


def _ours(error: ZooError, own: Sequence[Failure], world: int) -> ZooError:
    """An error that already says what to do; which rank met it first does not matter, and what others say is added."""
    said = {str(error)}
    for failure in own[1:]:
        text = str(_unpickle(failure.pickled) or failure.headline)
        if text not in said:
            said.add(text)
            error.args = (f"{error.args[0]}\nOn rank {failure.rank} of {world}: {text}", *error.args[1:])
    return error


def _paragraph(group: Sequence[Failure], world: int) -> str:
    """One error of some ranks: the first line says where and what, in the user's own code."""
    failure, ranks = group[0], sorted(failure.rank for failure in group)
    headline, *rest = failure.headline.splitlines()
    where = f"{failure.line}: " if failure.line else ""
    below = [failure.code] if failure.code else []
    return "\n  ".join([f"{where}{headline}{_who(ranks, world)}", *below, *rest])


def _who(ranks: Sequence[int], world: int) -> str:
    if world == 1:
        return ""
    if len(ranks) == world:
        return f" (on all {world} ranks)"
    return f" (on rank{_s(ranks)} {_list(ranks)} of {world})"


def _headline(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _own_line(error: BaseException) -> tuple[str, str]:
    """The innermost line that belongs to no library: (``file:number in function``, its code)."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if not any(part in frame.filename for part in LIBRARIES):
            return f"{frame.filename}:{frame.lineno} in {frame.name}", frame.line or ""
    return "", ""


def _pickle(error: BaseException) -> bytes:
    try:
        data: bytes = cloudpickle.dumps(error)
        pickle.loads(data)  # noqa: S301  our own bytes: an exception that pickles but does not come back is useless
    except Exception:  # noqa: BLE001  a user's exception may refuse in any way
        return b""
    return data


def _unpickle(data: bytes) -> BaseException | None:
    try:
        return pickle.loads(data) if data else None  # noqa: S301  proven to belong to the gang
    except Exception:  # noqa: BLE001  its class may live on the rank only
        return None


def _s(ranks: Sequence[int]) -> str:
    return "s" if len(ranks) > 1 else ""


def _their(ranks: Sequence[int]) -> str:
    return "their" if len(ranks) > 1 else "its"


def _list(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks))
