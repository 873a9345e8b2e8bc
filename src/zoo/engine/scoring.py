"""Evaluating and predicting the rows of one independent piece of the data.

Owns: cutting a stream of rows into the model's batches; the sums behind an evaluation, which merge exactly.
Leaves: each metric's mathematics (metrics), the model's outputs (replica), where pieces run (clusters).
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from zoo.engine.contracts import Batch, Rank, Replica, Sink
from zoo.engine.data import columns
from zoo.engine.data.prepared import prepared
from zoo.engine.data.readable import TOLD, Readable
from zoo.engine.errors import UsageError
from zoo.engine.events.events import Tick
from zoo.engine.jobs import Columns
from zoo.engine.metrics import Metric
from zoo.engine.replicas import Packed

LOSS = "loss"
SCORES = pa.schema([pa.field("score", pa.binary(), nullable=False)])


@dataclass(frozen=True, slots=True)
class Score:
    """What is known of a model on some rows.

    Attributes:
        rows: how many.
        batches: in how many batches.
        loss: sum of the rows' losses; NaN where there is no loss.
        states: each metric's state.
        left_out: rows whose images cannot be decoded, where the user wants them left out.
        causes: of the first few of these.
    """

    rows: int
    batches: int
    loss: float
    states: tuple[Any, ...]
    left_out: int = 0
    causes: tuple[str, ...] = ()

    @classmethod
    def empty(cls, metrics: Sequence[Metric]) -> Score:
        """Of no rows."""
        return cls(0, 0, 0.0, tuple(metric.start() for metric in metrics))

    def plus(self, replica: Replica, batch: Batch, metrics: Sequence[Metric]) -> Score:
        """With one more batch."""
        loss, outputs = replica.score(batch)
        output, target = _single(outputs), _single(batch.labels)
        states = tuple(m.update(state, output, target) for m, state in zip(metrics, self.states, strict=True))
        return Score(self.rows + batch.weight, self.batches + 1, self.loss + loss * batch.weight, states)

    @classmethod
    def merged(cls, scores: Sequence[Score], metrics: Sequence[Metric]) -> Score:
        """Of all their rows together."""
        total = cls.empty(metrics)
        for score in scores:
            states = tuple(m.merge(a, b) for m, a, b in zip(metrics, total.states, score.states, strict=True))
            total = cls(
                total.rows + score.rows, total.batches + score.batches, total.loss + score.loss, states,
                total.left_out + score.left_out, (*total.causes, *score.causes)[:TOLD],
            )  # fmt: skip
        return total

    def results(self, metrics: Sequence[Metric]) -> dict[str, Any]:
        """Metric name -> value; the mean loss first, where there is one."""
        values: dict[str, Any] = {}
        for metric, state in zip(metrics, self.states, strict=True):
            value = metric.compute(state)
            values |= {metric.name: value} if metric.name else value
        loss = self.loss / self.rows if self.rows else float("nan")
        return values if loss != loss and values else {LOSS: loss} | values


@dataclass(frozen=True, slots=True)
class ScoreRows:
    """A `Mapper` from rows to one row of `SCORES`; fields as in `ScoreJob`."""

    packed: Packed
    columns: Columns
    batch_size: int
    metrics: tuple[Metric, ...]
    threads: int
    steps: int | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        score, replica = Score.empty(self.metrics), None
        readable = Readable(self.columns.images, self.threads)
        if self.columns.transform.skips:
            batches = map(readable.rest, batches)
        for features, labels in _batches(batches, self.columns, self.batch_size):
            replica = replica or self.packed.replica(self.threads)
            score = score.plus(replica, Batch(features, labels, len(features[0])), self.metrics)
            if score.batches == self.steps:
                break
        score = replace(score, left_out=readable.left_out, causes=tuple(readable.causes))
        yield pa.RecordBatch.from_pydict({"score": [pickle.dumps(score)]}, schema=SCORES)


@dataclass(frozen=True, slots=True)
class PredictRows:
    """A `Mapper` from rows to their predictions, batch for batch.

    Attributes:
        packed: the model.
        columns: its inputs.
        batch_size: rows predicted at once.
        threads: CPU threads.
        schema: of the predictions, one field a model output; all batches are cast to it.
        function: from a batch's outputs to the arrays of `schema`; None where they are the outputs.
    """

    packed: Packed
    columns: Columns
    batch_size: int
    threads: int
    schema: pa.Schema
    function: Callable[[tuple[np.ndarray, ...]], Sequence[np.ndarray]] | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        replica = self.packed.replica(self.threads)
        for batch in batches:
            pieces = [
                self._finished(replica.predict(Batch(features, (), len(features[0]))))
                for features, _ in _batches(iter([batch]), replace(self.columns, labels=()), self.batch_size)
            ]
            yield self._record(pieces)

    def _finished(self, outputs: tuple[np.ndarray, ...]) -> Sequence[np.ndarray]:
        return outputs if self.function is None else self.function(outputs)

    def _record(self, pieces: Sequence[Sequence[np.ndarray]]) -> pa.RecordBatch:
        if not pieces:
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        outputs = [np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for arrays in zip(*pieces, strict=True)]
        arrays = [
            columns.from_array(field.name, output)[1].cast(field.type)
            for field, output in zip(self.schema, outputs, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def check_rows(outputs: Sequence[np.ndarray], rows: int) -> None:
    """Refuses predictions that are not one for each row.

    Raises:
        UsageError: an output has another number of rows than went in.
    """
    if any(output.ndim == 0 or len(output) != rows for output in outputs):
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise UsageError(
            f"wrong output shape in predict: {rows} rows went into the model, and it gave {shapes}. "
            "The first axis of every output must be the rows: no reshape or reduction over it."
        )


def _batches(
    batches: Iterator[pa.RecordBatch], asked: Columns, size: int
) -> Iterator[tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]]:
    """(features, labels) of at most `size` rows each."""
    features, labels = asked.features, asked.labels
    for batch in batches:
        specs = columns.describe(batch.schema, (*features, *labels))
        arrays = [columns.to_array(batch.column(spec.name), spec) for spec in specs]
        for start in range(0, batch.num_rows, size):
            cut = tuple(array[start : start + size] for array in arrays)
            inputs, targets = cut[: len(features)], cut[len(features) :]
            yield prepared(inputs, features, asked), prepared(targets, labels, asked)


def _single(arrays: tuple[Any, ...]) -> Any:
    return arrays[0] if len(arrays) == 1 else arrays


def stepwise(batches: Iterable[Batch], rank: Rank) -> Iterator[tuple[Batch, ...]]:
    """The batches of each step: one for each of the rank's lanes, or just one."""
    passes = max(len(rank.own_lanes), 1)
    rest = iter(batches)
    while step := tuple(itertools.islice(rest, passes)):
        yield step


def scored(
    steps: Iterable[tuple[Batch, ...]], replica: Replica, metrics: Sequence[Metric], sink: Sink
) -> list[Score]:  # fmt: skip
    """The score of each of the rank's lanes, or its one score; `sink` hears a tick for each step."""
    scores: list[Score] = []
    for step in steps:
        if step[0].weight == 0 and step[0].total is None:
            break  # a user's own loader has run out
        scores = scores or [Score.empty(metrics) for _ in step]
        for lane, batch in enumerate(step):
            if batch.weight:
                scores[lane] = scores[lane].plus(replica, batch, metrics)
        sink.put(Tick())
    return scores


def first_score(results: Mapping[str, float]) -> float:
    """The first metric's value; the loss's negative where there is no metric, so that more is always better."""
    numbers = [value for name, value in results.items() if name != LOSS and isinstance(value, int | float)]
    return float(numbers[0]) if numbers else -float(results.get(LOSS, "nan"))
