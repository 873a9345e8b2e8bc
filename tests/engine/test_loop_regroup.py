"""A run that loses its group goes on in another one as if nothing had been: no processes, one rank at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from zoo.engine import loop
from zoo.engine.collectives import join
from zoo.engine.collectives.solo import Solo
from zoo.engine.collectives.torch_lanes import LanedSolo
from zoo.engine.contracts import Batch, Rank, State
from zoo.engine.data.shards import MemoryShards
from zoo.engine.errors import PeerLost
from zoo.engine.events.events import Checkpointed, EpochEnded, Event, Regrouped, Validated
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.engine.jobs import Columns, FitJob
from zoo.engine.loop import TRAIN, VALID, Trained
from zoo.engine.progress import Progress
from zoo.engine.run import terms_of
from zoo.engine.standing import Stage, Standing, followers, furthest
from zoo.engine.triggers import EveryEpoch, MaxEpoch, SeveralIteration

pytestmark = pytest.mark.exact

# --- who is followed ------------------------------------------------------------------------------------------------


def standing(step: int, stage: Stage = Stage.STEPPED, heard: int = 0, epoch: int = 0) -> Standing:
    return Standing(Progress(epoch=epoch, step=step), stage, heard)


def test_the_first_of_those_that_stand_furthest_is_followed() -> None:
    behind, ahead = standing(3), standing(4)
    assert furthest([behind, ahead, ahead]) == 1
    assert followers([behind, ahead, ahead]) == (0,)


def test_a_rank_that_has_just_come_follows() -> None:
    assert furthest([None, standing(0, Stage.CLOSED)]) == 1
    assert followers([None, standing(0, Stage.CLOSED)]) == (0,)


def test_where_nobody_has_begun_nobody_is_followed() -> None:
    assert furthest([None, None]) is None


@pytest.mark.parametrize(
    "chain",
    [
        [standing(0, Stage.CLOSED), standing(0, Stage.OPEN), standing(1, Stage.STEPPED), standing(1, Stage.OPEN)],
        [standing(7, Stage.OPEN), standing(7, Stage.COUNTED), standing(7, Stage.COUNTED, 1)],
        [standing(7, Stage.COUNTED, 3), standing(7, Stage.CLOSED, 3, epoch=1), standing(7, Stage.OPEN, 4, epoch=1)],
        [standing(7, Stage.COUNTED), standing(7, Stage.ENDED)],
    ],
)
def test_each_moment_is_further_than_the_one_before(chain: list[Standing]) -> None:
    for earlier, later in pairwise(chain):
        assert furthest([earlier, later, earlier]) == 1


# --- the meeting ----------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """A `Replica` that remembers what it was told."""

    loaded: list[Any] = field(default_factory=list)
    told: list[tuple[str, int, int]] = field(default_factory=list)
    rewound: int = 0

    def rewind(self) -> None:
        self.rewound += 1

    def state(self) -> State:
        return State({}, {"whose": "mine"})

    def load(self, state: State) -> None:
        self.loaded.append(state.values["whose"])

    def notice(self, moment: str, progress: Progress, stats: Mapping[str, float]) -> bool:
        self.told.append((moment, progress.epoch, progress.step))
        return False


class Unsettled:
    """A `Feed` whose agreement breaks down as often as it is asked for."""

    def settle(self, group: Any) -> None:
        raise PeerLost("in settle")


class Met(Solo):
    """The meeting of two ranks: what the other one says is known."""

    def __init__(self, other: Standing | None, own: int) -> None:
        self.other, self.own = other, own
        self.source: int | None = None

    def gather(self, value: Any, patience: float = 0.0) -> list[Any]:
        return [value, self.other] if self.own == 0 else [self.other, value]

    def broadcast(self, state: State | None, source: int = 0) -> State:
        self.source = source
        return state if source == self.own and state is not None else State({}, {"whose": "the leader's"})


class Ears:
    """A `Seat` for one who only tells."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        self.events.append(event)


def run_of(own: Standing | None, index: int = 1) -> tuple[Any, Model]:
    """A run of rank `index` of two, and its replica."""
    words: dict[str, Any] = {"spec": None, "columns": Columns(("x",)), "batch_size": 4, "start": Progress()}
    job = FitJob(end=MaxEpoch(1), **words)
    model = Model()
    made = loop._Run(job, Rank(index, 2), model, {TRAIN: Unsettled()}, Ears())  # type: ignore[arg-type, dict-item]
    made.at = own or made.at
    return made, model


