"""The driver's half: a job, shards and a cluster make an outcome.

Owns: what happens around a gang: starting it, going on after a failure, putting the weights back.
Leaves: training itself (loop), processes (clusters), what the user called (front ends).
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from zoo.engine import checkpoint, loop
from zoo.engine.checkpoint import Checkpoint
from zoo.engine.contracts import Batch, Cluster, Shards, Sink, Terms
from zoo.engine.data import columns
from zoo.engine.data.prepared import prepared
from zoo.engine.errors import GangYielded, UsageError, WorkerFailed, ZooError
from zoo.engine.events.events import EpochEnded, Event, LeftOut, Resumed, RunEnded, RunStarted
from zoo.engine.jobs import FitJob, PredictJob, ScoreJob
from zoo.engine.loop import Trained
from zoo.engine.replicas import Packed
from zoo.engine.scoring import SCORES, PredictRows, Score, ScoreRows
from zoo.engine.values import TERMS

SHRINK_SECONDS = 20.0
"""How long a gang that may have fewer ranks waits for another one in place of one that was lost."""

_log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class Retry:
    """Start a new gang, from what a rank has handed over, else from a checkpoint, else from where the job began."""

    checkpoint: Checkpoint | None = None
    handed: Trained | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Raise the error, with a hint that says how this could have gone on."""

    hint: str = ""


def after_failure(error: WorkerFailed, attempt: int, job: FitJob, latest: Checkpoint | None) -> Retry | GiveUp:
    """What to do when a gang has failed. Pure: no clock, no cluster, no file.

    Args:
        error: what the gang raised.
        attempt: gangs started so far without a step between them.
        job: what they were to do.
        latest: the newest checkpoint of this run; None where there is none.
    """
    if not error.retryable or job.recovery == "none":
        return GiveUp()
    if error.handed is not None and attempt < job.attempts:
        return Retry(handed=error.handed)
    if not job.checkpoint_dir or job.checkpoint is None:
        return GiveUp(
            "To go on from the last checkpoint after such a loss, give the estimator a model_dir (and fit a "
            "checkpoint_trigger; the default is every epoch), NNEstimator setCheckpoint, a Keras-style model "
            "set_checkpoint."
        )
    if attempt >= job.attempts:
        return GiveUp(f"{attempt} gangs were lost (attempts={job.attempts}); the checkpoints are in the model_dir.")
    return Retry(latest)


def fit(
    job: FitJob, shards: Mapping[str, Shards], cluster: Cluster, world: int, sink: Sink, most: int = 0
) -> Trained:  # fmt: skip
    """Trains; afterwards the user's own model holds the weights.

    Args:
        job: what to do.
        shards: ``loop.TRAIN`` and, if it is to be validated, ``loop.VALID``.
        cluster: where.
        world: ranks; the fewest, where `most` says that there may be more.
        sink: hears the events.
        most: ranks that there may be, as the cluster has room for them at the beginning and later; 0: always `world`.

    Raises:
        UsageError, DataError: a mistake of the call or in the data.
        WorkerFailed: ranks failed; see `zoo.engine.errors`.
    """
    if 0 < job.virtual_ranks < max(world, most):
        raise UsageError(
            f"reproducible=True shares {job.virtual_ranks} virtual ranks out, and {max(world, most)} ranks were "
            f"asked for. Give virtual_ranks={max(world, most)} or more, always the same number, or ask for fewer ranks."
        )
    began = time.perf_counter()
    placed = _Witness(sink, str(cluster))
    job = dataclasses.replace(job, recovery=recovery_of(job, max(world, most)))
    try:
        trained = _attempts(job, shards, cluster, (world, most), placed)
    except BaseException as error:
        sink.put(RunEnded("fit", time.perf_counter() - began, error=str(error).partition("\n")[0]))
        raise
    assert trained.state is not None  # rank 0 sends it
    job.spec.absorb(trained.state)
    sink.put(RunEnded("fit", time.perf_counter() - began))
    return trained


def recovery_of(job: FitJob, world: int) -> str:
    """The strongest recovery that a job asks for and so many ranks can give."""
    if job.recovery == "none":
        return "none"
    return "peers" if job.recovery != "checkpoint" and world > 1 and not job.sharded else "checkpoint"


def terms_of(job: FitJob, world: int, most: int = 0) -> Terms:
    """On what terms a job's gang runs."""
    peers = recovery_of(job, max(world, most)) == "peers"
    return Terms(
        stall_timeout=job.stall_timeout,
        peers=peers,
        attempts=job.attempts,
        patience=SHRINK_SECONDS if most else TERMS.patience,
        most=most if peers else 0,
        apart=bool(job.virtual_ranks) and job.spec.keeps_threads,
    )


def _attempts(
    job: FitJob, shards: Mapping[str, Shards], cluster: Cluster, sizes: tuple[int, int], sink: _Witness
) -> Trained:
    attempt = 1
    while True:
        world = max(sizes[0], min(sizes[1], cluster.slots))
        try:
            trained = cluster.gang(
                partial(loop.fit, job), shards, world, sink, terms_of(job, world, sizes[1])
            )[0]  # fmt: skip
            before = [] if job.came is not None else sink.before(job.start.epoch)
            return dataclasses.replace(trained, epochs=(*before, *trained.epochs))
        except GangYielded as yielded:
            decision = Retry(handed=yielded.handed)
            reason = f"the cluster has room for more than {world} ranks"
        except WorkerFailed as error:
            found = after_failure(error, attempt, job, _latest(job))
            if isinstance(found, GiveUp):
                raise error.hinting(found.hint) from error.__cause__
            decision, reason = found, str(error).partition("\n")[0]
        job, step = _resumed(job, decision), job.start.step
        attempt = 1 if job.start.step > step and decision.handed is not None else attempt + 1
        path = decision.checkpoint.path if decision.checkpoint else ""
        sink.put(Resumed(path, job.start.step, attempt, reason))


