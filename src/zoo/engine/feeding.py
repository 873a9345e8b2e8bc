"""The feeds of one rank of a fit.

Owns: what a job asks of its shards.
Leaves: rows (data), training on them (loop).
"""

from __future__ import annotations

from zoo.engine.contracts import Feed, FeedRequest, Rank, Shards, Sink
from zoo.engine.data.prepared import PreparedFeed
from zoo.engine.data.readable import Readable
from zoo.engine.events.events import LeftOut
from zoo.engine.jobs import FitJob


def feed_of(job: FitJob, rank: Rank, shards: Shards, sink: Sink, validation: bool = False) -> Feed:
    """Reads a rank's rows of the training or the validation data.

    Args:
        job: what they are for.
        rank: whose they are.
        shards: the data.
        sink: hears that rows are read, and how many were left out.
        validation: whether they are only scored.
    """
    columns, purpose = job.columns, "validation" if validation else "training"
    readable = Readable(columns.images, rank.threads) if columns.images and columns.transform.skips else None
    found = shards.feed(
        FeedRequest(
            rank=rank,
            features=columns.features,
            labels=columns.labels,
            batch_size=job.batch_size,
            seed=job.seed,
            shuffle=job.shuffle and not validation,
            memory=job.memory,
            disk=job.disk,
            steps=job.validation_steps if validation else job.steps_per_epoch,
            keep=readable,
            purpose=purpose,
            sink=sink,
        )
    )
    if readable is not None and readable.left_out:
        sink.put(LeftOut(purpose, rank.index, readable.left_out, tuple(readable.causes)))
    return PreparedFeed(found, columns, rank.threads, job.memory, job.seed) if columns.prepared else found
