"""How ranks agree: nothing for one rank, torch.distributed for more.

Owns: the choice between them.
Leaves: what is agreed upon, and when (loop).
"""

from __future__ import annotations

from zoo.engine.collectives.solo import Solo
from zoo.engine.contracts import Collective, Guard, Rank
from zoo.engine.optional import require


def join(rank: Rank, timeout: float, guard: Guard = lambda abort: None) -> Collective:
    """Meets the other ranks of the gang; returns when all have come.

    Args:
        rank: who joins; `rank.rendezvous` says where.
        timeout: seconds to wait for the peers, here and in every later call.
        guard: is given a function that ends all waiting, from another thread.

    Raises:
        PeerLost: a peer did not come in time.
        MissingDependency: more than one rank, and torch is not installed.
    """
    if rank.alone:
        return _guarded(Solo(), guard)
    require("torch", extra="torch", because="ranks average their gradients through torch.distributed")
    if rank.lanes:
        from zoo.engine.collectives.torch_lanes import LanedGroup, LanedSolo

        return _guarded(LanedSolo(rank), guard) if rank.world == 1 else LanedGroup(rank, timeout, guard)
    from zoo.engine.collectives.torch_group import TorchGroup

    return TorchGroup(rank, timeout, guard)


def _guarded(solo: Solo, guard: Guard) -> Solo:
    guard(solo.abort)
    return solo


__all__ = ["join"]
