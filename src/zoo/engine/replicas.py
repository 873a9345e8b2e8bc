"""Replicas that this process has built, so that each scoring or predicting task need not build its own.

Owns: a small cache by content.
Leaves: what a replica does.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from zoo.engine.contracts import ModelSpec, Rank, Replica
from zoo.engine.parcels import Parcel

_KEPT = 2
_built: OrderedDict[tuple[str, int], Replica] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Packed:
    """A model spec as it travels; unpacked only where no replica of the same content was built before.

    Attributes:
        digest: SHA-256 of its content.
        parcel: the spec, packed.
    """

    digest: str
    parcel: Parcel = field(repr=False)

    @classmethod
    def of(cls, spec: ModelSpec) -> Packed:
        """Packs a spec.

        Raises:
            NotPicklable: the spec holds something that cannot travel.
        """
        parcel = Parcel.of(spec)
        return cls(hashlib.sha256(parcel.payload).hexdigest(), parcel)

    def replica(self, threads: int) -> Replica:
        """The replica in this process, using `threads` CPU threads."""
        key = (self.digest, threads)
        with _lock:
            if key not in _built:
                spec: ModelSpec = self.parcel.open()
                _built[key] = spec.build(spec.place(Rank(threads=threads)))
            _built.move_to_end(key)
            while len(_built) > _KEPT:
                _built.popitem(last=False)
            return _built[key]
