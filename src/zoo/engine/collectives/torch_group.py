"""How ranks agree through torch.distributed: gloo between CPUs, NCCL between GPUs.

Owns: the meeting of the ranks, the messages, and turning a broken connection into `PeerLost`.
Leaves: what is agreed upon (loop), which rank sits where (clusters), buckets of gradients (frameworks).

States travel as JSON and raw arrays. Values of the host go through gloo even between GPUs.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import pickle
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import cloudpickle
import numpy as np
import torch
import torch.distributed as dist
from torch.distributed import FileStore, PrefixStore, TCPStore  # type: ignore[attr-defined]  # public, but not marked so

from zoo.engine.collectives.torch_slices import Slices
from zoo.engine.contracts import Array, Guard, Rank, Ready, State
from zoo.engine.environment import variables
from zoo.engine.errors import PeerLost, UsageError

CHUNK = 64 << 20
"""Bytes of the largest single message of a broadcast."""
MEET_SECONDS = 60.0
"""How long ranks that have all come may take to connect to each other."""
SMALL = 1 << 20
"""Arrays of fewer bytes are packed into one message."""
_SIOCGIFADDR = 0x8915  # asks Linux for an interface's address
_PROOF = hashlib.sha256().digest_size
_LEFT = "left"


class TorchGroup:
    """The `Collective` of more than one rank.

    Args:
        rank: who joins. ``rank.rendezvous`` is ``file:///path`` (processes of one machine; no socket to attack) or
            ``tcp://host:port`` (rank 0 listens there; with ``?fd=n`` it has a socket that does so already).
        timeout: seconds to wait for peers, at the meeting and in every call.
        guard: is given `abort` before anything is waited for.

    Raises:
        PeerLost: the peers did not come in time.
        UsageError: the process is in a torch.distributed group already.
    """

    def __init__(self, rank: Rank, timeout: float, guard: Guard = lambda abort: None) -> None:
        if dist.is_initialized():
            raise UsageError(
                "this process is in a torch.distributed group already, and torch allows one. "
                "Leave it with torch.distributed.destroy_process_group() before the run."
            )
        self._rank = rank
        self._slices = Slices(rank.index, rank.world)
        self._meetings = self._source = 0
        self._aborted = False
        self.moved = 0
        before = _sockets()
        self._own: Callable[[], Iterable[int]] = lambda: _sockets() - before
        guard(self.abort)
        cuda = rank.device.startswith("cuda")
        with self._watch("the meeting"), _interface(rank.host):
            if cuda:
                torch.cuda.set_device(torch.device(rank.device))
            self._store = PrefixStore(f"generation-{rank.generation}", _store(rank, min(timeout, MEET_SECONDS)))
            self._meet(timeout)
            dist.init_process_group(
                backend="nccl" if cuda else "gloo",
                store=PrefixStore("group", self._store),
                rank=rank.index,
                world_size=rank.world,
                timeout=timedelta(seconds=min(timeout, MEET_SECONDS)),
            )
            self._host: dist.ProcessGroup | None = dist.group.WORLD
            if cuda:
                self._host = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
            dist.distributed_c10d._set_pg_timeout(timedelta(seconds=timeout), dist.group.WORLD)
        opened = _sockets() - before
        self._own = lambda: opened

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The element-wise sum over the ranks.

        Args:
            values: small, of any shape; float or int. It is not changed.
        """
        total = np.array(values)  # a copy, which the message overwrites
        with self._watch("sum"):
            dist.all_reduce(torch.from_numpy(total), group=self._host)
        return total

    def gather(self, value: Any, patience: float = 0.0) -> list[Any]:
        """Every rank's picklable value, in rank order. Only what a holder of the gang's token has sent is unpickled.

        Args:
            value: this rank's.
            patience: seconds that a peer may come later than the group's time-out allows.
        """
        own = np.frombuffer(self._sealed(cloudpickle.dumps(value)), np.uint8)
        with self._watch("gather"):
            if patience:
                self._meet(patience)
            sizes = self._gather_array(np.array([own.size]))
            padded = np.zeros(max(int(size[0]) for size in sizes), np.uint8)
            padded[: own.size] = own
            rows = self._gather_array(padded)
        payloads = [self._opened(row[: int(size[0])].tobytes()) for row, size in zip(rows, sizes, strict=True)]
        return [pickle.loads(payload) for payload in payloads]  # noqa: S301  proven to be a rank's

    def exchange(self, outgoing: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Sends `outgoing[i]`, a 1-d uint8 array, to rank i; returns what each rank has sent here, in rank order."""
        sizes = [piece.size for piece in outgoing]
        self.moved += sum(sizes) - sizes[self._rank.index]
        with self._watch("exchange"):
            table = self._gather_array(np.array(sizes, np.int64))
            coming = [int(row[self._rank.index]) for row in table]
            arrived = torch.empty(sum(coming), dtype=torch.uint8)
            dist.all_to_all_single(
                arrived, torch.from_numpy(np.concatenate(outgoing)), coming, sizes, group=self._host
            )  # fmt: skip
        return np.split(arrived.numpy(), np.cumsum(coming)[:-1])

    def broadcast(self, state: State | None, source: int = 0) -> State:
        """One rank's state, on every rank; the others' is ignored. Array dtypes must be plain (no objects).

        Args:
            state: of the rank `source`.
            source: who sends.
        """
        self._source = source
        with self._watch("broadcast"):
            if self._rank.index != source:
                return self._receive()
            assert state is not None
            self._send(state)
            return state

    @contextmanager
    def average(self, shares: Sequence[float]) -> Iterator[Sequence[Ready]]:
        """Sums gradients over the ranks, each scaled by its rank's share of the step's rows.

        Args:
            shares: of the one pass: rows here / rows of the step, in [0, 1]; the shares of a step add to 1.
        Yields:
            one ready(bucket): takes a 1-d float torch tensor or numpy array, scales it in place and starts its
            all-reduce; every sum has arrived on exit. After an exception inside nothing is waited for.
        Raises:
            PeerLost: a rank left the gang.
        Source: weighted synchronous SGD; Dai et al., "BigDL", SoCC 2019, sec. 3.
        """
        started: list[Any] = []
        (share,) = shares

        def ready(bucket: Array, cut: bool = False) -> None:
            tensor = torch.from_numpy(bucket) if isinstance(bucket, np.ndarray) else bucket
            if share != 1:
                tensor.mul_(share)
            self.moved += ring_bytes(tensor, self._rank.world) // (2 if cut else 1)
            with self._watch("average"):
                if cut:
                    started.append(self._slices.scatter(tensor, len(started)))
                else:
                    started.append(dist.all_reduce(tensor, async_op=True))

        yield (ready,)
        with self._watch("average"):
            for work in started:
                work.wait()

    def complete(self, buffers: Sequence[Array]) -> None:
        """Gives every rank's slice of 1-d torch tensors, whose lengths the number of ranks divides, to all."""
        self.moved += sum(ring_bytes(buffer, self._rank.world) // 2 for buffer in buffers)
        with self._watch("complete"):
            self._slices.gather(buffers)

    def abort(self) -> None:
        """From another thread: every call that waits for a peer raises `PeerLost`.

        Gloo has no such call; it takes peers for lost when their connections end, so these are ended.
        """
        self._aborted = True
        for descriptor in self._own():
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
                if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Leaves the group; peers that still wait get `PeerLost` at once. Idempotent."""
        self._host = None
        with suppress(RuntimeError):  # the store may have gone before
            self._store.set(_LEFT, "")
        if dist.is_initialized():
            dist.destroy_process_group()

    def _sealed(self, payload: bytes) -> bytes:
        return hmac.digest(self._rank.token.encode(), payload, "sha256") + payload

    def _opened(self, sealed: bytes) -> bytes:
        payload = sealed[_PROOF:]
        if not hmac.compare_digest(hmac.digest(self._rank.token.encode(), payload, "sha256"), sealed[:_PROOF]):
            raise PeerLost("a message did not come from a rank of this gang: its proof is wrong.")
        return payload

    def _meet(self, patience: float) -> None:
        """Waits until all have come here. Gloo itself would give a peer no longer than any other message."""
        self._meetings += 1
        names = [f"meeting-{self._meetings}-{index}" for index in range(self._rank.world)]
        self._store.set(names[self._rank.index], "")
        until = time.monotonic() + patience
        pause = 0.001
        while not self._store.check(names):
            if self._aborted or self._store.check([_LEFT]) or time.monotonic() > until:
                raise PeerLost(
                    f"rank {self._rank.index} of {self._rank.world} waited for a peer that has left, or did not come."
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def _gather_array(self, array: np.ndarray) -> list[np.ndarray]:
        rows = [torch.empty(array.shape, dtype=torch.from_numpy(array).dtype) for _ in range(self._rank.world)]
        dist.all_gather(rows, torch.from_numpy(array), group=self._host)
        return [row.numpy() for row in rows]

    def _send(self, state: State) -> None:
        arrays = {name: np.asarray(array) for name, array in state.arrays.items()}
        layout = [(name, array.dtype.str, list(array.shape)) for name, array in arrays.items()]
        header = np.frombuffer(json.dumps([layout, dict(state.values)]).encode(), np.uint8)
        self._move(np.array([header.size]))
        self._move(header)
        small = [_bytes(array) for array in arrays.values() if array.nbytes < SMALL]
        if small:
            self._move(np.concatenate(small))
        for array in arrays.values():
            if array.nbytes >= SMALL:
                self._move(_bytes(array))

    def _receive(self) -> State:
        size = np.zeros(1, np.int64)
        self._move(size)
        header = np.empty(int(size[0]), np.uint8)
        self._move(header)
        layout, values = json.loads(header.tobytes())
        arrays = {name: np.empty(shape, np.dtype(dtype)) for name, dtype, shape in layout}
        small = [array for array in arrays.values() if array.nbytes < SMALL]
        if small:
            packed = np.empty(sum(array.nbytes for array in small), np.uint8)
            self._move(packed)
            start = 0
            for array in small:
                _bytes(array)[:] = packed[start : start + array.nbytes]
                start += array.nbytes
        for array in arrays.values():
            if array.nbytes >= SMALL:
                self._move(_bytes(array))
        return State(arrays, values)

    def _move(self, array: np.ndarray) -> None:
        """Broadcasts a 1-d array in place, in messages of bounded size."""
        step = max(1, CHUNK // array.itemsize)
        for start in range(0, array.size, step):
            chunk = array[start : start + step]
            if not chunk.flags.writeable:  # of a memory-mapped checkpoint; only the sender has such
                chunk = chunk.copy()
            dist.broadcast(torch.from_numpy(chunk), src=self._source, group=self._host)

    @contextmanager
    def _watch(self, what: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # DistBackendError and its kin are RuntimeErrors too
            raise PeerLost(
                f"rank {self._rank.index} of {self._rank.world} lost a peer during {what}: {error}. "
                "The peer's own error, if it had one, is the cause to look for."
            ) from error


def ring_bytes(tensor: torch.Tensor, world: int) -> int:
    """What each rank sends to have a tensor summed over all: (world - 1) / world of it, twice."""
    return 2 * (world - 1) * tensor.numel() * tensor.element_size() // world


def _sockets() -> set[int]:
    """The descriptors of this process that are sockets; none where the system does not tell."""
    found = set()
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # the one that lists them has gone
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    found.add(int(name))
    return found


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _store(rank: Rank, timeout: float) -> Any:
    place = urlsplit(rank.rendezvous)
    if place.scheme == "file":
        return FileStore(unquote(place.path), rank.world)
    if place.scheme == "tcp" and place.hostname and place.port:
        master = rank.index == 0
        listening = _listening(place) if master else None
        store = TCPStore(
            place.hostname,
            place.port,
            rank.world,
            is_master=master,
            timeout=timedelta(seconds=timeout),
            master_listen_fd=listening,
        )
        # Only who knows the gang's token knows the names under which its ranks meet.
        return PrefixStore(hashlib.sha256(rank.token.encode()).hexdigest(), store)
    raise UsageError(f"a rendezvous is file:///path or tcp://host:port. Received: {rank.rendezvous!r}")


def _listening(place: SplitResult) -> int:
    """A socket that listens on this one address; by itself the store would listen on all of the machine's."""
    opened = parse_qs(place.query).get("fd")
    return os.dup(int(opened[0])) if opened else socket.create_server((str(place.hostname), place.port or 0)).detach()


@contextmanager
def _interface(host: str) -> Iterator[None]:
    """Has gloo use the interface whose address the other ranks were told; by itself it goes by the host's name."""
    name = "GLOO_SOCKET_IFNAME"
    found = "" if name in os.environ else _interface_of(host)
    with variables({name: found} if found else {}):
        yield


def _interface_of(address: str) -> str:
    """The network interface that has this IPv4 address; empty where none has, or the system does not tell."""
    if sys.platform != "linux":
        return "lo0" if address.startswith("127.") else ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                told = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(told[20:24]) == address:
                    return name
    return ""