def _latest(job: FitJob) -> Checkpoint | None:
    if not job.checkpoint_dir:
        return None
    found = checkpoint.latest(job.checkpoint_dir)
    for path, reason in found.damaged:
        _log.warning("checkpoint %s is not used: %s", path, reason)
    return found.checkpoint


def _resumed(job: FitJob, decision: Retry) -> FitJob:
    handed, found = decision.handed, decision.checkpoint
    if handed is not None:
        return dataclasses.replace(job, state=handed.state, start=handed.progress, came=handed.standing)
    if found is not None:
        return dataclasses.replace(job, state=found.state, start=found.progress, came=None)
    return job


def evaluate(job: ScoreJob, shards: Shards, cluster: Cluster, sink: Sink) -> dict[str, Any]:
    """Scores all rows; pieces of the data are independent and merged exactly.

    Returns:
        metric name -> value, ``"loss"`` first where the model has one, then ``"num_samples"`` and ``"batch_count"``.

    Raises:
        UsageError: there are no rows.
    """
    began = time.perf_counter()
    mapper = ScoreRows(Packed.of(job.spec), job.columns, job.batch_size, job.metrics, job.threads, job.steps)
    scored = cluster.map(mapper, shards, SCORES)
    scores = [pickle.loads(cell.as_py()) for _, batch in scored.open(0, 1) for cell in batch.column(0)]  # noqa: S301
    total = Score.merged(scores, job.metrics)
    if total.left_out:
        sink.put(LeftOut("evaluation", None, total.left_out, total.causes))
    if total.rows == 0:
        raise UsageError("the evaluation data has no rows. Check the filters and joins that made it.")
    results = total.results(job.metrics)
    sink.put(RunEnded("evaluate", time.perf_counter() - began, results))
    return results | {"num_samples": total.rows, "batch_count": total.batches}


def predict(job: PredictJob, shards: Shards, cluster: Cluster, names: Sequence[str] = ()) -> Shards:
    """Adds the model's outputs to the rows; lazy.

    Args:
        job: what to do.
        shards: the rows; all their columns are kept.
        cluster: where.
        names: of the new columns, one a model output; ``prediction``, or ``prediction_0``, ... where there are more.

    Raises:
        UsageError: the model cannot take the columns, or gives another number of rows or outputs.
    """
    packed = Packed.of(job.spec)
    if job.outputs is not None:
        schema = job.outputs.schema
        mapper = PredictRows(packed, job.columns, job.batch_size, job.threads, schema, job.outputs.function)
        return cluster.extend(mapper, shards, schema)
    outputs = _probe(packed, job, shards)
    names = tuple(names) or _names(len(outputs))
    if len(names) != len(outputs):
        raise UsageError(f"the model has {len(outputs)} outputs. Received: {len(names)} names {list(names)}.")
    schema = pa.schema([columns.from_array(n, output)[0] for n, output in zip(names, outputs, strict=True)])
    mapper = PredictRows(packed, job.columns, job.batch_size, job.threads, schema)
    return cluster.extend(mapper, shards, schema)


def _names(outputs: int) -> tuple[str, ...]:
    return ("prediction",) if outputs == 1 else tuple(f"prediction_{i}" for i in range(outputs))


def _probe(packed: Packed, job: PredictJob, shards: Shards) -> tuple[np.ndarray, ...]:
    """The model's outputs for a row or two: zeros where the schema tells the shapes, else the first rows."""
    first = None if shards.schema.names else shards.peek()  # only a user's loader has no schema of its own
    specs = columns.describe(shards.schema if first is None else first.schema, job.columns.features)
    if first is None and all(None not in spec.shape and spec.dtype != object for spec in specs):
        zeros = tuple(np.zeros((2, *(size or 0 for size in spec.shape)), spec.dtype) for spec in specs)
        try:
            return packed.replica(job.threads).predict(Batch(prepared(zeros, job.columns.features, job.columns), (), 2))
        except ZooError:
            raise
        except Exception:  # noqa: BLE001  a user's model may refuse zeros in any way: ask it with real rows
            _log.debug("the model does not take zeros; its outputs are found with the first rows", exc_info=True)
    first = first or shards.peek()
    if first is None or first.num_rows == 0:
        raise UsageError(
            "the data has no rows, and its columns do not tell the length of their lists "
            f"({', '.join(job.columns.features)}); predict on data with rows, or on fixed-size lists."
        )
    found = tuple(columns.to_array(first.column(spec.name), spec) for spec in specs)
    rows = prepared(found, job.columns.features, job.columns)
    return packed.replica(job.threads).predict(Batch(rows, (), first.num_rows))


@dataclass(frozen=True)
class _Witness:
    """Hears what the ranks tell: adds the cluster's name, and remembers the epochs of attempts that were lost later."""

    sink: Sink
    place: str
    ended: dict[int, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def put(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            event = dataclasses.replace(event, place=self.place)
        elif isinstance(event, EpochEnded):
            self.ended[event.epoch] = event.stats
        self.sink.put(event)

    def before(self, epoch: int) -> list[Mapping[str, float]]:
        """The statistics of the epochs that this run had completed before an attempt that began at `epoch`."""
        return [self.ended[number] for number in sorted(self.ended) if number <= epoch]