def test_a_follower_that_loses_the_group_at_once_stands_where_its_model_is() -> None:
    """It said its own place once, and did the leader's step again, with the leader's model."""
    leader = standing(4)
    run, model = run_of(standing(3))
    with pytest.raises(PeerLost):
        run.to_the_end(Met(leader, 1), 2)
    assert run.place == leader.place
    assert (model.loaded, model.rewound) == (["the leader's"], 1)
    assert run.left().standing == leader


def test_a_newcomer_that_loses_the_group_at_once_stands_where_its_model_is() -> None:
    leader = standing(4)
    run, model = run_of(None)
    assert run.place is None
    with pytest.raises(PeerLost):
        run.to_the_end(Met(leader, 1), 2)
    assert run.place == leader.place
    assert (model.loaded, model.rewound) == (["the leader's"], 0)
    assert model.told == [("before_run", 0, 4), ("before_train_epoch", 0, 4)]


def test_who_leads_keeps_its_own_model() -> None:
    run, model = run_of(standing(4), index=0)
    met = Met(standing(3), 0)
    with pytest.raises(PeerLost):
        run.to_the_end(met, 2)
    assert (met.source, model.loaded, run.at) == (0, ["mine"], standing(4))


def test_a_lost_group_before_the_beginning_leaves_a_rank_that_has_not_begun() -> None:
    run, model = run_of(None)
    with pytest.raises(PeerLost):
        run.to_the_end(Met(None, 1), 1)
    assert run.place is None
    assert model.told == []


# --- a run that is interrupted at any agreement ---------------------------------------------------------------------

ROWS, BATCH, EPOCHS = 44, 16, 2


class Lost:
    """Breaks the group up when the ranks agree for the n-th time, counted over all groups."""

    def __init__(self, *moments: int) -> None:
        self.moments = set(moments)
        self.count = 0
        self.names: list[str] = []

    def agree(self, name: str) -> None:
        self.count += 1
        self.names.append(name)
        if self.count in self.moments:
            raise PeerLost(f"at agreement {self.count}, {name}")


