"""`transform_shard` and the same function on the same chunks in a plain pandas loop, in turns: what shards cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from measure import Row, compared, in_turns

from zoo.engine import session
from zoo.orca.data import XShards

if TYPE_CHECKING:
    import pandas as pd

ROWS = {"tiny": 1_000, "quick": 200_000, "full": 1_000_000}
TURNS = {"tiny": 1, "quick": 5, "full": 9}
CHUNKS = 4


def rows(size: str) -> Iterator[Row]:
    """On local processes, where nothing but the shards' own cost is added: numbers, and numbers with text."""
    running = session.running()
    if running is not None:
        session.end()
    session.begin_local(1)
    try:
        for name, text in (("numbers", False), ("numbers and text", True)):
            chunks = [_chunk(ROWS[size] // CHUNKS, seed, text) for seed in range(CHUNKS)]
            source = XShards.partition(np.arange(CHUNKS), CHUNKS).transform_shard(lambda at, given=chunks: given[at[0]])
            source.cache().compute()
            seconds = in_turns(
                lambda source=source: source.transform_shard(features),
                lambda chunks=chunks: [features(chunk) for chunk in chunks],
                TURNS[size],
                0 if size == "tiny" else 1,
            )
            labels = (f"features of {CHUNKS} DataFrames: {name}", "`transform_shard`", "pandas, chunk by chunk")
            yield compared(labels, *seconds, 0.7 if text else 0.8)  # each text is an object, pickled twice
    finally:
        session.end()


def features(chunk: pd.DataFrame) -> pd.DataFrame:
    """A cross, a bucket, a normalised column and means by group: feature engineering of a moderate cost."""
    made = chunk.assign(ratio=chunk["a"] / (chunk["b"] + 1), bucket=(chunk["c"] * 10).astype("int64"))
    made["scaled"] = (made["ratio"] - made["ratio"].mean()) / made["ratio"].std()
    made["level"] = made.groupby("bucket")["scaled"].transform("mean")
    return made.sort_values("scaled")


def _chunk(count: int, seed: int, text: bool) -> pd.DataFrame:
    import pandas as pd

    random = np.random.default_rng(seed)
    made = pd.DataFrame({name: random.random(count) for name in "abc"})
    if text:
        made["city"] = np.array(["köln", "bonn", "aachen", "ulm"], object)[random.integers(0, 4, count)]
    return made
