"""From a Parquet file to a trained model on Spark local[2]: `fit` and pyspark's own TorchDistributor, in turns."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from measure import Row, compared, in_turns
from models import NCF, NCF_8192, adam, ratings
from places import folder, spark
from torch import nn

from zoo.orca.learn.pytorch import Estimator

ROWS = {"tiny": 5_000, "quick": 250_000, "full": 1_000_000}
TURNS = {"tiny": 1, "quick": 3, "full": 5}
EPOCHS = 3
SCRIPT = str(Path(__file__).with_name("ddp_script.py"))


def rows(size: str) -> Iterator[Row]:
    """All of it, read to trained, three epochs; and the time to the first step."""
    with folder() as place, spark() as (session, _):
        path = str(place / "ratings.parquet")
        write_ratings(path, ROWS[size])
        frame = session.read.parquet(path)
        cases = (
            (f"{EPOCHS} epochs of NCF from a Parquet DataFrame of {ROWS[size]:,} rows", frame, (EPOCHS,), 1.0),
            (f"{EPOCHS} epochs of NCF from the path of the same file", path, (EPOCHS,), None),
            (f"start to first step on Spark, DataFrame of {ROWS[size]:,} rows", frame, (1, 1), None),
        )
        for what, data, limits, target in cases[: 1 if size == "tiny" else None]:
            ours, theirs = partial(fit, data, *limits), partial(distribute, path, *limits)
            seconds = in_turns(ours, theirs, TURNS[size], 0 if size == "tiny" else 1)
            labels = (what, "`fit`, 2 ranks on Spark local[2]", "`TorchDistributor`, 2 processes, DDP script")
            yield compared(labels, *seconds, target)


def write_ratings(path: str, count: int) -> None:
    """user, item, label in 8 row groups."""
    (user, item), label = ratings(count)
    table = pa.table({"user": pa.array(user), "item": pa.array(item), "label": pa.array(label)})
    pq.write_table(table, path, row_group_size=-(-count // 8))


def fit(data: object, epochs: int, max_steps: int | None = None) -> None:
    """Ours: two ranks."""
    estimator = Estimator.from_torch(
        model=lambda config: NCF(), optimizer=adam, loss=nn.CrossEntropyLoss(), workers_per_node=2
    )
    quietly(
        lambda: estimator.fit(
            data, epochs=epochs, batch_size=NCF_8192.batch_size, feature_cols=["user", "item"], label_cols=["label"],
            max_steps=max_steps,
        )
    )  # fmt: skip


def distribute(path: str, epochs: int, most_steps: int | None = None) -> None:
    """Theirs: two processes."""
    from pyspark.ml.torch.distributor import TorchDistributor

    steps = [] if most_steps is None else [str(most_steps)]
    distributor = TorchDistributor(num_processes=2, local_mode=True, use_gpu=False)
    with folder() as place, mock.patch.dict(os.environ, TMPDIR=str(place)):  # torchrun leaves its files behind
        quietly(lambda: distributor.run(SCRIPT, path, str(epochs), str(NCF_8192.batch_size), *steps))


def quietly(call: Callable[[], object]) -> None:
    """Without what it prints."""
    nothing = io.StringIO()
    with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # TorchDistributor leaves a pipe open
        call()