class Breaking(LanedSolo):
    """One rank that computes both lanes, in a group that may break up at any moment."""

    def __init__(self, rank: Rank, lost: Lost) -> None:
        lost.agree("join")
        super().__init__(rank)
        self.lost = lost

    def sum(self, values: np.ndarray) -> np.ndarray:
        self.lost.agree("sum")
        return super().sum(values)

    def gather(self, value: Any, patience: float = 0.0) -> list[Any]:
        self.lost.agree("gather")
        return super().gather(value, patience)

    def exchange(self, outgoing: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.lost.agree("exchange")
        return super().exchange(outgoing)

    @contextmanager
    def average(self, shares: Sequence[float]) -> Iterator[Sequence[Any]]:
        """Where it breaks, the sums have arrived in part."""
        buckets: list[torch.Tensor] = []

        def spoiling(ready: Callable[[Any], None]) -> Callable[[Any], None]:
            def take(bucket: torch.Tensor) -> None:
                self.lost.agree("bucket")
                ready(bucket)
                buckets.append(bucket)

            return take

        with super().average(shares) as passes:
            yield [spoiling(ready) for ready in passes]
        try:
            self.lost.agree("average")
        except PeerLost:
            for bucket in buckets:
                bucket.fill_(math.nan)
            raise


class Perch(Ears):
    """A `Seat` that always finds another group."""

    def __init__(self, lost: Lost) -> None:
        super().__init__()
        self.lost = lost
        self.places: list[Any] = []

    def guard(self, abort: Callable[[], None]) -> None:
        """Nobody breaks it up from outside."""

    def regroup(self, place: Sequence[int] | None, give: Callable[[], Any]) -> Rank:
        self.places.append(place)
        return Rank(generation=len(self.places) + 1, lanes=2)

    def finished(self, answer: Any) -> bool:
        try:
            self.lost.agree("finished")
        except PeerLost:
            return False
        return True


class Noted(TorchSpec):
    """Its replica's notices are written down."""

    notices: list[tuple[str, int, int]]

    def build(self, rank: Rank, group: Any = None) -> Any:
        replica, self.notices = super().build(rank, group), []
        tell = replica.notice

        def noted(moment: str, progress: Progress, stats: Mapping[str, float]) -> bool:
            self.notices.append((moment, progress.epoch, progress.step))
            return tell(moment, progress, stats)

        replica.notice = noted  # type: ignore[method-assign]
        return replica


class Small(nn.Module):
    """Keeps statistics and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.drop, self.outer = (
            nn.Linear(3, 4),
            nn.BatchNorm1d(4),
            nn.Dropout(0.3),
            nn.Linear(4, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(self.drop(self.norm(torch.tanh(self.inner(x))))).squeeze(-1)


@dataclass(frozen=True)
class Outcome:
    """What a run leaves, and what was told meanwhile."""

    weights: dict[str, bytes]
    epochs: tuple[Mapping[str, float], ...]
    progress: Progress
    notices: list[tuple[str, int, int]]
    told: list[tuple[Any, ...]]
    places: list[Any]
    lost: Lost

    def equals(self, other: Outcome) -> None:
        """In everything that counts; what was told twice may be known already."""
        assert self.weights == other.weights
        assert self.epochs == other.epochs
        assert self.progress == other.progress
        assert self.notices == other.notices
        assert list(dict.fromkeys(self.told)) == other.told


def train(folder: Path, lost: Lost, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Outcome:
    """One rank's run: validation each epoch and at every second step, checkpoints, a rate that falls each epoch."""
    random = np.random.default_rng(5)
    x = random.normal(size=(ROWS, 3)).astype(np.float32)
    rows = pa.table({"x": pa.array(list(x), pa.list_(pa.float32())), "y": pa.array(x.sum(axis=1))})
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = Small()
    spec = Noted(
        model=model, optimizer=torch.optim.Adam(model.parameters(), 0.02), loss=nn.MSELoss(), seed=0,
        scheduler_creator=lambda optimizer, config: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.3),
        scheduler_step_freq="epoch",
    )  # fmt: skip
    often = SeveralIteration(2)
    words: dict[str, Any] = {
        "spec": spec, "columns": Columns(("x",), ("y",)), "batch_size": BATCH, "end": MaxEpoch(EPOCHS), "seed": 3,
        "start": Progress(), "virtual_ranks": 2, "validate": EveryEpoch() | often, "checkpoint": EveryEpoch() | often,
        "checkpoint_dir": str(folder),
    }  # fmt: skip
    monkeypatch.setattr(loop, "join", lambda rank, patience, guard: Breaking(rank, lost))
    seat = Perch(lost)
    shards = {TRAIN: MemoryShards(rows, 4), VALID: MemoryShards(rows.slice(0, 12), 2)}
    trained = loop.fit(FitJob(**words | changes), Rank(generation=1), shards, seat)
    assert trained.state is not None
    weights = {name: np.asarray(array).tobytes() for name, array in trained.state.arrays.items()}
    return Outcome(weights, trained.epochs, trained.progress, spec.notices, _told(seat.events), seat.places, lost)


def _told(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """What the driver hears, without times and paths."""
    told: list[tuple[Any, ...]] = []
    for event in events:
        if isinstance(event, EpochEnded):
            told.append(("epoch", event.epoch, event.step, tuple(sorted(event.stats.items())), event.share))
        elif isinstance(event, Validated):
            told.append(("scores", event.epoch, event.step, tuple(event.results.items())))
        elif isinstance(event, Checkpointed):
            told.append(("checkpoint", event.step))
    return told


STOPPING = pytest.mark.parametrize("asks_to_stop", [False, True], ids=["", "callbacks may stop it"])


@STOPPING
def test_a_run_that_is_interrupted_at_any_agreement_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks_to_stop: bool
) -> None:
    undisturbed = train(tmp_path, Lost(), monkeypatch, asks_to_stop=asks_to_stop)
    assert [stats["batch_count"] for stats in undisturbed.epochs] == [3, 3]
    assert {"join", "gather", "bucket", "average", "finished"} <= set(undisturbed.lost.names)
    for moment in range(1, undisturbed.lost.count + 1):
        what = f"{moment}: {undisturbed.lost.names[moment - 1]}"
        with _saying(what):
            again = train(tmp_path, Lost(moment), monkeypatch, asks_to_stop=asks_to_stop)
            assert len(again.places) == 1
            again.equals(undisturbed)


def test_a_run_that_is_interrupted_again_while_it_regroups_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train(tmp_path, Lost(), monkeypatch, asks_to_stop=True)
    for moment in range(1, undisturbed.lost.count, 5):
        for later in (1, 2, 4):
            with _saying(f"{moment}: {undisturbed.lost.names[moment - 1]}, and {later} later"):
                again = train(tmp_path, Lost(moment, moment + later), monkeypatch, asks_to_stop=True)
                again.equals(undisturbed)


