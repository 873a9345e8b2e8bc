"""What a Spark worker leaves to Python's garbage collector.

pyspark collects garbage behind each task. Once a worker has imported a framework, each collection walks all of its
objects: 40 small tasks took 2.1 s before a `fit` and 7.5 s behind it.

Owns: taking what lives for ever out of the collector's sight, once a process.
Leaves: when a task has imported what it needs (cluster, frames).
"""

from __future__ import annotations

import gc


def spare_the_lasting() -> None:
    """Takes all objects that are alive now out of later collections; from the second call on, nothing.

    They are still freed when nobody refers to them; only cycles among them are not looked for any more.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
