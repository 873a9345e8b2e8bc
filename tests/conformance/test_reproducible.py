"""`virtual_ranks`: the weights are equal to the bit, wherever ranks are, however many, and however rows are cut."""

from __future__ import annotations

import hashlib
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from clusters_under_test import CLUSTERS, Here
from rooms import KERAS, table
from torch import nn

import warm
from zoo.engine import checkpoint, run
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.clusters.seat import Here as Seat
from zoo.engine.contracts import Rank, Shards, Sink, Task, Terms
from zoo.engine.data.adapters import adapt
from zoo.engine.errors import UsageError
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.engine.jobs import Columns, FitJob
from zoo.engine.loop import TRAIN, VALID, Trained
from zoo.engine.metrics import MAE, MSE
from zoo.engine.optim import NormClip
from zoo.engine.parcels import Parcel
from zoo.engine.progress import Progress
from zoo.engine.triggers import EveryEpoch, MaxEpoch, MaxIteration, SeveralIteration
from zoo.engine.values import TERMS

pytestmark = pytest.mark.exact

ROWS, BATCH, STEPS = 217, 32, 7  # in the last step 25 rows, so that each lane has two at least
LANES = 8
PATIENCE = 60.0


# --- ranks, models, jobs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forked:
    """Ranks that are forks of one interpreter, as many as a law asks for: for laws of numbers, not of places."""

    nodes: int = 1
    slots: int = 8

    def gang(
        self, task: Task[Any], shards: Mapping[str, Shards], world: int, sink: Sink, terms: Terms = TERMS
    ) -> list[Any]:
        with tempfile.TemporaryDirectory() as folder:
            ranks = [self._start(task, shards, Rank(at, world, rendezvous=f"file://{folder}/store", token="s3cret"))
                     for at in range(world)]  # fmt: skip
            answers = [pipe.recv() if pipe.poll(PATIENCE) else (False, "no answer in time") for _, pipe in ranks]
            for process, _ in ranks:
                process.join(PATIENCE)
        for fine, answer in answers:
            assert fine, answer
        return [answer for _, answer in answers]

    def _start(self, task: Task[Any], shards: Mapping[str, Shards], rank: Rank) -> tuple[Any, Any]:
        ours, theirs = warm.processes.Pipe()
        own = {name: part.share(rank.index, rank.world) for name, part in shards.items()}
        process = warm.processes.Process(target=_be, args=(Parcel.of((task, own)), rank, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours


def _be(packed: Parcel, rank: Rank, pipe: Any) -> None:
    try:
        task, shards = packed.open()
        pipe.send((True, task(rank, shards, Seat(MemorySink()))))
    except Exception:
        pipe.send((False, traceback.format_exc()))


INLINE, FORKED = InlineCluster(), Forked()


class Net(nn.Sequential):
    """With what depends on rows and on chance: batch normalisation of both kinds, dropout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.3),
            nn.Linear(16, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0),
        )  # fmt: skip


class Cnn(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2),
            nn.Conv2d(8, 4, (2, 3)), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0),
        )  # fmt: skip


class Small(nn.Module):
    """Nothing in it needs two rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer, self.dropout = nn.Linear(6, 8), nn.Linear(8, 1), nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(self.dropout(torch.tanh(self.inner(x)))).squeeze(-1)


class Passes(Small):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.passes += 1
        return super().forward(x)


class Annealed(Small):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("heat", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.heat *= 0.9
        return super().forward(x) * (1 + self.heat)


class Reading(Small):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("read", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.read += x.detach().sum()
        return super().forward(x)


def spec_of(make: Callable[[], nn.Module] = Net, **words: Any) -> TorchSpec:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return TorchSpec(model=model, optimizer=optimizer, loss=nn.MSELoss(), seed=0, **words)


def shards_of(data: Any) -> Shards:
    return adapt(data, ("x",), ("y",)).shards


def fit(data: Any, cluster: Any, world: int, spec: Any = None, valid: Any = None, **changes: Any) -> Trained:
    """Trains on rows, of any kind that the cluster takes."""
    words: dict[str, Any] = {
        "spec": spec or spec_of(), "columns": Columns(("x",), ("y",)), "batch_size": BATCH, "end": MaxEpoch(2),
        "epochs": 2, "start": Progress(), "seed": 5, "stall_timeout": PATIENCE, "virtual_ranks": LANES,
    }  # fmt: skip
    shards = {TRAIN: shards_of(data)} | ({} if valid is None else {VALID: shards_of(valid)})
    return run.fit(FitJob(**words | changes), shards, cluster, world, MemorySink())


def bits(trained: Trained) -> str:
    """A digest of every bit that the model has, and its optimizer."""
    assert trained.state is not None
    digest = hashlib.sha256()
    for name, array in sorted(trained.state.arrays.items()):
        if not name.startswith("rng/"):
            digest.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()


def shuffled(rows: pa.Table) -> pa.Table:
    return rows.take(np.random.default_rng(2).permutation(rows.num_rows))


@pytest.fixture(scope="module")
def once() -> str:
    """The bits that everybody must find."""
    return bits(fit(table(ROWS), INLINE, 1))


# --- wherever --------------------------------------------------------------------------------------------------------


def test_any_number_of_ranks_anywhere_finds_the_same_bits(here: Here, world: int, once: str) -> None:
    trained = fit(here.data(table(ROWS)), here.cluster, world)
    assert bits(trained) == once
    assert [stats["batch_count"] for stats in trained.epochs] == [STEPS, STEPS]
    assert [stats["num_samples"] for stats in trained.epochs] == [ROWS, ROWS]


@pytest.mark.parametrize("ranks", [3, 8])
def test_ranks_need_not_divide_the_virtual_ones(ranks: int, once: str) -> None:
    assert bits(fit(shuffled(table(ROWS)), FORKED, ranks)) == once


def test_without_virtual_ranks_the_number_of_ranks_shows(once: str) -> None:
    found = {bits(fit(table(ROWS), cluster, world, virtual_ranks=0)) for cluster, world in ((INLINE, 1), (FORKED, 2))}
    assert len(found | {once}) == 3


def test_what_is_asked_for_shows(once: str) -> None:
    rows = table(ROWS)
    others = [
        fit(rows, INLINE, 1, seed=6),
        fit(rows, INLINE, 1, shuffle=False),
        fit(rows, INLINE, 1, batch_size=BATCH + 1),
        fit(rows.slice(1), INLINE, 1),
    ]
    assert len({once, *map(bits, others)}) == 5


# --- however rows are cut --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parts", "ranks"), [(1, 2), (2, 1), (7, 2), (64, 2)])
def test_a_frame_may_be_cut_in_any_way(spark: Any, parts: int, ranks: int, once: str) -> None:
    frame = spark.createDataFrame(shuffled(table(ROWS))).repartition(parts)
    assert frame.rdd.getNumPartitions() == parts
    assert bits(fit(frame, CLUSTERS["spark"].cluster(spark), ranks)) == once


def test_rows_may_come_from_files(spark: Any, tmp_path: Path, once: str) -> None:
    """Whether Spark reads them or the ranks themselves."""
    path = str(tmp_path / "rows")
    spark.createDataFrame(shuffled(table(ROWS))).repartition(5).write.parquet(path)
    cluster = CLUSTERS["spark"].cluster(spark)
    assert bits(fit(spark.read.parquet(path), cluster, 2)) == once
    assert bits(fit(path, cluster, 2)) == once
    assert bits(fit(path, FORKED, 3)) == once


def test_rows_may_be_on_disk_and_equal(once: str) -> None:
    rows = table(ROWS)
    assert bits(fit(rows, FORKED, 2, memory=1000)) == once
    doubled = pa.concat_tables([rows, rows.slice(0, 30)])
    again = pa.concat_tables([rows.slice(0, 30), shuffled(rows)])
    assert bits(fit(doubled, INLINE, 1)) == bits(fit(again, FORKED, 3)) != once


# --- whatever is trained ---------------------------------------------------------------------------------------------


def test_another_number_of_virtual_ranks_is_another_law(once: str) -> None:
    found = {bits(fit(table(ROWS), INLINE if ranks == 1 else FORKED, ranks, virtual_ranks=5)) for ranks in (1, 2, 3)}
    assert len(found) == 1 and found != {once}


def test_images() -> None:
    alone = fit(table(ROWS), INLINE, 1, spec_of(Cnn))
    assert bits(fit(table(ROWS), FORKED, 2, spec_of(Cnn))) == bits(alone)


def test_batches_are_counted_once_a_step() -> None:
    for cluster, ranks in ((INLINE, 1), (FORKED, 2)):
        state = fit(table(ROWS), cluster, ranks).state
        assert state is not None
        assert {int(array) for name, array in state.arrays.items() if "num_batches" in name} == {2 * STEPS}


@pytest.mark.parametrize("rows", [193, 197])
def test_ranks_may_have_no_rows_in_a_step(rows: int) -> None:
    """The last step has one row, or five."""
    alone = fit(table(rows), INLINE, 1, spec_of(Small))
    assert bits(fit(table(rows), FORKED, 3, spec_of(Small))) == bits(alone)


@pytest.mark.parametrize("batch", [BATCH, 2])
@pytest.mark.parametrize("make", [Passes, Annealed])
def test_what_a_model_counts_is_the_same_on_ranks_without_rows(make: Callable[[], nn.Module], batch: int) -> None:
    words: dict[str, Any] = {"batch_size": batch, "steps_per_epoch": 8}
    alone = fit(table(193), INLINE, 1, spec_of(make), **words)
    assert bits(fit(table(193), FORKED, 3, spec_of(make), **words)) == bits(alone)


@pytest.mark.parametrize(("ranks", "lanes"), [(1, 2), (2, 4), (2, 2)])
def test_a_buffer_of_rows_is_refused_on_any_number_of_ranks(ranks: int, lanes: int) -> None:
    """Also where each rank has one lane, and so nothing of its own to compare it with."""
    with pytest.raises((UsageError, AssertionError), match="the buffer 'read' of the model depends on the rows"):
        fit(table(ROWS), INLINE if ranks == 1 else FORKED, ranks, spec_of(Reading), virtual_ranks=lanes)


def _rate(optimizer: Any, config: Mapping[str, Any]) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.3)


def test_clipping_schedules_and_validation() -> None:
    rows, held_out = table(ROWS), table(ROWS + 50).slice(ROWS)

    def trained(cluster: Any, ranks: int, valid: Any) -> Trained:
        spec = spec_of(clip=NormClip(0.05), scheduler_creator=_rate, scheduler_step_freq="epoch")
        metrics = (MAE(), MSE())
        return fit(rows, cluster, ranks, spec, valid, validate=SeveralIteration(3) | EveryEpoch(), metrics=metrics)

    alone = trained(INLINE, 1, held_out)
    assert {"val_MAE", "val_MSE", "val_loss", "train_loss"} <= alone.epochs[0].keys()
    found = trained(FORKED, 3, shuffled(held_out))
    assert bits(found) == bits(alone)
    assert (found.epochs, found.progress) == (alone.epochs, alone.progress)


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [STEPS, STEPS + 3])
def test_a_run_goes_on_with_another_number_of_ranks(stop: int, tmp_path: Path, once: str) -> None:
    end, often = MaxIteration(stop), SeveralIteration(stop)
    fit(table(ROWS), FORKED, 2, end=end, checkpoint=often, checkpoint_dir=str(tmp_path))
    found = checkpoint.latest(str(tmp_path)).checkpoint
    assert found is not None and found.progress.step == stop
    assert bits(fit(shuffled(table(ROWS)), FORKED, 3, start=found.progress, state=found.state)) == once


# --- Keras -----------------------------------------------------------------------------------------------------------


def keras_spec() -> Any:
    from rooms_keras import KerasSpec, keras, layers

    keras.utils.set_random_seed(3)
    model = keras.Sequential([
        keras.Input((6,)), layers.Dense(16, name="a"), layers.BatchNormalization(name="b"), layers.Activation("tanh"),
        layers.Dropout(0.3), layers.Dense(1, name="c"),
    ])  # fmt: skip
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
    return KerasSpec(model=model, backend=KERAS.removeprefix("keras-"))


@pytest.fixture(scope="module")
def keras_once() -> str:
    """The bits of one rank, which has a process of its own where its library keeps the threads of this one."""
    return bits(fit(table(ROWS), LocalCluster(cores=4), 1, keras_spec()))


def test_keras_models_find_the_same_bits_on_several_ranks(keras_once: str) -> None:
    trained = fit(shuffled(table(ROWS)), FORKED, 3, keras_spec())
    assert bits(trained) == keras_once
    assert [stats["num_samples"] for stats in trained.epochs] == [ROWS, ROWS]


def test_keras_models_find_the_same_bits_on_spark(spark: Any, keras_once: str) -> None:
    """Also in workers that have trained another model, with more threads."""
    cluster = CLUSTERS["spark"].cluster(spark)
    frame = spark.createDataFrame(shuffled(table(ROWS))).repartition(5)
    other = fit(frame, cluster, 1, keras_spec(), virtual_ranks=0)
    assert bits(other) != keras_once
    for ranks in (1, 2):
        assert bits(fit(frame, cluster, ranks, keras_spec())) == keras_once