@contextmanager
def _saying(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"interrupted at agreement {what}")
        raise


def test_where_it_stands_never_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every_fifth = train(tmp_path, Lost(*range(9, 200, 9)), monkeypatch)
    places = [place for place in every_fifth.places if place is not None]
    assert len(places) > 5
    assert places == sorted(places)


def test_a_run_tells_where_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Lost()
    train(tmp_path, lost, monkeypatch)
    third = [number for number, name in enumerate(lost.names, 1) if name == "average"][2]
    heard: list[Event] = []
    monkeypatch.setattr(Perch, "put", lambda self, event: heard.append(event))
    train(tmp_path, Lost(third), monkeypatch)
    assert [event for event in heard if isinstance(event, Regrouped)] == [Regrouped(2, 2, ())]


def test_a_border_that_is_interrupted_is_not_told_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule by the epoch would fall twice, where the ranks were about to agree on whether to stop."""
    lost = Lost()
    train(tmp_path, lost, monkeypatch, asks_to_stop=True)
    for moment in (number for number, name in enumerate(lost.names, 1) if name == "sum"):
        told = train(tmp_path, Lost(moment), monkeypatch, asks_to_stop=True).notices
        borders = [notice for notice in told if notice[0] == "after_train_epoch"]
        assert borders == [("after_train_epoch", 1, 3), ("after_train_epoch", 2, 6)], f"agreement {moment}"


@pytest.mark.filterwarnings(
    "ignore:Detected call of `lr_scheduler:UserWarning"
)  # the new gang's first deed may be that
def test_who_must_leave_hands_over_what_another_gang_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train(tmp_path, Lost(), monkeypatch, asks_to_stop=True)
    for moment in range(5, undisturbed.lost.count, 3):
        handed: list[Trained] = []
        with monkeypatch.context() as patched:
            patched.setattr(Perch, "regroup", lambda self, place, give, to=handed: to.append(give()))
            with pytest.raises(PeerLost):
                train(tmp_path, Lost(moment), monkeypatch, asks_to_stop=True)
        (left,) = handed
        assert left.standing is not None
        if left.standing.stage is Stage.NEW:  # nobody asks for that
            continue
        rest = train(
            tmp_path, Lost(), monkeypatch, start=left.progress, state=left.state, came=left.standing, asks_to_stop=True
        )  # fmt: skip
        with _saying(f"{moment}: {undisturbed.lost.names[moment - 1]}"):
            assert (rest.weights, rest.epochs, rest.progress) == (
                undisturbed.weights, undisturbed.epochs, undisturbed.progress
            )  # fmt: skip


def test_a_batch_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step's rows are seen once by the steps that count."""
    seen: list[tuple[int, ...] | None] = []
    whole = loop._Run._step

    def step(self: Any, batches: tuple[Batch, ...], total: int, meter: Any) -> None:
        whole(self, batches, total, meter)
        seen.extend(batch.key for batch in batches)

    monkeypatch.setattr(loop._Run, "_step", step)
    train(tmp_path, Lost(*range(10, 200, 10)), monkeypatch)
    assert len(seen) == len(set(seen)) == 2 * 3 * EPOCHS


# --- a gang of one that is to have more ranks -----------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [0, 2])
@pytest.mark.parametrize(
    "agree", [lambda c: c.sum(np.ones(1)), lambda c: c.gather(1), lambda c: c.average([0.5, 0.5]).__enter__()]
)
def test_one_rank_alone_leaves_its_group_at_the_next_agreement(lanes: int, agree: Callable[[Any], Any]) -> None:
    orders: list[Callable[[], None]] = []
    alone = join(Rank(generation=1, lanes=lanes), 1.0, orders.append)
    (abort,) = orders
    abort()
    with pytest.raises(PeerLost, match="broke the group up"):
        agree(alone)


@pytest.mark.parametrize(
    ("recovery", "world", "most", "peers", "grows"),
    [("", 1, 0, False, 0), ("", 2, 0, True, 0), ("", 1, 3, True, 3), ("checkpoint", 1, 3, False, 0)],
)
def test_a_gang_that_may_grow_can_be_broken_up(recovery: str, world: int, most: int, peers: bool, grows: int) -> None:
    words: dict[str, Any] = {"spec": None, "columns": Columns(("x",)), "batch_size": 4, "start": Progress()}
    terms = terms_of(FitJob(end=MaxEpoch(1), recovery=recovery, **words), world, most)
    assert (terms.peers, terms.most) == (peers, grows)
