"""`session.using`: another cluster for one block of one thread."""

from __future__ import annotations

import threading

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster


def test_the_block_has_its_own_cluster_and_the_context_stays(inline: None) -> None:
    before, other = session.current(), InlineCluster()
    seen = []
    with session.using(other):
        assert session.current() is other
        thread = threading.Thread(target=lambda: seen.append(session.current()))
        thread.start()
        thread.join(10)
    assert session.current() is before and seen == [before]


def test_no_context_is_needed_and_none_is_left() -> None:
    with session.using(InlineCluster()) as nothing:
        assert nothing is None and session.current().slots == 1
    assert session.running() is None
